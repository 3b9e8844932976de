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
	// costs some microseconds, too.
	quickCall = 10 * time.Microsecond
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
	calls   int // since it was too slow; negative while that is held against it
	debt    int // the quick calls that longer ones have cost
	doubled int // how often the penalty has been
}

func (p *pace) load() paced {
	v := p.packed.Load()
	return paced{calls: int(int32(v)), debt: int(v >> 32 & 0xffff), doubled: int(v >> 48)}
}

func (p *pace) store(s paced) {
	p.packed.Store(uint64(s.doubled)<<48 | uint64(s.debt)<<32 | uint64(uint32(int32(s.calls))))
}

// isQuick reports whether the next call is likely to be quick.
func (p *pace) isQuick() bool {
	s := p.load()
	return s.calls >= quickCalls && s.debt <= fewDebt
}

// note learns from one call, which a reader ran, or not.
func (p *pace) note(took time.Duration, here bool) {
	s := p.load()
	s.calls = min(s.calls+1, trialCalls)
	switch {
	case took <= quickCall:
		s.debt = max(s.debt-1, 0)
	case here:
		s.debt = min(s.debt+longHere, mostDebt)
	default:
		s.debt = min(s.debt+longAway, mostDebt)
	}
	if here && (took >= slowCall || s.debt > fewDebt) {
		s.punish()
	}
	p.store(s)
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
