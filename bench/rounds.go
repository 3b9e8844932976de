// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/fairlead/fairlead/bench/internal/child"
	"github.com/fairlead/fairlead/bench/internal/result"
)

// rounds measures all cells, round by round, each in an order of its own.
func (r *run) rounds(ctx context.Context, cells []cell) error {
	most := 0
	for _, c := range cells {
		most = max(most, c.rounds)
	}
	for round := range most {
		for _, i := range r.random.Perm(len(cells)) {
			if c := cells[i]; round < c.rounds {
				if err := r.cell(ctx, c, round); err != nil {
					return fmt.Errorf("%v: %w", &c, err)
				}
			}
		}
	}
	return nil
}

// cell measures a cell's peers, one after the other.
func (r *run) cell(ctx context.Context, c cell, round int) error {
	peers := slices.Clone(c.peers)
	r.random.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	for _, name := range peers {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := r.slice(c, r.fleet.crew(name))
		if err != nil {
			return err
		}
		r.add(c, name, m.round())
		r.say("round %d: %v %s: %.0f calls/s, p50 %v", round+1, &c, name, m.round().CallsPerSec, m.P50.Round(time.Microsecond))
		if m.Errors > 0 {
			r.note("round %d: %v %s: %d calls failed, the first with: %s", round+1, &c, name, m.Errors, m.Failure)
		}
	}
	return nil
}

// slice warms up and measures.
func (r *run) slice(c cell, crew *crew) (measured, error) {
	bytes, err := payload(c.lane)
	if err != nil {
		return measured{}, err
	}
	ask := child.Ask{Op: child.Closed, Bytes: bytes, Handler: c.handler, Callers: c.callers, Duration: c.warm, Conns: crew.conns}
	if _, err := crew.client.Ask(ask); err != nil {
		return measured{}, err
	}
	ask.Duration = c.slice
	return crew.measure(ask)
}

// round is the measurement as the report has it.
func (m *measured) round() result.Round {
	return result.Round{
		CallsPerSec: float64(m.InTime) / m.seconds,
		CPUPerCall:  time.Duration(m.perCall.cpu), AllocsPerCall: m.perCall.mallocs, BytesPerCall: m.perCall.bytes,
		P50: m.P50, P99: m.P99, P999: m.P999, Errors: m.Errors,
	}
}

// add puts a round into the report's cell.
func (r *run) add(c cell, name string, round result.Round) {
	found := r.report.Cell(c.lane, c.handler, name, c.callers)
	if found == nil {
		r.report.Cells = append(r.report.Cells, result.Cell{Lane: c.lane, Handler: c.handler, Peer: name, Callers: c.callers})
		found = &r.report.Cells[len(r.report.Cells)-1]
	}
	found.Rounds = append(found.Rounds, round)
}

// run is one run of the benchmark.
type run struct {
	fleet  *fleet
	random *rand.Rand
	report result.Report
	loud   bool
}

// say tells how it goes, on standard error.
func (r *run) say(format string, args ...any) {
	if r.loud {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// note keeps what a reader of the report must know, and tells it.
func (r *run) note(format string, args ...any) {
	r.report.Notes = append(r.report.Notes, fmt.Sprintf(format, args...))
	r.say(format, args...)
}
