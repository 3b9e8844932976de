// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// sendWindow tells a caller that understands what it may have in flight.
// docs/wire-protocol.md §8
func (c *serverRole) sendWindow() {
	if a := c.peer.Load(); !wire.Has(a.Features, wire.FeatureWindow) {
		return
	}
	w := wire.Window{Calls: uint32(min(int64(c.cfg.MaxCalls), math.MaxUint32)), Bytes: uint32(min(c.cfg.MaxRequestBytes, math.MaxUint32))}
	c.w.control(controlHeader(), wire.ControlPath, wire.MethodWindow, wire.AppendWindow(nil, w))
}

// window is what a caller may have in flight, of the calls in its table, whose mu
// guards it. Before the peer said one, it bounds nothing, but counts already.
//
//	acquire --fits--> flying --take--> gone
//	   \--else--> queued --its turn--> flying
//	                  \-----take-----> gone
type window struct {
	// maxCalls is the most that may fly whatever the peer says.
	maxCalls int
	// limited: the peer said its window, of calls and bytes.
	limited bool
	calls   int
	bytes   int64
	// flying and flyingBytes are the number and size of the calls not queued.
	flying      int
	flyingBytes int64
	// first and last are the ends of the queue; nil when it is empty.
	// Invariant: the table bounds its length, and its first does not fit.
	first, last *slot
	// atWindow: a new call would wait.
	atWindow atomic.Bool
}

// windowed is the part of a slot that the window needs.
type windowed struct {
	size       int64
	queued     bool
	next, prev *slot         // in the queue
	turn       chan struct{} // capacity 1; gets a value when a queued call flies
}

// enterLocked lets a call fly, or queues it and returns true.
func (w *window) enterLocked(s *slot, size int64) (queued bool) {
	s.size = size
	if w.limited && (w.first != nil || !w.fits(size)) {
		s.windowed = windowed{size: size, queued: true, prev: w.last, turn: make(chan struct{}, 1)}
		if w.last != nil {
			w.last.next = s
		} else {
			w.first = s
		}
		w.last = s
		w.noteLocked()
		return true
	}
	w.flyLocked(s)
	w.noteLocked()
	return false
}

// leaveLocked takes out a call, which may be another's turn.
func (w *window) leaveLocked(s *slot) {
	if s.queued {
		w.dequeueLocked(s)
	} else {
		w.flying--
		w.flyingBytes -= s.size
	}
	w.admitLocked()
}

// fits reports whether a call of that size may fly. One that is larger than the
// window may when it is alone.
func (w *window) fits(size int64) bool {
	return w.flying == 0 || (w.flying < w.calls && w.flyingBytes+size <= w.bytes)
}

func (w *window) flyLocked(s *slot) {
	w.flying++
	w.flyingBytes += s.size
}

func (w *window) dequeueLocked(s *slot) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		w.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		w.last = s.prev
	}
	s.queued, s.next, s.prev = false, nil, nil
}

// admitLocked lets fly what fits, in the order of the queue.
func (w *window) admitLocked() {
	for w.first != nil && w.fits(w.first.size) {
		s := w.first
		w.dequeueLocked(s)
		w.flyLocked(s)
		s.turn <- struct{}{}
	}
	w.noteLocked()
}

func (w *window) noteLocked() {
	if !w.limited {
		return
	}
	at := w.first != nil || w.flying >= w.calls || w.flyingBytes >= w.bytes
	if at != w.atWindow.Load() {
		w.atWindow.Store(at)
	}
}

// setWindow takes a window that the peer said. It revokes nothing: what flies
// beyond it goes on, and new calls wait. 0 calls read as 1, or nobody would ever
// call again; 0 bytes need no such rule, for a call that is alone always fits.
func (t *slots) setWindow(said wire.Window) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limited = true
	t.calls = min(max(int(said.Calls), 1), t.maxCalls)
	t.bytes = int64(said.Bytes)
	t.max = min(2*t.maxCalls, slotMask+1) // as many again may queue
	t.admitLocked()
}

// AtWindow reports whether a new call would have to wait for the peer's window.
func (c *ClientConn) AtWindow() bool { return c.calls.atWindow.Load() }

// awaitTurn waits until a queued call may fly. After an error the slot is still
// to be abandoned, and not a byte of the request will leave.
func (c *ClientConn) awaitTurn(ctx context.Context, deadline time.Time, s *slot) error {
	c.cfg.Counters.WindowWaits.Add(1)
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-s.turn:
		return nil
	case <-c.Ended():
		return c.unsent(c.reason)
	case <-s.done: // the callee said bye
		s.done <- struct{}{} // for abandon
		return c.unsent(errBye)
	case <-timeout:
	case <-ctx.Done():
		if ctx.Err() == context.Canceled {
			return c.unsent(ctx.Err())
		}
	}
	return status.Errorf(status.ResourceExhausted, "no room in the window of the connection to %s before the deadline", c.RemoteAddr()).
		WithCause(context.DeadlineExceeded).WithFate(status.FateUnexecuted).WithReason(ReasonWindow)
}
