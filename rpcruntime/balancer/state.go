// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// The delay before an endpoint that could not be reached is dialled again:
// doubled with each failure from the first to the last, and jittered over its
// upper half, so that clients that lost an endpoint together do not return together.
const (
	DialBackoffBase = 100 * time.Millisecond
	DialBackoffMax  = 10 * time.Second
)

// The time for which an endpoint that says that it is another is left alone:
// doubled each time from the first to the last.
const (
	DropBase = time.Second
	DropMax  = 30 * time.Second
)

// Outcome is what an attempt says about its endpoint.
type Outcome uint8

const (
	// Answered: an answer came, be it a result, an error or a refusal.
	Answered Outcome = iota
	// Failed: no answer, for the connection could not be made or broke, or the
	// attempt's time ran out.
	Failed
	// Abandoned: the caller gave up, or the attempt was not made. It says
	// nothing about the endpoint.
	Abandoned
)

// The marks of an endpoint.
const (
	markDraining  uint32 = 1 << iota // its connection said drain
	markDropped                      // it said that it is another; it counts until dropUntil
	markSuspect                      // the registry takes it for lost
	markConnected                    // it has a connection
	markProven                       // it answered since it was connected, and has not failed since
	markOnceUsed                     // it answered once

	marksAnswered = markProven | markOnceUsed
	// Both are needed: a caller may come to report an answer when the
	// connection that brought it is already gone.
	marksEvidence = markConnected | markProven
)

// class says how good a choice an endpoint is at the moment, best first.
type class uint8

const (
	classClean class = iota
	classUnproven
	classDraining
	classDialBackoff
	classAvoided
	classNever // not to be picked at all
)

// EndpointState is what a client has learnt of one endpoint. It outlives the
// Pickers: an update of the registry does not forget it.
//
// All methods but Attach are safe for concurrent use and allocate nothing.
//
// The first cache line is all that Pick reads and Done writes; what updates
// write is on the second, so that they do not slow down calls.
type EndpointState struct {
	// Invariant: inFlight = successful Picks + Begins - Dones >= 0.
	inFlight     atomic.Int32
	marks        atomic.Uint32
	avoidUntil   atomic.Int64
	dialAt       atomic.Int64
	dialFailures atomic.Uint32
	drops        atomic.Uint32
	dropUntil    atomic.Int64
	_            [64 - 40]byte

	id       string // never changes
	endpoint atomic.Pointer[policy.Endpoint]
	attached any // set before the first Pick, then never changed

	// Of the Table alone.
	kind    kind   // as the registry has it now
	was     kind   // before this round of changes
	place   uint32 // in the Table's list of its kind; of no meaning for kindNone
	touched uint64 // the round that touched it last
	_       [8]byte
}

func newState(e *policy.Endpoint) *EndpointState {
	s := &EndpointState{id: e.ID}
	s.endpoint.Store(e)
	return s
}

// ID returns the endpoint's id, which never changes.
func (s *EndpointState) ID() string { return s.id }

// Endpoint returns what the registry said last of the endpoint. It is shared
// and must not be changed.
func (s *EndpointState) Endpoint() *policy.Endpoint { return s.endpoint.Load() }

// Attach keeps something of the client's, such as its connections, beside the
// state. It may be called only before the state is first in a Picker.
func (s *EndpointState) Attach(v any) { s.attached = v }

// Attached returns what was attached, or nil.
func (s *EndpointState) Attached() any { return s.attached }

// InFlight returns the number of calls that were picked and are not done.
func (s *EndpointState) InFlight() int { return int(s.inFlight.Load()) }

// Begin counts a call in flight on an endpoint that no Picker chose: for calls
// that go to every endpoint. Done must be called for it.
func (s *EndpointState) Begin() { s.inFlight.Add(1) }

// Done says how the attempt ended. It must be called exactly once for each
// successful Pick, and each Begin.
func (s *EndpointState) Done(o Outcome) {
	s.inFlight.Add(-1)
	m := s.marks.Load()
	switch {
	case o == Answered && m&marksAnswered != marksAnswered:
		s.marks.Or(marksAnswered)
	case o == Failed && m&markProven != 0:
		s.marks.And(^markProven)
	}
}

// Avoid asks calls to go elsewhere for the delay: a limit of this endpoint
// refused one. A later but shorter refusal does not shorten the delay.
func (s *EndpointState) Avoid(now, delay time.Duration) {
	until := int64(now)
	if delay > math.MaxInt64-now {
		until = math.MaxInt64
	} else {
		until += int64(max(delay, 0))
	}
	for {
		old := s.avoidUntil.Load()
		if until <= old || s.avoidUntil.CompareAndSwap(old, until) {
			return
		}
	}
}

// Drain notes that the endpoint's connection said drain.
func (s *EndpointState) Drain() { s.marks.Or(markDraining) }

// Undrain notes that none of its connections that stand says drain any more.
func (s *EndpointState) Undrain() { s.marks.And(^markDraining) }

// Drop takes the endpoint out at once: it says that it is not who it is taken
// for. It comes back when the registry names another address or Pod for it, and
// is tried again after a while, longer from time to time: it may have been asked
// before it had learnt itself who it is. It reports whether that is news: calls
// that were under way when it was dropped say nothing more.
func (s *EndpointState) Drop(now time.Duration) bool {
	until := time.Duration(s.dropUntil.Load())
	if s.marks.Load()&markDropped != 0 && now < until {
		return false
	}
	drops := uint32(0)
	if s.marks.Load()&markDropped != 0 && now-until < DropMax {
		drops = s.drops.Load()
	}
	s.drops.Store(drops + 1)
	s.dropUntil.Store(int64(now + min(DropBase<<min(drops, 16), DropMax)))
	s.marks.Or(markDropped)
	return true
}

// Connected notes that the endpoint, which had no connection, has one. What
// former connections said and showed does not speak for this one.
func (s *EndpointState) Connected() {
	s.marks.And(^(markDraining | markProven))
	s.marks.Or(markConnected)
	s.dialFailures.Store(0)
	s.dialAt.Store(0)
}

// Disconnected notes that the endpoint's last connection is gone, and with it
// what it said and showed.
func (s *EndpointState) Disconnected() { s.marks.And(^(markDraining | markConnected)) }

// DialFailed notes that the endpoint, which has no connection, could not be
// reached, and returns when to dial next at the earliest.
func (s *EndpointState) DialFailed(now time.Duration, rand uint64) time.Duration {
	failures := s.dialFailures.Add(1)
	delay := DialBackoffMax
	if shift := failures - 1; shift < 16 {
		delay = min(DialBackoffBase<<shift, DialBackoffMax)
	}
	next := now + delay/2 + time.Duration(rand%uint64(delay/2+1))
	s.dialAt.Store(int64(next))
	return next
}

// DialAt returns the time before which the endpoint must not be dialled; it is
// in the past when nothing stands in the way.
func (s *EndpointState) DialAt() time.Duration { return time.Duration(s.dialAt.Load()) }

// moved forgets what belonged to the endpoint's former address or Pod.
func (s *EndpointState) moved() {
	s.marks.And(markSuspect | markConnected)
	s.avoidUntil.Store(0)
	s.dialFailures.Store(0)
	s.dialAt.Store(0)
}

// setSuspect notes whether the registry takes the endpoint for lost.
func (s *EndpointState) setSuspect(suspect bool) {
	if suspect {
		s.marks.Or(markSuspect)
	} else {
		s.marks.And(^markSuspect)
	}
}

// evident reports whether a suspect may be used, by the answer that it gave on
// the connection that still stands.
func evident(marks uint32) bool { return marks&marksEvidence == marksEvidence }

// clean is class(now, false) == classClean, save for suspects with evidence:
// they are rare, and leaving them to class lets the compiler inline this.
func (s *EndpointState) clean(now time.Duration) bool {
	m := s.marks.Load()
	return m&(markDraining|markSuspect) == 0 && (m&markDropped == 0 || s.dropUntil.Load() <= int64(now)) &&
		s.avoidUntil.Load() <= int64(now) && s.dialAt.Load() <= int64(now)
}

// class returns how good a choice the endpoint is. As a last resort a suspect
// that answered once will do; else it needs evidence.
func (s *EndpointState) class(now time.Duration, lastResort bool) class {
	m := s.marks.Load()
	c := classClean
	switch {
	case m&markDropped != 0 && s.dropUntil.Load() > int64(now):
		return classNever
	case m&markSuspect == 0 || evident(m):
	case lastResort && m&markOnceUsed != 0:
		c = classUnproven
	default:
		return classNever
	}
	if m&markDraining != 0 {
		c = classDraining
	}
	if s.dialAt.Load() > int64(now) {
		c = classDialBackoff
	}
	if s.avoidUntil.Load() > int64(now) {
		c = classAvoided
	}
	return c
}
