// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// States of a call at the calling side. Whoever takes its slot ends it; w.mu is
// held from there to the withdrawal, so that no request is taken to be written in
// between.
//
//	queued for the window, or for room --given up--> over: unexecuted
//	   |
//	waits whole in the buffer --given up--> withdrawn: unexecuted
//	   |                                    (the one that announces: as below)
//	being written, or has left --given up--> over: unknown; a cancel is due
//	   |
//	over: answered, lost, bye, deadline
//
//	cancel due --hello has the feature-------> goes out behind the data
//	   |--no hello yet--> kept --hello------> goes out, or is dropped
//	   |                    \--an answer---> dropped: an old peer
//	   \--feature missing, connection over--> dropped
//
// States of a request at the callee's side. c.mu orders the steps.
//
//	read --> running: in the table --> answer begun: out of the table --> over
//	            \--cancel--> cancelled: out of the table, counts on --> over, nothing written
//
// A cancel that comes before OnEnd is told by OnEnd; one that comes later by
// Cancelled. One that comes after the answer was begun is ignored.

// cancels is what a caller may tell its peer of calls given up.
type cancels struct {
	state cancelState
	// kept are the seqs of those due before the peer said who it is.
	// Invariant: at most maxKept; empty in any other state.
	kept []uint64
}

type cancelState uint8

const (
	cancelsKept  cancelState = iota // nothing is known of the peer
	cancelsSent                     // its hello has the feature
	cancelsNever                    // it has no use for them
)

// maxKept bounds the cancels kept for a peer that says nothing. What is more is
// dropped: those handlers run to their end.
const maxKept = 1024

// giveUp ends a call that was sent, for the reason given, unless it has ended. If
// its request has left already, the callee is told so if tell is true; if it is
// still leaving, in any case.
func (c *ClientConn) giveUp(s *slot, reason error, tell bool) {
	c.w.mu.Lock()
	if c.calls.take(s.seq) == nil {
		c.w.mu.Unlock()
		return
	}
	start := false
	if c.w.withdrawLocked(s) {
		if reason = c.unsent(reason); errors.Is(reason, context.DeadlineExceeded) {
			reason = errDeadlineUnsent
		}
	} else if tell || s.end > c.w.written { // what is read late gets its whole timeout
		start = c.cancelLocked(s.seq)
	}
	c.w.mu.Unlock()
	s.finish(reason)
	if start {
		c.w.goFlush()
	}
}

// expired ends a call whose deadline has passed. It is called by the wheel.
func (c *ClientConn) expired(s *slot) { c.giveUp(s, errDeadline, !s.told) }

// cancelLocked tells the callee, now or later, that the call of that seq was
// given up. The frame stands in data, so that it never passes its request. start
// says that the flusher is to be started.
func (c *ClientConn) cancelLocked(seq uint64) (start bool) {
	switch {
	case c.w.closed != nil:
	case c.cancels.state == cancelsSent:
		f := outFrame{header: controlHeader(), path: wire.ControlPath, method: wire.MethodCancel, payload: wire.AppendCancel(nil, seq)}
		c.w.appendLocked(&f, nil)
		c.cfg.Counters.Cancels.Add(1)
		return c.w.startLocked()
	case c.cancels.state == cancelsKept && len(c.cancels.kept) < maxKept:
		c.cancels.kept = append(c.cancels.kept, seq)
	}
	return false
}

// settleCancels sends what was kept once the peer's hello was read.
func (c *clientRole) settleCancels(understood bool) {
	c.w.mu.Lock()
	kept := c.cancels.kept
	c.cancels = cancels{state: cancelsNever}
	start := false
	if understood {
		c.cancels.state = cancelsSent
		for _, seq := range kept {
			start = c.conn().cancelLocked(seq) || start
		}
	}
	c.w.mu.Unlock()
	if start {
		c.w.goFlush()
	}
}

// oldPeer notes that the peer answered without a hello. An honest callee says
// hello before anything else.
func (c *clientRole) oldPeer() {
	c.old = true
	c.answered.Store(true)
	c.settleCancels(false)
}

// ErrCancelled is why OnEnd takes nobody: the caller gave the call up.
var ErrCancelled = errors.New("the caller gave the call up")

// control handles a caller's control frame. Unknown ones are for later versions.
func (c *serverRole) control(f wire.Frame) {
	if a := c.peer.Load(); a == nil || string(f.Method) != wire.MethodCancel || !wire.Has(a.Features, wire.FeatureCancel) {
		return
	}
	if seq, ok := wire.ParseCancel(f.Payload); ok {
		c.cancel(seq)
	}
}

// cancel ends a running request whose caller gave up. What is not running was
// answered before, or never read.
func (c *serverRole) cancel(seq uint64) {
	c.mu.Lock()
	in := c.running.find(seq)
	if in == nil {
		c.mu.Unlock()
		return
	}
	c.running.remove(in)
	in.cancelled = true
	ender := in.ender
	in.ender = nil
	c.mu.Unlock()
	c.cfg.Counters.Cancelled.Add(1)
	if ender != nil {
		ender.Cancelled()
	}
}
