// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"sync"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// callContext is a handler's context. It has the values of the server's context
// but not its end: it ends at its deadline, when its caller gives up, with its
// connection unless the call is oneway, when a drain is cut, or when the handler
// has returned. Made by hand because context.WithTimeout costs several
// allocations and a timer per call.
//
// Invariant: err is set once; done, if it exists, is closed then.
type callContext struct {
	context.Context // the server's; for values only

	call  ServerCall
	reply replyMetadata
	conn  *inboundConn

	// meta is what came with the call, kept as it came until it is asked for.
	meta      wire.Meta
	metaStore [32]byte // spares calls with a deadline and nothing else an allocation

	deadline time.Time // zero: none
	timer    wheel.Timer

	mu   sync.Mutex
	done chan struct{} // made when first asked for
	err  error
	// cancelled: the caller gave up before the context had ended.
	cancelled bool
	after     map[*afterFunc]struct{} // called when it ends
}

type afterFunc struct{ f func() }

// Deadline returns when the caller stops waiting, if it said so.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Done is closed when the context ends.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		}
	}
	return c.done
}

// Err returns why the context ended, or nil.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

type callContextKey struct{}

// Value returns the server context's values, and itself to this package.
func (c *callContext) Value(key any) any {
	if _, ok := key.(callContextKey); ok {
		return c
	}
	return c.Context.Value(key)
}

// AfterFunc is what package context looks for, so that a context derived from
// this one costs no goroutine.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f() // as context.AfterFunc promises; f is package context's own
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = make(map[*afterFunc]struct{})
	}
	a := &afterFunc{f}
	c.after[a] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, stood := c.after[a]
		delete(c.after, a)
		return stood
	}
}

// end ends the context; the first reason counts. It does not block.
func (c *callContext) end(err error) { c.endAs(err, false) }

func (c *callContext) endAs(err error, cancelled bool) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err, c.cancelled = err, cancelled
	if c.done != nil {
		close(c.done)
	}
	after := c.after
	c.after = nil
	c.mu.Unlock()
	for a := range after {
		go a.f() // as context.AfterFunc promises
	}
}

// givenUp reports whether the caller gave up while the handler ran.
// REQUIRES: end was called by the same goroutine; cancelled does not change then.
func (c *callContext) givenUp() bool { return c.cancelled }

// metadata returns what came with the call.
func (c *callContext) metadata() Metadata {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.meta != nil {
		c.call.Metadata, c.meta = userMetadata(c.meta), nil
	}
	return c.call.Metadata
}

// Expire ends the context at its deadline.
func (c *callContext) Expire() { c.end(context.DeadlineExceeded) }

// ConnEnded ends the context with its connection.
func (c *callContext) ConnEnded(error) { c.end(context.Canceled) }

// Cancelled ends the context because the caller gave up.
func (c *callContext) Cancelled() { c.endAs(context.Canceled, true) }

// handling returns the call that ctx belongs to, if it is a handler's.
func handling(ctx context.Context) (*callContext, bool) {
	c, ok := ctx.Value(callContextKey{}).(*callContext)
	return c, ok
}

// IncomingMetadata returns the metadata of the call that a handler serves; nil
// outside of a handler. It must not be changed.
func IncomingMetadata(ctx context.Context) Metadata {
	if c, ok := handling(ctx); ok {
		return c.metadata()
	}
	return nil
}

// SetReplyMetadata sends a key back beside the reply, or the error, of the call
// that a handler serves. It reports whether ctx is a handler's and the key is
// one that users may set.
func SetReplyMetadata(ctx context.Context, key, value string) bool {
	c, ok := handling(ctx)
	if !ok || reserved(key) {
		return false
	}
	c.reply.set(key, value)
	return true
}

// PeerOf returns who makes the call that a handler serves.
func PeerOf(ctx context.Context) (Peer, bool) {
	if c, ok := handling(ctx); ok {
		return c.call.Peer, true
	}
	return Peer{}, false
}
