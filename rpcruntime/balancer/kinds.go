// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

import "sync/atomic"

// random picks uniformly.
type random struct{ Candidates }

func (p *random) Pick(info PickInfo) (*EndpointState, bool) {
	if n := p.primary.n; n > 0 {
		if s := p.primary.at(scale(uint32(info.Rand>>32), n)); info.good(s) {
			return take(s)
		}
	}
	return p.search(info, false)
}

// leastRequest picks two at random and takes the one with fewer calls in flight.
type leastRequest struct{ Candidates }

func (p *leastRequest) Pick(info PickInfo) (*EndpointState, bool) {
	if n := p.primary.n; n > 1 {
		i := scale(uint32(info.Rand>>32), n)
		j := scale(uint32(info.Rand), n-1)
		if j >= i {
			j++
		}
		a, b := p.primary.at(i), p.primary.at(j)
		if info.good(a) && info.good(b) {
			// i is uniform, so a tie, which goes to a, goes to either alike.
			return take(lessLoaded(a, b))
		}
	}
	return p.search(info, true)
}

// roundRobin walks the list. In the place of an endpoint that is not clean it
// picks a random one: were it the next one, that would bear double load.
type roundRobin struct {
	Candidates
	_    [64]byte // the counter is written by every Pick, the slices above are only read
	next atomic.Uint64
	_    [56]byte
}

func (p *roundRobin) Pick(info PickInfo) (*EndpointState, bool) {
	if n := p.primary.n; n > 0 {
		if s := p.primary.at(int(p.next.Add(1) % uint64(n))); info.good(s) {
			return take(s)
		}
	}
	return p.search(info, false)
}
