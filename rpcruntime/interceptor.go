// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"crypto/tls"
	"sync/atomic"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// ClientCall is one call as the caller's interceptors see it: once, however many
// attempts and endpoints it takes. They hand on the one that they were given.
type ClientCall struct {
	// Service is the service called, namespace/name, or the name that a client
	// with fixed endpoints was given.
	Service string
	// Method is Path.Method.
	Method string
	// Arg and Reply are what the caller gave. Reply is a pointer, or nil. For Fork
	// it becomes the first success's, for Inform it stays empty.
	Arg, Reply any
	// ReplyMetadata is set when the call ended; nil when there was none.
	ReplyMetadata Metadata
	// Attempts is how many attempts were made, set when the call ended.
	Attempts int

	// Oneway: nobody will answer. It is for reading.
	Oneway bool

	waitForService bool
	fan            *fan // not nil for a call to every endpoint
	raw            rawCall
}

// ClientInvoker makes a call, or hands it on.
type ClientInvoker func(ctx context.Context, call *ClientCall) error

// ClientInterceptor wraps what comes next. It is called once per client, when
// that is made; the function it returns is called for every call, by any number
// of goroutines.
type ClientInterceptor func(next ClientInvoker) ClientInvoker

// ServerCall is one call as the callee's interceptors see it.
type ServerCall struct {
	// Method is Path.Method.
	Method string
	// Peer is who calls.
	Peer Peer
	// Metadata is what came with the call, without the protocol's own keys.
	Metadata Metadata
	// Arg is the decoded argument.
	Arg any

	// self is the call that the server made. Interceptors hand that on and not
	// one of their own, or nobody could say any more whether its handler ran.
	self *ServerCall
	// past: the handler was reached, or an interceptor's next has returned.
	past atomic.Bool
	// refused: an interceptor refused the call before any of that.
	refused atomic.Bool
	// started: the handler was reached.
	started atomic.Bool
}

// ServerInvoker handles a call, or hands it on.
type ServerInvoker func(ctx context.Context, call *ServerCall) (reply any, err error)

// ServerInterceptor wraps what comes next, as ClientInterceptor does.
type ServerInterceptor func(next ServerInvoker) ServerInvoker

// Refuse marks the call as not executed, so that the caller may send it
// elsewhere even if its method is not idempotent, and returns err to be
// returned. It has an effect only before the interceptor's next was called: what
// ran, ran.
func (c *ServerCall) Refuse(err error) error {
	if c.self != nil && !c.self.past.Load() {
		c.self.refused.Store(true)
	}
	return err
}

// unexecuted reports whether the call, which failed, was refused before its
// handler was reached.
func (c *ServerCall) unexecuted() bool { return c.refused.Load() && !c.started.Load() }

// errForeignCall is an interceptor that made a ServerCall.
var errForeignCall = status.New(status.Internal, "an interceptor handed on a ServerCall of its own: it must hand on the one that it was given")

// serverChain puts interceptors around fn, and notes how far a call has come.
func serverChain(fn ServerInvoker, interceptors []ServerInterceptor) ServerInvoker {
	next := func(ctx context.Context, call *ServerCall) (any, error) {
		if call.self == nil {
			return nil, errForeignCall
		}
		call.self.past.Store(true)
		call.self.started.Store(true)
		return fn(ctx, call)
	}
	for i := len(interceptors) - 1; i >= 0; i-- {
		invoke := interceptors[i](next)
		next = func(ctx context.Context, call *ServerCall) (any, error) {
			reply, err := invoke(ctx, call)
			if call.self != nil {
				call.self.past.Store(true)
			}
			return reply, err
		}
	}
	return next
}

// clientChain puts interceptors around the innermost function: the first is
// outermost.
func clientChain(innermost ClientInvoker, interceptors []ClientInterceptor) ClientInvoker {
	f := innermost
	for i := len(interceptors) - 1; i >= 0; i-- {
		f = interceptors[i](f)
	}
	return f
}

// PeerSource says how much a peer's name is worth.
type PeerSource uint8

const (
	// PeerUnknown: the peer said nothing, as old rpcx peers do.
	PeerUnknown PeerSource = iota
	// PeerDeclared: the peer said so, without proof.
	PeerDeclared
	// PeerToken: the server's Authenticator says so.
	PeerToken
)

// Peer is who is at the other end.
type Peer struct {
	// Name is namespace/app, or what an Authenticator calls it; empty if unknown.
	Name   string
	Source PeerSource
	// Addr is host:port.
	Addr string
	// TLS is what was agreed with the peer, its certificates included; nil on
	// plaintext. It must not be changed.
	TLS *tls.ConnectionState
}

// errNilReply is a handler that returned neither a reply nor an error.
var errNilReply = status.New(status.Internal, "handler returned neither a reply nor an error")
