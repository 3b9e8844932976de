// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"

	"github.com/fairlead/fairlead/bench/internal/child"
	"github.com/fairlead/fairlead/bench/internal/result"
)

// openLoop sends calls at half of what grpc-go could answer in this run, so that
// no peer is near its capacity.
func (r *run) openLoop(ctx context.Context, o options) error {
	peers := []string{result.Fairlead, result.GRPC, result.Framed, result.NetRPC}
	capacity := r.report.Cell(result.Proto, result.Immediate, result.GRPC, 100)
	if capacity == nil || r.fleet.crew(result.Fairlead) == nil {
		return nil
	}
	times := goalTimes
	if o.quick {
		times = quickTimes
		times.rounds = 2
	}
	times.rounds, times.slice, times.warm = either(o.rounds, times.rounds), either(o.slice, times.slice), either(o.warm, times.warm)
	rate := math.Floor(capacity.MedianOf(result.CallsPerSec) / 2)
	r.note("open loop: %.0f calls/s, half of what grpc-go answered at 100 callers", rate)
	late := make(map[string][]float64) // microseconds
	for round := range times.rounds {
		for _, i := range r.random.Perm(len(peers)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			crew := r.fleet.crew(peers[i])
			if crew == nil {
				continue
			}
			m, err := crew.measure(child.Ask{
				Op: child.Open, Handler: result.Immediate, Rate: rate, WarmUp: times.warm, Duration: times.slice, Seed: r.report.Seed + uint64(round),
			})
			if err != nil {
				return fmt.Errorf("open loop: %w", err)
			}
			r.add(cell{lane: result.Open, handler: result.Immediate}, peers[i], m.round())
			late[peers[i]] = append(late[peers[i]], float64(m.LateTail)/1e3)
			r.say("round %d: open loop %s: p50 %v, p99 %v, the generator late by %v at p99", round+1, peers[i], m.P50, m.P99, m.LateTail)
			if m.Errors > 0 {
				r.note("round %d: open loop %s: %d calls failed, the first with: %s", round+1, peers[i], m.Errors, m.Failure)
			}
		}
	}
	for _, name := range peers {
		if late := late[name]; late != nil {
			r.report.Values = append(r.report.Values, result.NewValue(result.Per(result.OpenLate, name), result.UnitMicros, late...))
		}
	}
	return nil
}
