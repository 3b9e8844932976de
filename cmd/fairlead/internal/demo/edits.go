// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// editPolicy shortens the timeout of Arith.Sleep and lengthens it again.
func (s *scene) editPolicy(ctx context.Context) error {
	if err := s.bites(ctx, longTimeout); err != nil {
		return err
	}
	for _, timeout := range []time.Duration{shortTimeout, longTimeout} {
		if err := s.edit(ctx, timeout); err != nil {
			return err
		}
	}
	return s.pause(ctx, s.cfg.Plan.Settle/2)
}

// edit writes the timeout of Arith.Sleep and waits until calls are made by it.
func (s *scene) edit(ctx context.Context, timeout time.Duration) error {
	began := time.Now()
	if err := s.files.writeTimeout(timeout); err != nil {
		return err
	}
	if err := s.bites(ctx, timeout); err != nil {
		return err
	}
	s.result.PolicyChanges++
	verb := "succeeds"
	if timeout < probeSleep {
		verb = "is given up"
	}
	s.ok("manifests/sleep.yaml says timeout %s: seen %s later; a call that takes %s now %s", timeout, millis(time.Since(began)), probeSleep, verb)
	return nil
}

// bites waits until probes end as they must under the timeout.
func (s *scene) bites(ctx context.Context, timeout time.Duration) error {
	var last error
	err := s.fleet.wait(ctx, fmt.Sprintf("the timeout of Arith.Sleep to be %s", timeout), func() bool {
		last = s.load.probe(ctx)
		if timeout < probeSleep {
			return status.CodeOf(last) == status.DeadlineExceeded && ctx.Err() == nil
		}
		return last == nil
	})
	if err != nil {
		return fmt.Errorf("%w; the last call ended with: %v", err, last) //nolint:errorlint // nil is an answer, too
	}
	return nil
}

// limit lets half of the idempotent calls through for a while.
func (s *scene) limit(ctx context.Context) error {
	per := s.cfg.Plan.limitPerServer()
	admitted := per * len(serverNames())
	s.out.linef("   each of %d servers admits %d calls/s of Arith.Mul: %d of %d calls/s, so %d/s must be refused", len(serverNames()), per, admitted,
		s.cfg.Plan.mulRate(), s.cfg.Plan.mulRate()-admitted)
	s.tally.limit(true)
	if err := s.files.writeLimit(per); err != nil {
		return err
	}
	// Refusals in number come once every server has the limit and has given its
	// burst away.
	before := s.tally.now().refused
	if err := s.fleet.wait(ctx, "calls to be refused", func() bool { return s.tally.now().refused-before > per }); err != nil {
		return err
	}
	if err := s.measure(ctx, admitted); err != nil {
		return err
	}
	s.result.PolicyChanges++
	return s.removeLimit(ctx)
}

// tolerance is how far refusals may be from load minus limit.
const tolerance = 0.1

// measure compares refusals with load minus limit. The window is extended if
// they differ, for a machine that stalled, but not for ever.
func (s *scene) measure(ctx context.Context, admitted int) error {
	before, began := s.tally.now(), time.Now()
	var got, want float64
	var took time.Duration
	err := s.fleet.wait(ctx, "refusals within 10 % of load minus limit", func() bool {
		now := s.tally.now()
		took = time.Since(began)
		got = float64(now.refused - before.refused)
		want = float64(now.mul-before.mul) - float64(admitted)*took.Seconds()
		return took >= s.cfg.Plan.LimitWindow && math.Abs(got-want) <= tolerance*want
	})
	if err != nil {
		return fmt.Errorf("%w: %.0f were refused in %s, and load minus limit is %.0f", err, got, took.Round(time.Millisecond), want)
	}
	s.ok("in %s %.0f calls were refused; load minus limit is %.0f", took.Round(10*time.Millisecond), got, want)
	return nil
}

// quiet is how long no call must be refused for the limit to be gone.
const quiet = 500 * time.Millisecond

func (s *scene) removeLimit(ctx context.Context) error {
	removed := time.Now()
	if err := s.files.removeLimit(); err != nil {
		return err
	}
	if err := s.fleet.wait(ctx, "the last refusal", func() bool {
		return time.Since(removed) > quiet && time.Since(s.tally.quietSince()) > quiet
	}); err != nil {
		return err
	}
	s.tally.limit(false)
	s.result.PolicyChanges++
	s.ok("manifests/limit.yaml is removed: the last call was refused %s later", millis(max(s.tally.quietSince().Sub(removed), 0)))
	return s.pause(ctx, s.cfg.Plan.Settle/2)
}
