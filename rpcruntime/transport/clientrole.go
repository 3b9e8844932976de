// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// clientRole is the reader's part of a ClientConn.
type clientRole ClientConn

func (c *clientRole) conn() *ClientConn { return (*ClientConn)(c) }

func (c *clientRole) frame(f wire.Frame) error {
	c.beat, c.slow = false, false // any byte counts as life
	switch {
	case f.Response() && f.Heartbeat():
	case f.Response():
		if !c.old && c.peer.Load() == nil {
			c.oldPeer()
		}
		if s := c.calls.take(f.Seq); s != nil {
			c.note(s.last)
			s.answer(f, &c.r)
		} else {
			c.cfg.Counters.UnknownResponses.Add(1)
		}
	case f.Oneway() && !f.Heartbeat() && string(f.Path) == wire.ControlPath:
		c.control(f)
	case f.Oneway() && !f.Heartbeat():
		c.events.Push(c.conn(), f)
	default:
		c.cfg.Counters.UnknownPushes.Add(1)
	}
	return c.mayLeave()
}

// mayLeave ends the connection when the callee said bye and no call is left: a
// callee that does not close it would else keep it open.
func (c *clientRole) mayLeave() error {
	if c.hasBye && c.calls.inFlight() == 0 {
		return errBye
	}
	return nil
}

// control handles a control frame. Unknown ones are for later versions.
func (c *clientRole) control(f wire.Frame) {
	if string(f.Method) == wire.MethodHello {
		c.hello(f)
		return
	}
	if c.peer.Load() == nil {
		return // nothing counts before hello
	}
	switch string(f.Method) {
	case wire.MethodDrain:
		if !c.draining.Swap(true) {
			c.events.Draining(c.conn())
		}
	case wire.MethodBye:
		if read, ok := wire.ParseBye(f.Payload); ok {
			c.handleBye(read)
		}
	case wire.MethodWindow:
		if w, ok := wire.ParseWindow(f.Payload); ok {
			c.calls.setWindow(w)
		}
	case wire.MethodLoad:
		c.setLoad(f.Payload)
	}
}

// hello counts if it repeats the seq that our announcement went out with.
func (c *clientRole) hello(f wire.Frame) {
	h, ok := wire.ParseHello(f.Payload)
	c.w.mu.Lock()
	announced, has := c.w.announced, c.w.requests > 0
	c.w.mu.Unlock()
	if ok && has && h.Seq == announced && c.peer.Load() == nil {
		c.peer.Store(&wire.Announcement{Features: h.Features})
		c.settleCancels(wire.Has(h.Features, wire.FeatureCancel))
	}
}

// handleBye ends the calls whose requests were never read.
func (c *clientRole) handleBye(read uint64) {
	if !c.draining.Swap(true) {
		c.events.Draining(c.conn())
	}
	c.shut.Store(true)
	c.w.close(errBye) // nothing sent from here on would be read
	c.calls.close()
	c.bye, c.hasBye = read, true
	c.w.mu.Lock() // slots learn their number under it
	unread := c.calls.takeIf(func(s *slot) bool { return s.end == 0 || s.number > read })
	c.w.mu.Unlock()
	for _, s := range unread {
		s.finish(unexecutedError(ReasonBye, "the callee drained and never read the request"))
	}
}

// errBye is why nothing is sent any more.
var errBye = errors.New("the callee said bye")

func unexecutedError(reason, text string) *status.Error {
	return status.New(status.Unavailable, text).WithFate(status.FateUnexecuted).WithReason(reason)
}

// oversized fails the call only, whatever the size: the rest of the frame is
// thrown away as it comes, within the time for a frame.
func (c *clientRole) oversized(o *oversized) error {
	if o.header.Response() && !o.header.Heartbeat() {
		if s := c.calls.take(o.header.Seq); s != nil {
			s.finish(status.New(status.ResourceExhausted, "response: "+o.err.Error()).WithFate(status.FateExecuted))
		}
	}
	return nil
}

func (c *clientRole) quiet() { c.calls.trim() }

func (c *clientRole) idleTick() time.Duration {
	return min(c.cfg.HeartbeatInterval, c.cfg.IdleTimeout)
}

// tick sends heartbeats while they are needed, and ends what is idle or dead.
func (c *clientRole) tick(now time.Time) error {
	if err := c.mayLeave(); err != nil {
		return err
	}
	silent, unused := now.Sub(c.r.lastRead), c.unused(now)
	if c.calls.inFlight() == 0 && !c.subscribed.Load() {
		c.beat = false
		if min(silent, unused) >= c.cfg.IdleTimeout && c.calls.closeIfEmpty() {
			c.shut.Store(true)
			return errIdle
		}
		return nil
	}
	if silent < c.cfg.HeartbeatInterval {
		return nil
	}
	if c.beat && c.peer.Load() != nil {
		return &deadError{silent}
	}
	if c.beat && !c.slow {
		// An old peer answers heartbeats through its worker pool: late is not dead.
		c.slow = true
		c.cfg.Counters.SlowHeartbeats.Add(1)
		c.cfg.Log.V(1).Info("heartbeat unanswered by a peer without extensions", "peer", c.RemoteAddr().String())
	}
	c.beat = true
	c.beatSeq++
	c.cfg.Counters.Heartbeats.Add(1)
	c.w.control(wire.HeartbeatHeader(heartbeatSeq|c.beatSeq), "", "", heartbeatPayload(now))
	return nil
}

// unused returns for how long nothing was sent.
func (c *clientRole) unused(now time.Time) time.Duration {
	c.w.mu.Lock()
	appended := c.w.appended
	c.w.mu.Unlock()
	if appended != c.appended || c.activeAt.IsZero() {
		c.appended, c.activeAt = appended, now
	}
	return now.Sub(c.activeAt)
}

// heartbeatSeq marks the seqs of heartbeats, which have no slot: the index that
// no slot has.
const heartbeatSeq = 1 << 61

// heartbeatPayload is the time in MsgPack, as rpcx sends it. docs/wire-protocol.md §6
func heartbeatPayload(now time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{0xd3}, uint64(now.UnixNano()))
}

func (c *clientRole) stopped() {}

func (c *clientRole) ended() {
	if l := c.lone.Load(); l != nil {
		c.conn().endLone(l.state.Load())
	}
}

// over ends every call that is left, with what is known about it.
func (c *clientRole) over(reason error) {
	c.shut.Store(true)
	c.calls.close()
	c.draining.Store(true)
	c.w.mu.Lock()
	written := c.w.written
	left := c.calls.takeIf(func(*slot) bool { return true })
	c.w.mu.Unlock()
	for _, s := range left {
		switch {
		case s.end == 0 || s.end > written:
			s.finish(unexecutedError(ReasonUnsent, "connection lost before the request left: "+reason.Error()).WithCause(reason))
		case c.hasBye && s.number > c.bye:
			s.finish(unexecutedError(ReasonBye, "the callee drained and never read the request"))
		default:
			s.finish(status.New(status.Unavailable, "connection lost: "+reason.Error()).WithCause(reason).WithReason(ReasonLost))
		}
	}
	c.events.Ended(c.conn(), reason)
}
