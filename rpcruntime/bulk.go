// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/transport"
)

const (
	// largePayload is the size in bytes from which a message goes over an
	// endpoint's bulk connection: small ones behind it would wait too long.
	largePayload = 64 << 10
	// maxLargeMethods bounds the methods remembered for the size of their replies.
	maxLargeMethods = 1024

	// The least time between two dials of a bulk connection, doubled with each
	// that failed from the first to the last. Nobody waits for one.
	bulkPauseBase = time.Second
	bulkPauseMax  = time.Minute
)

// bulk is the second connection of a link, which large messages go over. It is
// dialled in the background when the first of them is sent, so that no call
// waits for it: until it stands, and whenever it does not, they go over the first
// connection like all others.
//
//	none --large message--> dialling --ok--> standing --drain, idle, broken--> none
//	   \____________________failed: not before the pause is over______________/
//
// It says nothing of the endpoint's health, save when it is the only connection.
type bulk struct {
	conn atomic.Pointer[transport.ClientConn]

	// The rest is guarded by the link's mu.

	dial     *dialing // under way; nil when none
	failures uint
	next     time.Duration // when to dial at the earliest
}

// standing returns the connection that a small or large message would take, or
// nil if there is none yet.
func (l *link) standing(large bool) *transport.ClientConn {
	if large {
		if c := l.bulk.conn.Load(); c != nil && !c.Shut() && !c.Draining() {
			return c
		}
	}
	if c := l.conn.Load(); c != nil && !c.Shut() {
		return c
	}
	return nil
}

// connFor returns a connection for a small message, or for a large one, dialling
// if there is none.
func (l *link) connFor(ctx context.Context, deadline time.Time, large bool) (*transport.ClientConn, error) {
	c := l.standing(large)
	var err error
	if c == nil {
		c, err = l.get(ctx, deadline)
	}
	if large && err == nil && c != l.bulk.conn.Load() && !c.Draining() {
		l.dialBulk()
	}
	return c, err
}

// dialBulk starts to dial the bulk connection, unless there is one or it is not due.
func (l *link) dialBulk() {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.bulk
	now := l.rt.now()
	if b.dial != nil || b.conn.Load() != nil || l.retired || now < b.next || l.rt.closing.Err() != nil {
		return
	}
	b.next = now + min(bulkPauseBase<<min(b.failures, 16), bulkPauseMax)
	d := &dialing{done: make(chan struct{})}
	b.dial = d
	l.rt.goroutines.Go(func() { l.runBulk(d) })
}

func (l *link) runBulk(d *dialing) {
	defer close(d.done)
	d.conn, d.err = l.connect()
	l.mu.Lock()
	l.bulk.dial = nil
	if d.err != nil {
		l.bulk.failures++
	} else {
		l.bulk.failures = 0
		l.bulk.conn.Store(d.conn)
		l.subscribeLocked(d.conn)
	}
	l.mu.Unlock()
	switch {
	case d.err != nil:
		l.rt.log.V(1).Info("no second connection for large messages; they go over the first", "endpoint", l.key.addresses, "error", loggable(d.err.Error()))
	case d.conn.Shut():
		l.Ended(d.conn, d.conn.Err()) // it ended before it was stored
	}
}

// replySizes remembers which methods answered with large replies last, so that
// these come over the bulk connection too. The zero value remembers none.
type replySizes struct {
	// methods is replaced and never changed, its values are; nil while no method
	// had a large reply.
	methods atomic.Pointer[map[string]*atomic.Bool]
	mu      sync.Mutex // held to replace methods
}

// large reports whether the method's last reply was large.
func (r *replySizes) large(method string) bool {
	m := r.methods.Load()
	if m == nil {
		return false
	}
	last := (*m)[method]
	return last != nil && last.Load()
}

// note remembers the size of a reply. Methods beyond maxLargeMethods are passed over.
func (r *replySizes) note(method string, size int) {
	large := size >= largePayload
	m := r.methods.Load()
	if m == nil && !large {
		return
	}
	if m != nil {
		if last := (*m)[method]; last != nil {
			if last.Load() != large {
				last.Store(large)
			}
			return
		}
	}
	if large {
		r.add(method)
	}
}

func (r *replySizes) add(method string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := map[string]*atomic.Bool{}
	if m := r.methods.Load(); m != nil {
		if len(*m) >= maxLargeMethods || (*m)[method] != nil {
			return
		}
		next = maps.Clone(*m)
	}
	next[method] = new(atomic.Bool)
	next[method].Store(true)
	r.methods.Store(&next)
}

// large reports whether the call is one for the bulk connection.
func (o *outgoingCall) large() bool {
	return len(o.req.Payload) >= largePayload || o.client.sizes.large(o.call.Method)
}
