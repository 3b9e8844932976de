// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"math"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

func TestStateLayout(t *testing.T) {
	var s EndpointState
	if size := unsafe.Sizeof(s); size != 128 {
		t.Errorf("a state has %d bytes, want two cache lines of 64", size)
	}
	if end := unsafe.Offsetof(s.dialFailures) + unsafe.Sizeof(s.dialFailures); end > 64 {
		t.Errorf("what Pick reads ends at byte %d, beyond the first cache line", end)
	}
	if start := unsafe.Offsetof(s.id); start != 64 {
		t.Errorf("the second cache line starts at byte %d", start)
	}
}

func TestAvoid(t *testing.T) {
	s := newState(&policy.Endpoint{ID: "a"})
	s.Avoid(10, 5)
	s.Avoid(11, 1) // shorter: does not count
	for now, want := range map[time.Duration]class{14: classAvoided, 15: classClean} {
		if got := s.class(now, false); got != want {
			t.Errorf("class at %d is %d, want %d", now, got, want)
		}
	}
	s.Avoid(10, -5)
	if !s.clean(15) {
		t.Error("a negative delay moved the end of avoidance")
	}
	s.Avoid(20, math.MaxInt64)
	if s.clean(math.MaxInt64 - 1) {
		t.Error("a huge delay wrapped around")
	}
}

func TestDialBackoffGrowsAndIsJittered(t *testing.T) {
	s := newState(&policy.Endpoint{ID: "a"})
	ceiling := DialBackoffBase
	for failure := range 40 {
		now := time.Duration(failure) * time.Hour
		rand := uint64(failure) * 0x9e3779b97f4a7c15
		delay := s.DialFailed(now, rand) - now
		if delay < ceiling/2 || delay > ceiling {
			t.Fatalf("failure %d: delay %v, want between %v and %v", failure+1, delay, ceiling/2, ceiling)
		}
		if s.DialAt() != now+delay || s.class(now+delay-1, false) != classDialBackoff || !s.clean(now+delay) {
			t.Fatalf("failure %d: not in backoff exactly until %v", failure+1, now+delay)
		}
		ceiling = min(ceiling*2, DialBackoffMax)
	}
	if low, high := s.DialFailed(0, 0), s.DialFailed(0, uint64(DialBackoffMax/2)); low == high {
		t.Errorf("both random values gave %v", low)
	}
	s.Connected()
	if s.DialAt() != 0 {
		t.Error("still in backoff after a connection")
	}
	if next := s.DialFailed(0, 0); next > DialBackoffBase {
		t.Errorf("backoff starts at %v after a connection", next)
	}
}

func TestEvidence(t *testing.T) {
	type step func(*EndpointState)
	connect, disconnect := (*EndpointState).Connected, (*EndpointState).Disconnected
	done := func(o Outcome) step { return func(s *EndpointState) { s.Done(o) } }
	tests := []struct {
		name       string
		steps      []step
		used, last class // as a suspect, normally and as the last resort
	}{
		{"never used", nil, classNever, classNever},
		{"connected only", []step{connect}, classNever, classNever},
		{"answered", []step{connect, done(Answered)}, classClean, classClean},
		{"caller gave up since", []step{connect, done(Answered), done(Abandoned)}, classClean, classClean},
		{"failed since", []step{connect, done(Answered), done(Failed)}, classNever, classUnproven},
		{"answered again", []step{connect, done(Answered), done(Failed), done(Answered)}, classClean, classClean},
		{"connection gone", []step{connect, done(Answered), disconnect}, classNever, classUnproven},
		{"other connection", []step{connect, done(Answered), disconnect, connect}, classNever, classUnproven},
		{"late report", []step{connect, disconnect, done(Answered)}, classNever, classUnproven},
		{"late report, other connection", []step{connect, disconnect, done(Answered), connect}, classNever, classUnproven},
		{"failed only", []step{connect, done(Failed)}, classNever, classNever},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newState(&policy.Endpoint{ID: "a"})
			s.setSuspect(true)
			for _, do := range tt.steps {
				do(s)
			}
			if got := s.class(0, false); got != tt.used {
				t.Errorf("class is %d, want %d", got, tt.used)
			}
			if got := s.class(0, true); got != tt.last {
				t.Errorf("class as last resort is %d, want %d", got, tt.last)
			}
			s.setSuspect(false)
			if got := s.class(0, false); got != classClean {
				t.Errorf("class when ready is %d", got)
			}
		})
	}
}

func TestDrainEndsWithItsConnection(t *testing.T) {
	s := newState(&policy.Endpoint{ID: "a"})
	for name, end := range map[string]func(){"disconnected": s.Disconnected, "connected anew": s.Connected} {
		s.Drain()
		if s.class(0, false) != classDraining || s.clean(0) {
			t.Errorf("class is %d while draining", s.class(0, false))
		}
		if end(); !s.clean(0) {
			t.Errorf("%s: still draining", name)
		}
	}
}

func TestDoneIsCountedOnceEachUnderConcurrency(t *testing.T) {
	s := newState(&policy.Endpoint{ID: "a"})
	p := Build(policy.LeastRequest, Candidates{primary: listOf(s)}, 0)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				got, ok := p.Pick(PickInfo{Rand: uint64(i)})
				if !ok || got != s || s.InFlight() < 1 || s.InFlight() > 8 {
					t.Errorf("picked %v, %v with %d in flight", got, ok, s.InFlight())
				}
				s.Done(Outcome((i + g) % 3))
			}
		})
	}
	wg.Wait()
	if s.InFlight() != 0 {
		t.Errorf("%d calls in flight after all are done", s.InFlight())
	}
}
