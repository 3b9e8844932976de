// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
)

// lone is the shortcut of a connection that carries one call at a time. Handing
// an answer from the reader to its caller wakes a goroutine, which costs more than
// all else that is done for a small call. So as long as calls come one by one the
// caller's reader stands by, and the one caller reads its own answer. The callee's
// reader may run handlers itself, then and otherwise: see here.
//
// Neither may keep others waiting: a watch looks once per watchTick, and whoever
// has held the reading for a whole tick loses it. On the callee's side another
// goroutine goes on as the reader; on the caller's side the caller is woken, and
// hands the reading back.
//
//	caller:  reading --stand by--> free --a lone caller--> held
//	            \<---somebody else calls, or a tick---/      |
//	             \<--others wait, or it takes long----------/ (else free again)
//	callee:  reading --a handler, a write--> held --it returned, or a tick--> reading
//
// It is made once it is needed, so that idle connections do not have one.
type lone struct {
	// state is the mode in its low bits, and above them a number that each change
	// raises: two looks at the same state mean that nothing happened.
	// Invariant: whoever makes it held owns the reader's fields until it is not.
	state atomic.Uint64
	wheel *wheel.Wheel
	timer wheel.Timer
	// standing: the timer is set. Invariant: set unless the mode is reading.
	standing atomic.Bool
	seen     uint64 // the state at the last look; the watch's
	// stuck is called by the watch when a state other than reading stood for a
	// whole tick. It must not block.
	stuck func(state uint64)

	// The rest is used on the caller's side only.

	// handBack asks the caller that reads to stop.
	handBack atomic.Bool
	// standby wakes the reader; capacity 1.
	standby chan struct{}
	// err is how the reading ended for a caller; guarded by state.
	err error
}

const (
	modeReading = iota // the reader reads
	modeFree           // nobody does
	modeHeld           // a caller reads, or the reader runs a handler, or writes
	modeMask    = 3
)

const (
	// loneCalls is how many calls in a row must have been alone.
	loneCalls = 32
	// watchTick is how often the watch looks.
	watchTick = time.Millisecond
)

// note counts the calls that are alone, in a row.
func (c *Conn) note(alone bool) {
	switch {
	case !alone || c.cfg.Wheel == nil:
		c.streak = 0
	case c.streak < loneCalls:
		c.streak++
	}
}

func (l *lone) init(w *wheel.Wheel, stuck func(uint64)) {
	l.wheel, l.stuck = w, stuck
	l.timer.Init(l)
}

// hold begins what the watch is to look at, and returns the state meanwhile.
// REQUIRES: the reading is the caller's.
func (l *lone) hold() uint64 {
	held := after(l.state.Load(), modeHeld)
	l.state.Store(held)
	l.watch()
	return held
}

// read lets the reader read on, unless the state is another by now.
func (l *lone) read(from uint64) bool {
	return l.state.CompareAndSwap(from, after(from, modeReading))
}

// after is the state that follows on state, of that mode.
func after(state, mode uint64) uint64 { return state&^modeMask + modeMask + 1 | mode }

// watch sets the timer, if it is not.
func (l *lone) watch() {
	if !l.standing.Load() && l.standing.CompareAndSwap(false, true) {
		l.look()
	}
}

// Expire is one look of the watch.
func (l *lone) Expire() {
	state := l.state.Load()
	if state == l.seen {
		if state&modeMask == modeReading { // nothing happened for a tick
			l.standing.Store(false)
			if l.state.Load() != state {
				l.watch()
			}
			return
		}
		l.stuck(state)
	}
	l.look()
}

func (l *lone) look() {
	l.seen = l.state.Load()
	l.wheel.Schedule(&l.timer, time.Now().Add(watchTick))
}

// stop ends the watch, of a connection that is over.
func (l *lone) stop() { l.wheel.Stop(&l.timer) }

// errReplaced ends a reader in whose place another goroutine reads.
var errReplaced = errors.New("another goroutine reads")

// standBy gives the reading away, and waits until it is the reader's again.
func (c *clientRole) standBy() (waited bool, err error) {
	if c.streak < loneCalls || c.r.partial() {
		return false, nil
	}
	l := c.lone.Load()
	if l == nil {
		l = &lone{standby: make(chan struct{}, 1)}
		l.init(c.cfg.Wheel, c.conn().endLone)
		c.lone.Store(l)
	}
	free := after(l.state.Load(), modeFree)
	l.state.Store(free)
	l.watch()
	if c.calls.inFlight() > 0 || c.Err() != nil { // nobody else would read for them
		if l.read(free) {
			return false, nil
		}
	}
	<-l.standby
	c.streak = 0
	l.handBack.Store(false)
	return true, l.err
}

// endLone makes the reader read again.
func (c *ClientConn) endLone(state uint64) {
	l := c.lone.Load()
	if state&modeMask == modeHeld {
		l.handBack.Store(true)
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // a connection that is gone needs no waking
		return
	}
	if state&modeMask == modeFree && l.read(state) {
		l.standby <- struct{}{}
	}
}

// readHere reads until the call has ended, if nobody else reads and no other
// call waits; it may return before.
func (c *ClientConn) readHere(l *lone, s *slot) {
	state := l.state.Load()
	if state&modeMask != modeFree {
		return
	}
	if c.calls.inFlight() > 1 {
		c.endLone(state)
		return
	}
	held := after(state, modeHeld)
	if !l.state.CompareAndSwap(state, held) {
		return
	}
	err := c.readFor(l, s)
	if err == nil && len(s.done) > 0 && !c.r.partial() {
		free := after(held, modeFree)
		l.state.Store(free)
		if c.calls.inFlight() > 0 || c.Err() != nil {
			c.endLone(free)
		}
		return
	}
	l.err = err
	l.state.Store(after(held, modeReading))
	l.standby <- struct{}{}
}

// readFor reads answers until the call has ended, or something comes, or is
// wanted, that is the reader's to do.
func (c *ClientConn) readFor(l *lone, s *slot) error {
	for len(s.done) == 0 && !l.handBack.Load() && c.r.atResponse() {
		more, err := c.parseOne()
		if err != nil {
			return err
		}
		if more {
			continue
		}
		timeout, err := c.r.readMore(c.cfg.FrameTimeout, c.role.idleTick(), &l.handBack)
		if l.handBack.Load() || timeout {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
