// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"sync/atomic"
	"time"
)

const (
	// quickCall is how long a call takes at most, its decoding included, whose handler
	// the reader of a connection may as well run: handing it to another goroutine
	// costs some microseconds, too. More if the call is alone on its connection, for
	// then nobody waits behind it, and another goroutine would have to be woken.
	quickCall, quickAlone = 10 * time.Microsecond, 100 * time.Microsecond
	// longHere and longAway are what a longer call costs in quick ones. Of those that
	// a reader runs at most one in 33 may be longer. Of the others one in 9: on a busy
	// machine many are interrupted.
	longHere, longAway = 32, 8
	// fewDebt is up to how much of that a handler is quick. No more than mostDebt is
	// remembered.
	fewDebt, mostDebt = 128, 256
	// quickCalls is how many calls must have been seen.
	quickCalls = 64
	// slowCall is the time from which a reader that ran it has kept others waiting.
	slowCall = time.Millisecond
	// penalty is after how many calls a handler is tried again that was too slow for a
	// reader; twice as many after each time within trialCalls, up to maxPenalty.
	penalty    = 256
	maxPenalty = 1 << 16
	trialCalls = 1024
)

// pace learns whether a handler returns at once. Whoever waits for something
// now and then does not. Safe for concurrent use; updates that are lost do no harm.
type pace struct{ packed atomic.Uint64 }

// paced is what a pace knows.
type paced struct {
	calls   int  // since it was too slow; negative while that is held against it
	doubled int  // how often the penalty has been
	debt    debt // the quick calls that longer ones have cost
	alone   debt // the same, longer than quickAlone
}

type debt int

func (p *pace) load() paced {
	v := p.packed.Load()
	return paced{calls: int(int32(v)), doubled: int(v >> 32 & 0xff), debt: debt(v >> 40 & 0xfff), alone: debt(v >> 52)}
}

func (p *pace) store(s paced) {
	p.packed.Store(uint64(s.alone)<<52 | uint64(s.debt)<<40 | uint64(s.doubled)<<32 | uint64(uint32(int32(s.calls))))
}

// isQuick reports whether the next call, which may be alone on its connection, is
// likely to be quick.
func (p *pace) isQuick(alone bool) bool {
	s := p.load()
	return s.calls >= quickCalls && s.owes(alone) <= fewDebt
}

func (s *paced) owes(alone bool) debt {
	if alone {
		return s.alone
	}
	return s.debt
}

// note learns from one call, which a reader ran, or not, and which was alone, or not.
func (p *pace) note(took time.Duration, here, alone bool) {
	s := p.load()
	s.calls = min(s.calls+1, trialCalls)
	s.debt.add(took > quickCall, here)
	s.alone.add(took > quickAlone, here)
	if here && (took >= slowCall || s.owes(alone) > fewDebt) {
		s.punish()
	}
	p.store(s)
}

func (d *debt) add(long, here bool) {
	switch {
	case !long:
		*d = max(*d-1, 0)
	case here:
		*d = min(*d+longHere, mostDebt)
	default:
		*d = min(*d+longAway, mostDebt)
	}
}

func (s *paced) punish() {
	switch {
	case s.calls >= trialCalls:
		s.doubled = 0
	case penalty<<s.doubled < maxPenalty:
		s.doubled++
	}
	s.calls = -penalty << s.doubled
}
