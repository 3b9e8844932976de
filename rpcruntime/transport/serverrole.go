// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// serverRole is the reader's part of a ServerConn.
type serverRole ServerConn

func (c *serverRole) conn() *ServerConn { return (*ServerConn)(c) }

func (c *serverRole) frame(f wire.Frame) error {
	switch {
	case f.Response():
		c.cfg.Counters.UnknownResponses.Add(1)
	case f.Heartbeat():
		c.heartbeat(f)
	case string(f.Path) == wire.ControlPath && f.Oneway():
		c.control(f)
	default:
		c.request(f)
		if h := c.here; h != nil && h.next != nil {
			return c.conn().runNext()
		}
	}
	return nil
}

// standBy: the callee's reader leaves its place only while it runs a handler, or
// writes.
func (c *serverRole) standBy() (bool, error) { return false, c.conn().writeHere() }

func (c *serverRole) ended() {}

// maxHeartbeat bounds the metadata and payload of a heartbeat, which are kept until
// the peer reads them again. Those of real peers are of some ten bytes.
const maxHeartbeat = 128 << 10

// heartbeat answers with the very frame, metadata and payload included, even if
// the oneway bit is set. docs/wire-protocol.md §6
func (c *serverRole) heartbeat(f wire.Frame) {
	if len(f.Meta)+len(f.Payload) > maxHeartbeat {
		c.cfg.Counters.OverLimit.Add(1)
		return
	}
	reply := outFrame{header: f.Header, path: string(f.Path), method: string(f.Method), payload: f.Payload}
	if len(reply.payload) >= byReference {
		reply.payload = bytes.Clone(reply.payload) // for it is the reader's
	}
	reply.header.Flags |= 0x80
	reply.raw = f.Meta
	_ = c.w.post(&reply) // fails only when the connection is over
	c.w.room()
}

func (c *serverRole) request(f wire.Frame) {
	in, _ := inboundPool.Get().(*Inbound)
	*in = Inbound{
		Conn: c.conn(), Header: f.Header, Path: f.Path, Method: f.Method, Meta: f.Meta, Payload: f.Payload,
		Received: c.r.lastRead, size: int64(len(f.Meta) + len(f.Payload)),
	}
	c.r.unhold() // from here on it counts as a request
	first, refused := c.track(in)
	in.alone = in.alone && !c.r.partial()
	if first {
		c.firstRequest(f)
	}
	c.sendLoad()
	if refused != nil {
		c.cfg.Counters.Refused.Add(1)
		c.cfg.Log.V(1).Info("request refused", "peer", c.RemoteAddr().String(), "reason", refused.Message())
		in.Refuse(refused, wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonLimit})
		return
	}
	in.Timeout = serverTimeout(f.Meta)
	c.callee.handler.Request(in)
}

// firstRequest looks for the announcement, which counts only in the very frame
// whose seq it names.
func (c *serverRole) firstRequest(f wire.Frame) {
	defer c.first.fire()
	value, ok := f.Meta.Get(wire.KeyAnnounce)
	if !ok {
		return
	}
	a, ok := wire.ParseAnnouncement(value)
	if !ok || a.Seq != f.Seq {
		return
	}
	kept := c.callee.share(&a)
	c.peer.Store(kept)
	c.tellsLoad = c.cfg.Load != nil && wire.Has(kept.Features, wire.FeatureLoad)
	c.callee.handler.Announced(c.conn(), kept)
	hello := wire.AppendHello(nil, wire.Hello{Seq: f.Seq, Features: c.features()})
	c.w.control(controlHeader(), wire.ControlPath, wire.MethodHello, hello)
	c.sendWindow()
	c.mu.Lock()
	grace := c.grace
	c.mu.Unlock()
	if grace > 0 {
		c.conn().sendDrain(grace)
	}
}

// controlHeader is the header of every control frame: a oneway request.
func controlHeader() wire.Header { return wire.RequestHeader(0, wire.SerializeRaw, true) }

// oversized answers from the header. The connection is kept if the frame could
// be thrown away, and was not the one to say who calls whom.
func (c *serverRole) oversized(o *oversized) error {
	h := o.header
	first := false
	if !h.Response() && !h.Heartbeat() {
		c.mu.Lock()
		c.read++
		first = c.read == 1
		c.mu.Unlock()
		if first {
			c.first.fire()
		}
		if !h.Oneway() {
			in := Inbound{Conn: c.conn(), Header: h}
			f := in.failure(status.New(status.ResourceExhausted, "request: "+o.err.Error()), wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonLimit})
			_ = c.w.post(&f) // fails only when the connection is over
			c.w.room()
		}
	}
	if first || !o.err.Discardable {
		c.conn().startDrain(0, c.cfg.DrainTimeout)
		return errStopReading
	}
	return nil
}

func (c *serverRole) idleTick() time.Duration {
	return min(c.cfg.HeartbeatInterval, c.cfg.IdleTimeout)
}

func (c *serverRole) quiet() {
	c.mu.Lock()
	c.running.trim()
	c.mu.Unlock()
	if c.here != nil && !c.here.standing.Load() {
		c.here = nil
		c.lone.Store(nil)
	}
}

// silentBeats is after how many intervals without a byte a subscriber, which
// owes a heartbeat in each, is given up. Nothing else would notice that it went
// away without a word, as long as there is nothing to push.
const silentBeats = 3

// tick drains idle connections away, and ends those of subscribers that are gone.
func (c *serverRole) tick(now time.Time) error {
	c.mu.Lock()
	busy := c.calls > 0
	c.mu.Unlock()
	silent := now.Sub(c.r.lastRead)
	switch {
	case c.subscribed.Load():
		if c.peer.Load() != nil && silent >= silentBeats*c.cfg.HeartbeatInterval {
			return &deadError{silent}
		}
	case !busy && silent >= c.cfg.IdleTimeout:
		c.conn().startDrain(0, c.cfg.WriteTimeout)
	}
	return nil
}

// stopped waits for the drain that stopped the reading to say the rest.
func (c *serverRole) stopped() {
	c.readEnded.fire()
	<-c.mayEnd.done()
}

func (c *serverRole) over(reason error) {
	c.readEnded.fire()
	c.mu.Lock()
	c.gone = reason
	drained := c.drained
	var enders []Ender
	c.running.each(func(in *Inbound) {
		if in.ender != nil {
			enders = append(enders, in.ender)
		}
	})
	c.mu.Unlock()
	for _, e := range enders {
		e.ConnEnded(reason)
	}
	if drained {
		<-c.mayEnd.done()
	}
	c.callee.handler.Closed(c.conn(), reason)
}

// serverTimeout reads what remains of the caller's attempt; unreadable is none.
func serverTimeout(m wire.Meta) time.Duration {
	value, ok := m.Get(wire.KeyServerTimeout)
	if !ok {
		return 0
	}
	ms, err := strconv.ParseInt(string(value), 10, 64)
	switch {
	case err != nil || ms > int64(1<<63-1)/int64(time.Millisecond):
		return 0
	case ms <= 0:
		return 1 // spent already: expires at once
	}
	return time.Duration(ms) * time.Millisecond
}
