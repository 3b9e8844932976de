// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/fairlead/fairlead/bench/internal/result"
)

// tries are the numbers of connections that are tried for each peer whose callers
// share connections.
var tries = []int{1, 2} // constant

// chooseConns finds how many connections suit each such peer best, over 100 and
// 1000 callers, and keeps that for all of its cells.
func (r *run) chooseConns(ctx context.Context, o options) error {
	if o.conns > 0 {
		for _, c := range r.fleet.crews {
			c.conns = o.conns
		}
		return nil
	}
	rounds, slice := 3, 400*time.Millisecond
	if o.quick {
		rounds, slice = 1, 120*time.Millisecond
	}
	// logs are sums of logarithms of calls per second, by peer and try.
	logs := make(map[*crew][]float64)
	for range rounds {
		for _, crew := range r.fleet.crews {
			if !crew.peer.Shared {
				continue
			}
			if logs[crew] == nil {
				logs[crew] = make([]float64, len(tries))
			}
			for _, try := range r.random.Perm(len(tries)) {
				for _, callers := range []int{100, 1000} {
					if err := ctx.Err(); err != nil {
						return err
					}
					crew.conns = tries[try]
					m, err := r.slice(cell{lane: result.Proto, handler: result.Immediate, callers: callers, slice: slice, warm: slice / 4}, crew)
					if err != nil {
						return fmt.Errorf("trying %d connections: %w", crew.conns, err)
					}
					logs[crew][try] += math.Log(m.round().CallsPerSec) / float64(2*rounds)
				}
			}
		}
	}
	for _, crew := range r.fleet.crews {
		sums, best := logs[crew], 0
		if sums == nil {
			continue
		}
		for i := range sums {
			if sums[i] > sums[best] {
				best = i
			}
		}
		crew.conns = tries[best]
		crew.tried = fmt.Sprintf("connections: %d", crew.conns)
		for i, s := range sums {
			crew.tried += fmt.Sprintf("; tried %d: %.0f calls/s", tries[i], math.Exp(s))
		}
		r.say("%s: %s", crew.peer.Name, crew.tried)
	}
	return nil
}
