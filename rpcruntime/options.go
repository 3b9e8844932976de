// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// RuntimeOption sets up a Runtime.
type RuntimeOption interface{ applyRuntime(*runtimeOptions) }

// ServerOption sets up a Server.
type ServerOption interface{ applyServer(*serverOptions) }

// ClientOption sets up a Client.
type ClientOption interface{ applyClient(*clientOptions) }

type runtimeOption func(*runtimeOptions)

func (f runtimeOption) applyRuntime(o *runtimeOptions) { f(o) }

type serverOption func(*serverOptions)

func (f serverOption) applyServer(o *serverOptions) { f(o) }

type clientOption func(*clientOptions)

func (f clientOption) applyClient(o *clientOptions) { f(o) }

type runtimeOptions struct {
	env        environment
	noRegistry bool
	log        logr.Logger
	codecs     *codec.Set
	observer   Observer
	limits     wire.Limits
	dial       func(ctx context.Context, address string) (net.Conn, error)
	heartbeat  time.Duration // 0: the transport's default
}

// WithoutRegistry makes a runtime that knows of no registry, whatever the
// environment says. Its clients need Endpoints.
func WithoutRegistry() RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.noRegistry = true })
}

// WithRegistry names the registry's addresses, host:port, instead of
// FAIRLEAD_REGISTRY.
func WithRegistry(addresses ...string) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.env.registry = addresses })
}

// WithNamespace sets the process's own namespace, instead of FAIRLEAD_NAMESPACE.
// Names of services without a namespace are taken to be in it.
func WithNamespace(namespace string) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.env.namespace = namespace })
}

// WithApp sets the name under which the process calls others, instead of
// FAIRLEAD_APP.
func WithApp(app string) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.env.app = app })
}

// WithCacheDir sets where the last good state of the registry is kept, instead
// of FAIRLEAD_CACHE_DIR. Empty keeps none.
func WithCacheDir(dir string) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.env.cacheDir = dir })
}

// WithLogger sets where logs go. Without it nothing is logged. V(1) logs every
// decision, such as a retry.
func WithLogger(log logr.Logger) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.log = log })
}

// WithObserver sets who is told of calls and decisions; package metrics has one
// for Prometheus. It is called on the path of every call and must not block.
func WithObserver(obs Observer) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.observer = obs })
}

// WithCodecs sets the codecs instead of codec.New().
func WithCodecs(set *codec.Set) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.codecs = set })
}

// WithWireLimits bounds what peers may send. Zero fields keep their defaults.
func WithWireLimits(limits wire.Limits) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.limits = limits })
}

// WithDialer sets how connections, the registry's included, are made; address is
// host:port. Without it TCP is dialled.
func WithDialer(dial func(ctx context.Context, address string) (net.Conn, error)) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) { o.dial = dial })
}

// WithHeartbeat sets for how long a connection on which calls are pending, or
// pushes are waited for, may be silent before it is asked for a sign of life,
// and how long that may stay unanswered. Default 15 s; values of 0 and below are
// ignored.
func WithHeartbeat(interval time.Duration) RuntimeOption {
	return runtimeOption(func(o *runtimeOptions) {
		if interval > 0 {
			o.heartbeat = interval
		}
	})
}

type serverOptions struct {
	services     []string
	advertise    *string
	drainTimeout time.Duration
	maxConns     int
	maxCalls     int64
	interceptors []ServerInterceptor
	transport    transport.Config

	maxRequestBytes int64
	authenticator   Authenticator
	protocols       []Protocol
	tls             *tls.Config // nil: none
	wantsTLS        bool        // ServerTLS was there
	plaintext       bool        // beside TLS
}

func defaultServerOptions(rt *Runtime) serverOptions {
	return serverOptions{
		services: rt.opts.env.services, drainTimeout: 25 * time.Second, maxConns: 10_000, maxCalls: 65_536,
		transport: rt.transportConfig(), maxRequestBytes: 256 << 20,
	}
}

// Service names the services, namespace/name, that the server is an instance of,
// instead of FAIRLEAD_SERVICES. In Kubernetes it is not needed: the registry
// knows by the Pod. A server that knows its services takes their limits from the
// registry, and refuses callers that mean to call another.
func Service(names ...string) ServerOption {
	return serverOption(func(o *serverOptions) { o.services = names })
}

// Advertise makes the server join the services that it was told, by Service or
// FAIRLEAD_SERVICES, at a registry that is not Kubernetes's, under this address,
// host:port; with "" it is the listener's. It leaves when it drains.
func Advertise(address string) ServerOption {
	return serverOption(func(o *serverOptions) { o.advertise = &address })
}

// DrainTimeout bounds a drain, after which connections are cut. Default 25 s,
// which is under Kubernetes' 30 s; values of 0 and below are ignored.
func DrainTimeout(d time.Duration) ServerOption {
	return serverOption(func(o *serverOptions) {
		if d > 0 {
			o.drainTimeout = d
		}
	})
}

// MaxConnections bounds the connections that a server accepts. Default 10,000;
// values of 0 and below are ignored.
func MaxConnections(n int) ServerOption {
	return serverOption(func(o *serverOptions) {
		if n > 0 {
			o.maxConns = n
		}
	})
}

// MaxConcurrentCalls bounds the calls that a server runs at once; what exceeds it
// is refused. Default 65,536; values of 0 and below are ignored.
func MaxConcurrentCalls(n int) ServerOption {
	return serverOption(func(o *serverOptions) {
		if n > 0 {
			o.maxCalls = int64(n)
		}
	})
}

// MaxRequestBytes bounds the bytes of requests, metadata and payload, decompressed
// ones as they are then, that a server serves at once on all its connections;
// what exceeds it is refused. Default 256 MiB; values of 0 and below are ignored.
func MaxRequestBytes(n int64) ServerOption {
	return serverOption(func(o *serverOptions) {
		if n > 0 {
			o.maxRequestBytes = n
		}
	})
}

// ServerIntercept wraps every method registered afterwards; the first is
// outermost.
func ServerIntercept(interceptors ...ServerInterceptor) ServerOption {
	return serverOption(func(o *serverOptions) { o.interceptors = append(o.interceptors, interceptors...) })
}

type clientOptions struct {
	endpoints    []string
	interceptors []ClientInterceptor
	codec        codec.Type
	hasCodec     bool
	methods      policy.Methods
	fields       policy.CallFields
	token        TokenSource
	compress     codec.CompressType
	secure       secure
	push         pushWishes
}

// Endpoints fixes the addresses, host:port, of the instances: the registry is not
// asked, and the service's name is only a label.
func Endpoints(addresses ...string) ClientOption {
	return clientOption(func(o *clientOptions) { o.endpoints = addresses })
}

// WithCodec sets how arguments are encoded. Without it the type of the argument
// decides: Protobuf messages, []byte as it is, all else MsgPack.
func WithCodec(t codec.Type) ClientOption {
	return clientOption(func(o *clientOptions) { o.codec, o.hasCodec = t, true })
}

// ClientIntercept wraps every call of the client; the first is outermost.
func ClientIntercept(interceptors ...ClientInterceptor) ClientOption {
	return clientOption(func(o *clientOptions) { o.interceptors = append(o.interceptors, interceptors...) })
}

// WithCompression makes the client compress the arguments that take more than
// codec.CompressAbove bytes once encoded. A callee that is sent a compressed
// argument may compress its reply likewise; compressed replies are understood
// in any case. codec.CompressGzip is known to every peer; an old peer ends the
// connection over another type that it does not know.
func WithCompression(t codec.CompressType) ClientOption {
	return clientOption(func(o *clientOptions) { o.compress = t })
}

// FixedPolicy says how a client with Endpoints makes its calls, where a registry
// would; what fields leaves unset keeps its default. idempotent are the methods
// that may be sent again when it is unknown whether they ran. It is an error to
// use it without Endpoints.
func FixedPolicy(fields policy.CallFields, idempotent ...string) ClientOption {
	return clientOption(func(o *clientOptions) {
		o.fields = fields
		for _, m := range idempotent {
			o.methods.Declared = append(o.methods.Declared, policy.Method{Name: m, Idempotent: true})
		}
	})
}

// CallOption sets up one call.
type CallOption interface{ applyCall(*callOptions) }

type callOptions struct {
	waitForService bool
	replyMetadata  *Metadata
}

type callOption func(*callOptions)

func (f callOption) applyCall(o *callOptions) { f(o) }

// WaitForService makes a call to a service that is not in the registry wait for
// it until the deadline, instead of failing at once.
func WaitForService() CallOption {
	return callOption(func(o *callOptions) { o.waitForService = true })
}

// ReplyMetadata puts what the callee sent beside its reply into md.
func ReplyMetadata(md *Metadata) CallOption {
	return callOption(func(o *callOptions) { o.replyMetadata = md })
}
