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

	// wideFrom is from how many calls in flight on the first connection on small
	// messages have a second one, too. Two are read, and written to, by two
	// processors at once.
	wideFrom = 64

	// The least time between two dials of a second connection, doubled with each
	// that failed from the first to the last. Nobody waits for one.
	secondPauseBase = time.Second
	secondPauseMax  = time.Minute
)

// second is a connection of a link beside its first: bulk, which large messages go
// over, or wide, which takes its share of small ones when there are many. It is
// dialled in the background when it is first wanted, so that no call waits for it:
// until it stands, and whenever it does not, calls go over the first connection.
//
//	none --wanted--> dialling --ok--> standing --drain, idle, broken--> none
//	   \_____________failed: not before the pause is over______________/
//
// It says nothing of the endpoint's health, save when it is the only connection.
type second struct {
	what string // for the log
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
		if c := l.bulk.good(); c != nil {
			return c
		}
	}
	c := l.conn.Load()
	if c == nil || c.Shut() {
		return nil
	}
	if n := c.InFlight(); n >= wideFrom && !large {
		if w := l.wide.good(); w != nil && w.InFlight() < n {
			return w
		}
	}
	return c
}

// good returns the connection if it may take new calls, else nil.
func (s *second) good() *transport.ClientConn {
	if c := s.conn.Load(); c != nil && !c.Shut() && !c.Draining() {
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
	switch {
	case err != nil || c.Draining():
	case large && c != l.bulk.conn.Load():
		l.dialSecond(&l.bulk)
	case !large && c.InFlight() >= wideFrom && l.wide.conn.Load() == nil && l.rt.processors > 1:
		l.dialSecond(&l.wide)
	}
	return c, err
}

// dialSecond starts to dial a second connection, unless there is one or it is not due.
func (l *link) dialSecond(b *second) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.rt.now()
	if b.dial != nil || b.conn.Load() != nil || l.retired || now < b.next || l.rt.closing.Err() != nil {
		return
	}
	b.next = now + min(secondPauseBase<<min(b.failures, 16), secondPauseMax)
	d := &dialing{done: make(chan struct{})}
	b.dial = d
	l.rt.goroutines.Go(func() { l.runSecond(b, d) })
}

func (l *link) runSecond(b *second, d *dialing) {
	defer close(d.done)
	d.conn, d.err = l.connect()
	l.mu.Lock()
	b.dial = nil
	if d.err != nil {
		b.failures++
	} else {
		b.failures = 0
		b.conn.Store(d.conn)
		l.subscribeLocked(d.conn)
	}
	l.mu.Unlock()
	switch {
	case d.err != nil:
		l.rt.log.V(1).Info("no second connection; calls go over the first", "for", b.what, "endpoint", l.key.addresses, "error", loggable(d.err.Error()))
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
