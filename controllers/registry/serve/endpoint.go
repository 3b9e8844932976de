// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/metrics"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// Config sets up an Endpoint.
type Config struct {
	// Address to listen on, host:port.
	Address string
	// Insecure allows an address that is not loopback without TLS.
	Insecure bool
	// TLS, if not nil, is how connections are secured. Certified waits until there
	// is a certificate; false when the context ends before.
	TLS       *tls.Config
	Certified func(context.Context) bool
	// Bundle gives what clients are to believe, in PEM; nil without TLS.
	Bundle func() []byte
	// Authenticate, if not nil, says who the bearer of a token is that declares a
	// namespace and the UID of its Pod; without it nobody is asked.
	Authenticate func(ctx context.Context, token, namespace, podUID string) (*publish.Principal, error)
	// Replica names this one to other replicas.
	Replica string
	// DrainTimeout bounds the drain; 0 means 10 s.
	DrainTimeout time.Duration
	// Listening, if not nil, is told of the address once it is open.
	Listening func(net.Addr)
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
}

// Endpoint serves the registry.
type Endpoint struct {
	cfg Config
	// observer counts what the runtime that serves does.
	observer *metrics.Metrics
	// service is nil while nothing is served.
	service   atomic.Pointer[publish.Service]
	store     atomic.Pointer[publish.Store]
	listening atomic.Bool
}

// New makes an Endpoint. It opens nothing.
func New(cfg Config) (*Endpoint, error) {
	if err := Check(cfg.Address, cfg.TLS != nil, cfg.Insecure); err != nil {
		return nil, err
	}
	if cfg.DrainTimeout <= 0 {
		cfg.DrainTimeout = 10 * time.Second
	}
	e := &Endpoint{cfg: cfg, observer: metrics.New()}
	for _, c := range []prometheus.Collector{newClients(e), e.observer} {
		if err := cfg.Metrics.Register(c); err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
	}
	return e, nil
}

// Moved says that what is known of subscribers may have changed.
func (e *Endpoint) Moved() {
	if s := e.service.Load(); s != nil {
		s.RefreshSelf()
	}
}

// Listening says whether the address is open.
func (e *Endpoint) Listening() bool { return e.listening.Load() }

// Trust says that what clients are to believe may be another.
func (e *Endpoint) Trust() {
	s := e.service.Load()
	if s == nil || e.cfg.Bundle == nil {
		return
	}
	if bundle := e.cfg.Bundle(); bundle != nil {
		if err := s.SetTrust(bundle); err != nil {
			e.cfg.Log.Error(err, "clients are not sent the registry's authorities")
		}
	}
}

// Lack counts the clients of this replica that are known not to hold a bundle yet.
func (e *Endpoint) Lack(bundle []byte) int {
	s := e.service.Load()
	if s == nil {
		return 0
	}
	_, lack := s.TrustHeld(bundle)
	return lack
}

// Gone sends away the clients of a Pod that is gone.
func (e *Endpoint) Gone(podUID string) {
	if s := e.service.Load(); s != nil {
		s.DrainPod(podUID)
	}
}

// Serve serves a store until ctx ends, and drains. selfOf gives what is known of
// a subscriber.
func (e *Endpoint) Serve(ctx context.Context, store *publish.Store, selfOf func(compile.Identity) compile.Self) error {
	runtime, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithCacheDir(""), rpcruntime.WithLogger(e.cfg.Log),
		rpcruntime.WithObserver(e.observer))
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	e.observer.Attach(runtime)
	options := []rpcruntime.ServerOption{rpcruntime.DrainTimeout(e.cfg.DrainTimeout)}
	if e.cfg.TLS != nil {
		options = append(options, rpcruntime.ServerTLS(e.cfg.TLS))
	}
	server := runtime.NewServer(options...)
	service := publish.NewService(publish.ServiceConfig{
		Store: store, SelfOf: asRegistry(selfOf), Authenticate: e.authenticator(), IsPeer: e.isPeer, Replica: e.cfg.Replica,
		Log: e.cfg.Log,
	})
	service.Mount(server)
	e.store.Store(store)
	e.service.Store(service)
	defer e.service.Store(nil)
	e.Trust()

	err = e.listenAndServe(ctx, server)
	service.Close()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(err, runtime.Close(closing))
}

// isPeer says whether a call comes from another replica. Where nobody proves
// anything everybody is believed: such an endpoint is on loopback, or was asked
// for as insecure.
func (e *Endpoint) isPeer(ctx context.Context) bool {
	if e.cfg.Authenticate == nil {
		return true
	}
	service := e.service.Load()
	conn, ok := rpcruntime.ServerConnOf(ctx)
	if service == nil || !ok {
		return false
	}
	p, proven := service.Principal(conn)
	return proven && p.Replica
}

// Acks gives what this replica counts; nothing while it does not serve.
func (e *Endpoint) Acks() []publish.AckCount {
	if s := e.service.Load(); s != nil {
		return s.Acks()
	}
	return nil
}

// Held says what the clients of this replica hold; nobody is one while it does
// not serve.
func (e *Endpoint) Held(q publish.HeldQuery) publish.Held {
	if s := e.service.Load(); s != nil {
		return s.Held(q)
	}
	return publish.Held{Replica: e.cfg.Replica, At: time.Now(), Served: []publish.Served{}, Clients: []publish.HeldClient{}}
}

// Digest gives what subscribers of a namespace are served of a service in a role;
// false when there is no such service here.
func (e *Endpoint) Digest(service string, role policy.Role, namespace string) (policy.Digest, bool) {
	if s := e.store.Load(); s != nil {
		return s.Digest(service, role, namespace)
	}
	return policy.Digest{}, false
}

// authenticator is nil when nobody is asked.
func (e *Endpoint) authenticator() publish.Authenticator {
	if e.cfg.Authenticate == nil {
		return nil
	}
	return func(ctx context.Context, token string, declared registry.Identity) (*publish.Principal, error) {
		return e.cfg.Authenticate(ctx, token, declared.Namespace, declared.PodUID)
	}
}

func (e *Endpoint) listenAndServe(ctx context.Context, server *rpcruntime.Server) error {
	if e.cfg.Certified != nil && !e.cfg.Certified(ctx) {
		return nil
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", e.cfg.Address)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if host, _, err := net.SplitHostPort(e.cfg.Address); err == nil && !Loopback(host) && e.cfg.TLS == nil {
		e.cfg.Log.Info("WARNING: the registry can be reached from other machines, and its connections are neither encrypted nor "+
			"authenticated: whoever reaches it can read which services there are and where", "address", listener.Addr().String())
	}
	if e.cfg.Listening != nil {
		e.cfg.Listening(listener.Addr())
	}
	e.listening.Store(true)
	return server.Serve(ctx, listener)
}

// asRegistry puts what is known of subscribers into the registry's words.
func asRegistry(selfOf func(compile.Identity) compile.Self) func(registry.Identity, net.Addr) registry.Self {
	return func(who registry.Identity, _ net.Addr) registry.Self {
		known := selfOf(compile.Identity{Namespace: who.Namespace, PodUID: who.PodUID, Addresses: who.Addresses})
		self := registry.Self{Namespace: known.Namespace, Pod: known.Pod, Zone: known.Zone}
		for _, s := range known.Serves {
			self.Serves = append(self.Serves, registry.Serving{Service: s.Service, Port: strconv.Itoa(int(s.Port))})
		}
		return self
	}
}
