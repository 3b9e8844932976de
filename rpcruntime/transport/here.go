// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"runtime"
	"time"
)

// Runner is a request that the reader may run: Run ends it before it returns.
type Runner interface{ Run() }

// here is what the callee's reader needs to run handlers itself: those that are
// likely to return at once. To hand such a request to another goroutine costs
// more than to run it, and the answers of a whole read go out in one write.
//
// A handler may still block. The watch of lone takes the reading away from a reader
// that runs one, or writes, for a whole tick; another goroutine goes on with it.
//
// The reader's, but the lone in it; nil while the connection is quiet.
type here struct {
	lone
	// next is a request that the reader is to run.
	next Runner
	// ran counts the requests that it has run since it last wrote.
	ran int
	// enough: those of this read took long enough. Others run the rest, beside each
	// other.
	enough bool
}

// ownTime is how long after a read its reader runs handlers.
const ownTime = time.Millisecond

// hereBatch is from how many bytes on the reader writes answers before it has
// handled all that it has read: meanwhile the caller works on them.
const hereBatch = 16 << 10

// RunHere has the reader run r, once Handler.Request has returned, instead of
// another goroutine. To be called by Handler.Request itself, for handlers that are
// likely to return in some microseconds. False if the reader may not.
func (in *Inbound) RunHere(r Runner) bool {
	c := in.Conn
	if c == nil || c.cfg.Wheel == nil {
		return false
	}
	if c.here == nil {
		c.here = new(here)
		c.here.init(c.cfg.Wheel, c.readElsewhere)
		c.lone.Store(&c.here.lone)
	}
	if c.here.enough {
		return false
	}
	c.here.next, in.here = r, true
	return true
}

// Alone reports whether no other request was being served on the connection, or
// had been read from it, when this one came. To be called by Handler.Request itself.
func (in *Inbound) Alone() bool { return in.alone }

// runNext runs a handler as the reader.
func (c *ServerConn) runNext() error {
	h := c.here
	r := h.next
	h.next = nil
	c.woken--
	if h.ran++; h.ran%letRun == 0 {
		h.enough = time.Since(c.r.lastRead) > ownTime
	}
	held := h.hold()
	returned := false
	defer func() {
		if returned {
			return
		}
		if h.read(held) { // the handler ended its goroutine
			go c.work(false, nil)
		} else {
			c.w.flushHere()
		}
	}()
	r.Run()
	returned = true
	if !h.read(held) {
		c.w.flushHere()
		return errReplaced
	}
	return nil
}

// writeHere writes what the handlers that the reader ran have answered.
func (c *ServerConn) writeHere() error {
	h := c.here
	if h == nil || h.ran == 0 {
		return nil
	}
	ran := h.ran
	h.ran, h.enough = 0, false
	held := h.hold()
	c.w.flushHere()
	if !h.read(held) {
		return errReplaced
	}
	if ran >= letRun {
		runtime.Gosched() // so many may have come for others meanwhile, too
	}
	return nil
}

// readElsewhere lets another goroutine read while the reader runs a handler, or
// writes.
func (c *ServerConn) readElsewhere(held uint64) {
	if c.lone.Load().read(held) {
		go c.work(false, nil)
	}
}

// put appends an answer that is written with others, once the reader comes to it,
// or as soon as they are worth it. False if there is no room, or somebody waits
// for it.
func (w *writer) put(f *outFrame) bool {
	w.mu.Lock()
	if w.closed != nil {
		w.mu.Unlock()
		return true // and not written: the connection's end is told to Ender
	}
	fits := len(w.queue) == 0 && w.fitsLocked()
	if fits {
		w.appendLocked(f, nil)
	}
	full := !fits || len(w.data)+w.refBytes >= hereBatch
	w.mu.Unlock()
	if full {
		w.flushHere()
	}
	return fits
}

// flushHere writes what waits, unless somebody does already. Whoever calls it may
// be held up by the peer for as long as a write may take.
func (w *writer) flushHere() {
	w.mu.Lock()
	start := w.closed == nil && w.moreLocked() && w.startLocked()
	if start {
		w.flushed.Add(1)
	}
	w.mu.Unlock()
	if start {
		defer w.flushed.Done()
		w.flush()
	}
}
