// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"math/bits"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

const (
	// probeLimit is how many random places are looked at before a scan. Beyond
	// it nine in ten endpoints must be out of use for a scan to be likely.
	probeLimit = 32
	// scanLimit bounds the scan: some microseconds, and exact up to that many endpoints.
	scanLimit = 512
)

// PickInfo is what a Picker is told of an attempt.
type PickInfo struct {
	// Tried are the endpoints of this call's former attempts. The slice is the
	// caller's and not kept; it is nil for a first attempt.
	Tried []*EndpointState
	// AllowTried says that a tried endpoint is better than none.
	AllowTried bool
	// Now is the time since the start of the Runtime.
	Now time.Duration
	// Rand is 64 random bits, new for each Pick.
	Rand uint64
}

// Picker chooses endpoints. It is immutable, safe for concurrent use, and
// neither blocks nor allocates.
type Picker interface {
	// Pick returns an endpoint and counts a call in flight on it, for which
	// Done must be called; or false when there is none to pick.
	Pick(PickInfo) (*EndpointState, bool)
	// Size returns how many endpoints Pick may choose from at most. It is more
	// than the number of tried ones while an untried one exists.
	Size() int
}

// Build returns a Picker of that kind over the candidates. LeastRequest stands
// in for a kind that this runtime does not know. The random bits set where
// RoundRobin starts, so that clients that start together do not walk together.
func Build(kind policy.LoadBalancer, c Candidates, rand uint64) Picker {
	switch kind {
	case policy.Random:
		return &random{c}
	case policy.RoundRobin:
		p := &roundRobin{Candidates: c}
		p.next.Store(rand)
		return p
	default:
		return &leastRequest{c}
	}
}

// take counts a call in flight.
func take(s *EndpointState) (*EndpointState, bool) {
	s.inFlight.Add(1)
	return s, true
}

// good reports whether s is clean and not tried.
func (info *PickInfo) good(s *EndpointState) bool {
	return s.clean(info.Now) && (len(info.Tried) == 0 || !info.tried(s))
}

func (info *PickInfo) tried(s *EndpointState) bool {
	for _, t := range info.Tried {
		if t == s {
			return true
		}
	}
	return false
}

// search is the slow way, for when the fast one met an endpoint that is not
// clean. byLoad prefers fewer calls in flight among equals.
func (c *Candidates) search(info PickInfo, byLoad bool) (*EndpointState, bool) {
	r := source(info.Rand)
	if c.primary.n > probeLimit {
		if s := c.probe(&info, byLoad, &r); s != nil {
			return take(s)
		}
	}
	s, possible := scan(&c.primary, &info, false, byLoad, &r)
	if s == nil && !possible {
		s, _ = scan(&c.last, &info, true, byLoad, &r)
	}
	if s == nil {
		return nil, false
	}
	return take(s)
}

// probe looks at random places for a clean endpoint; byLoad for two, of which
// it returns the one with fewer calls in flight.
func (c *Candidates) probe(info *PickInfo, byLoad bool, r *source) *EndpointState {
	var found *EndpointState
	for range probeLimit {
		s := c.primary.at(r.below(c.primary.n))
		if s == found || s.class(info.Now, false) != classClean || info.tried(s) {
			continue
		}
		if !byLoad {
			return s
		}
		if found != nil {
			return lessLoaded(found, s)
		}
		found = s
	}
	return found
}

// scan returns an endpoint of the best class among scanLimit of the list, each
// of its equals alike likely, or nil. possible reports whether any endpoint may
// be picked, this call's tried ones included.
func scan(l *list, info *PickInfo, lastResort, byLoad bool, r *source) (best *EndpointState, possible bool) {
	var bestRank, equals int
	at := r.below(l.n)
	for range min(l.n, scanLimit) {
		s := l.at(at)
		if at++; at == l.n {
			at = 0
		}
		c := s.class(info.Now, lastResort)
		if c == classNever {
			continue
		}
		possible = true
		rank := int(c)
		if info.tried(s) {
			if !info.AllowTried {
				continue
			}
			rank += int(classNever)
		}
		order := rank - bestRank
		if order == 0 && byLoad && best != nil {
			order = int(s.inFlight.Load()) - int(best.inFlight.Load())
		}
		switch {
		case best == nil || order < 0:
			best, bestRank, equals = s, rank, 1
		case order == 0:
			equals++
			if r.below(equals) == 0 {
				best = s
			}
		}
	}
	return best, possible
}

func lessLoaded(a, b *EndpointState) *EndpointState {
	if b.inFlight.Load() < a.inFlight.Load() {
		return b
	}
	return a
}

// scale maps 32 random bits onto 0 <= i < n without a division.
func scale(random uint32, n int) int { return int(uint64(random) * uint64(n) >> 32) }

// source draws more random bits out of those that came with an attempt
// (SplitMix64's steps).
type source uint64

func (r *source) below(n int) int {
	*r += 0x9e3779b97f4a7c15
	x := uint64(*r)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	hi, _ := bits.Mul64(x^x>>31, uint64(n))
	return int(hi)
}
