// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"math"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// firstRequestGrace is how long a drain waits for the first request of a
// connection on which none was read: whoever dialled is about to send one.
const firstRequestGrace = time.Second

// untilCut waits without a limit of its own: the cut ends the connection.
const untilCut time.Duration = math.MaxInt64

// Drain ends the connection without losing a call, and returns when it is over.
//
//	peer that announced itself:           peer without extensions:
//	  drain frame
//	  wait: nothing in flight, or grace
//	  stop reading at a frame boundary      stop reading at a frame boundary
//	  wait: what was read is answered       the same
//	  bye frame
//	  half-close, discard input             the same
//
// grace is how long what the caller still sends is served; timeout bounds the
// whole, after which the connection is cut. Calling it while a drain runs only
// waits, and cuts that after timeout. docs/wire-protocol.md §8
func (c *ServerConn) Drain(grace, timeout time.Duration) {
	if !c.startDrain(grace, timeout) {
		cut := time.AfterFunc(timeout, func() { c.end(&drainTimeoutError{timeout}) })
		defer cut.Stop()
	}
	<-c.done.done()
}

// startDrain is Drain without waiting. The connection owns the goroutine: its
// end ends it, and waits for it.
// It reports false if one runs already, or the connection is over.
func (c *ServerConn) startDrain(grace, timeout time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drained || c.gone != nil {
		return false
	}
	c.drained = true
	go c.drain(grace, timeout)
	return true
}

func (c *ServerConn) drain(grace, timeout time.Duration) {
	cut := time.AfterFunc(timeout, func() { c.end(&drainTimeoutError{timeout}) })
	defer cut.Stop()
	defer c.mayEnd.fire()
	began := time.Now()
	c.mu.Lock()
	c.grace = max(grace, time.Nanosecond)
	announced := c.peer.Load() != nil
	c.mu.Unlock()
	switch {
	case announced:
		c.sendDrain(grace)
	case grace > 0:
		// The first request says whether the caller understands; on reading it,
		// the reader sends drain to one that does.
		c.waitFor(c.first.done(), min(grace, firstRequestGrace))
	}
	if c.peer.Load() != nil {
		c.waitIdle(grace - time.Since(began))
	}
	c.stopReading()
	<-c.readEnded.done()
	c.waitIdle(untilCut)
	if c.peer.Load() != nil {
		c.sayBye()
	}
	c.finishWriting()
}

// waitFor waits for ch, at most d, and not beyond the connection's end.
func (c *ServerConn) waitFor(ch <-chan struct{}, d time.Duration) {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ch:
	case <-c.ended.done():
	case <-t.C:
	}
}

// waitIdle waits until no request runs, at most d.
func (c *ServerConn) waitIdle(d time.Duration) {
	c.mu.Lock()
	if c.calls == 0 {
		c.mu.Unlock()
		return
	}
	if c.settled == nil {
		c.settled = make(chan struct{})
	}
	settled := c.settled
	c.mu.Unlock()
	c.waitFor(settled, d)
}

func (c *ServerConn) sendDrain(grace time.Duration) {
	c.w.control(controlHeader(), wire.ControlPath, wire.MethodDrain, wire.AppendDrain(nil, grace))
}

// sayBye goes out behind every answer, so it is data and not a control frame.
func (c *ServerConn) sayBye() {
	c.mu.Lock()
	read := c.read
	c.mu.Unlock()
	f := outFrame{header: controlHeader(), path: wire.ControlPath, method: wire.MethodBye, payload: wire.AppendBye(nil, read)}
	_ = c.w.post(&f) // fails only when the connection is over
}

// drainTimeoutError is a drain that had to be cut.
type drainTimeoutError struct{ after time.Duration }

// Error says after how long the drain was cut.
func (e *drainTimeoutError) Error() string { return "drain cut after " + e.after.String() }
