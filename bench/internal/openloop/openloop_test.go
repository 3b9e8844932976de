// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package openloop

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Calls are due at the exact rate, in order, and never in bursts.
func TestSchedule(t *testing.T) {
	begin := time.Now()
	cfg := Config{Rate: 16_000, WarmUp: time.Second, Duration: 2 * time.Second}
	interval := time.Second / 16_000
	var due []time.Duration
	for at := range schedule(begin, cfg) {
		due = append(due, at.Sub(begin))
	}
	if n := len(due); n < 47_999 || n > 48_000 {
		t.Errorf("%d calls in 3 s at 16,000/s", n)
	}
	for i := range due {
		if at := time.Duration(i) * interval; due[i] < at-time.Microsecond || due[i] > at+interval+time.Microsecond {
			t.Fatalf("call %d is due at %s, not within %s of %s", i, due[i], interval, at)
		}
		if i >= 2 && due[i]-due[i-2] < interval-time.Microsecond {
			t.Fatalf("three calls within %s", due[i]-due[i-2])
		}
	}
}

func TestSeedDecidesWhen(t *testing.T) {
	first := func(seed uint64) (at time.Duration) {
		begin := time.Now()
		for due := range schedule(begin, Config{Rate: 1, Duration: time.Minute, Seed: seed}) {
			return due.Sub(begin)
		}
		return 0
	}
	if one, again, two := first(1), first(1), first(2); one != again || one == two {
		t.Error("the seed does not decide when calls are due")
	}
}

// What was due before the counted time is made and does not count.
func TestEachCallIsCountedOnce(t *testing.T) {
	var made atomic.Int64
	res, err := Run(t.Context(), Config{Rate: 2000, WarmUp: 100 * time.Millisecond, Duration: 200 * time.Millisecond}, func(context.Context) error {
		if made.Add(1)%10 == 0 {
			return errors.New("failed")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := made.Load(); n < 598 || n > 600 {
		t.Errorf("%d calls were made, want 600", n)
	}
	if res.Due < 398 || res.Due > 402 || res.Failed < 38 || res.Failed > 42 || res.Overflow != 0 {
		t.Errorf("%d due, %d failed, %d overflowed", res.Due, res.Failed, res.Overflow)
	}
	if n := int64(res.Latency.Count()) + res.Failed; n != res.Due {
		t.Errorf("%d calls have an end, %d were due", n, res.Due)
	}
	if n := int64(res.Late.Count()); n != res.Due {
		t.Errorf("%d calls were begun, %d were due", n, res.Due)
	}
}

// A peer that stands still is seen in the latencies of all calls that were due
// meanwhile, though the generator could make them only later.
func TestNoCoordinatedOmission(t *testing.T) {
	const still = 200 * time.Millisecond
	goesOn := sync.OnceValue(func() time.Time { return time.Now().Add(still) })
	res, err := Run(t.Context(), Config{Rate: 1000, Duration: still}, func(context.Context) error {
		<-time.After(time.Until(goesOn()))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// Latencies are even from 0 to the length of the stop, at least.
	if p50 := res.Latency.Quantile(0.5); p50 < still/2-10*time.Millisecond {
		t.Errorf("p50 is %s, want at least half of %s", p50, still)
	}
}

// Latency counts from when a call was due, however late it was begun, and calls
// that have ended leave room.
func TestLatencyCountsFromWhenDue(t *testing.T) {
	r := run{call: func(context.Context) error { return nil }, room: make(chan struct{}, 1), result: new(Result)}
	for range 3 {
		r.start(t.Context(), time.Now().Add(-time.Second), true)
		r.underWay.Wait()
	}
	if n, least := r.result.Latency.Count(), r.result.Latency.Quantile(0); n != 3 || least < 900*time.Millisecond {
		t.Errorf("%d latencies, the least %s", n, least)
	}
	if least := r.result.Late.Quantile(0); least < 900*time.Millisecond || r.result.Overflow != 0 {
		t.Errorf("late by %s at least, %d overflowed", least, r.result.Overflow)
	}
}

// What finds no room is a failure of the peer, and the generator goes on.
func TestOverflow(t *testing.T) {
	release := make(chan struct{})
	r := run{call: func(context.Context) error { <-release; return nil }, room: make(chan struct{}, 10), result: new(Result)}
	for range 25 {
		r.start(t.Context(), time.Now(), true)
	}
	r.start(t.Context(), time.Now(), false)
	close(release)
	r.underWay.Wait()
	if res := r.result; res.Due != 25 || res.Overflow != 15 || res.Latency.Count() != 10 || res.Failed != 0 || res.Errors() != 15 {
		t.Errorf("%d due, %d overflowed, %d ended, %d errors", res.Due, res.Overflow, res.Latency.Count(), res.Errors())
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var made atomic.Int64
	_, err := Run(ctx, Config{Rate: 1000, Duration: time.Hour}, func(context.Context) error {
		if made.Add(1) == 5 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestBadConfig(t *testing.T) {
	good := Config{Rate: 1, Duration: time.Second}
	for name, spoil := range map[string]func(*Config){
		"no rate":              func(c *Config) { c.Rate = 0 },
		"too high a rate":      func(c *Config) { c.Rate = 1e7 },
		"no duration":          func(c *Config) { c.Duration = 0 },
		"negative warm-up":     func(c *Config) { c.WarmUp = -1 },
		"negative outstanding": func(c *Config) { c.Outstanding = -1 },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := Run(t.Context(), cfg, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
