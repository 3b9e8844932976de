// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fairlead/fairlead/bench/internal/child"
	"github.com/fairlead/fairlead/bench/internal/result"
)

// blockers are the callers whose handlers block.
const blockers = 10

// schedulers measures what fast runtimes may cheat with: callers that are served
// less than others, and calls that wait for a handler that blocks.
func (r *run) schedulers(ctx context.Context, o options) error {
	fair, blocked, rounds := 10*time.Second, 2*time.Second, 3
	if o.quick {
		fair, blocked, rounds = 500*time.Millisecond, time.Second, 1
	}
	if err := r.fairness(fair); err != nil {
		return err
	}
	for range rounds {
		for _, name := range []string{result.Fairlead, result.Framed} {
			if err := ctx.Err(); err != nil {
				return err
			}
			if crew := r.fleet.crew(name); crew != nil {
				if err := r.blocked(crew, blocked); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// fairness counts the calls of each of 100 callers over that time.
func (r *run) fairness(fair time.Duration) error {
	for _, name := range []string{result.Fairlead, result.Framed} {
		crew := r.fleet.crew(name)
		if crew == nil {
			continue
		}
		m, err := crew.measure(child.Ask{Op: child.Closed, Handler: result.Immediate, Callers: 100, Duration: fair})
		if err != nil {
			return fmt.Errorf("fairness: %w", err)
		}
		if m.Calls == 0 {
			r.note("fairness: no call of %s succeeded: %s", name, m.Failure)
			continue
		}
		ratio := float64(m.Most) / float64(max(1, m.Least))
		r.say("%s: calls by caller over %v: from %d to %d, ratio %.2f", name, fair, m.Least, m.Most, ratio)
		r.report.Values = append(r.report.Values, result.NewValue(result.Per(result.Fairness, name), result.UnitTimes, ratio))
	}
	return nil
}

// blocked measures calls beside handlers that block for a second each.
func (r *run) blocked(crew *crew, slice time.Duration) error {
	m, err := crew.measure(child.Ask{
		Op: child.Blocked, Handler: result.Immediate, Callers: 100, Duration: slice, Blockers: blockers,
	})
	if err != nil {
		return fmt.Errorf("beside handlers that block: %w", err)
	}
	r.add(cell{lane: result.Proto, handler: result.Block, callers: 100}, crew.peer.Name, m.round())
	r.say("%s: 100 callers beside %d whose handlers block: p99 %v, the longest %v", crew.peer.Name, blockers, m.P99, m.Max)
	if m.Errors > 0 {
		r.note("%s beside handlers that block: %d calls failed, the first with: %s", crew.peer.Name, m.Errors, m.Failure)
	}
	return nil
}
