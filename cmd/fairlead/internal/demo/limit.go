// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"math"
	"time"
)

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
	// A call is refused once the servers that it tries have the limit and have given
	// their bursts away. Some calls may try one server only: hence the pause, in
	// which the others get as far.
	before := s.tally.now().refused
	if err := s.fleet.wait(ctx, "calls to be refused", func() bool { return s.tally.now().refused-before > per }); err != nil {
		return err
	}
	if err := s.pause(ctx, s.cfg.Plan.Settle/2); err != nil {
		return err
	}
	if err := s.measure(ctx, admitted); err != nil {
		return err
	}
	s.result.PolicyChanges++
	return s.removeLimit(ctx)
}

const (
	// tolerance is how far refusals may be from load minus limit.
	tolerance = 0.1
	// stalled is how late calls are made by a machine that cannot be measured on:
	// buckets that were full have run over meanwhile.
	stalled = 200 * time.Millisecond
)

// measure compares refusals with load minus limit, over one window of a length
// that is fixed beforehand. If they differ it is repeated once, but only if the
// load itself fell behind its clock, which can be seen without the refusals.
func (s *scene) measure(ctx context.Context, admitted int) error {
	m, late, err := s.window(ctx, admitted)
	if err != nil {
		return err
	}
	if !m.good() && late >= stalled {
		s.out.linef("   this machine stalled: calls were made up to %s late, and %s; measuring once more", millis(late), m)
		if m, late, err = s.window(ctx, admitted); err != nil {
			return err
		}
	}
	if !m.good() {
		return fmt.Errorf("%s, which is not within %.0f %% (calls were made up to %s late)", m, 100*tolerance, millis(late))
	}
	s.ok("%s", m)
	return nil
}

// window lets one window pass, and says what was seen in it and how late calls
// were made.
func (s *scene) window(ctx context.Context, admitted int) (m measured, late time.Duration, err error) {
	s.caller.resetLateness()
	before, began := s.tally.now(), time.Now()
	if err := s.pause(ctx, s.cfg.Plan.LimitWindow); err != nil {
		return m, 0, err
	}
	after, ended := s.tally.now(), time.Now()
	m = measured{took: ended.Sub(began), mul: after.mul - before.mul, refused: after.refused - before.refused, admitted: admitted}
	return m, s.caller.lateness(ended), nil
}

// measured is what was seen under a limit.
type measured struct {
	took         time.Duration
	mul, refused int // calls of the limited method, and those refused
	admitted     int // by all servers, in calls per second
}

// want is how many calls should have been refused: load minus limit.
func (m measured) want() float64 { return float64(m.mul) - float64(m.admitted)*m.took.Seconds() }

func (m measured) good() bool {
	return m.want() > 0 && math.Abs(float64(m.refused)-m.want()) <= tolerance*m.want()
}

func (m measured) String() string {
	return fmt.Sprintf("in %s %d calls were refused; load minus limit is %.0f", m.took.Round(10*time.Millisecond), m.refused, m.want())
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
