// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

var errTest = errors.New("something else")

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("while testing: %w", err)
}

// within counts the times later than now-d.
func within(times []time.Duration, now, d time.Duration) int {
	n := 0
	for _, t := range times {
		if t > now-d {
			n++
		}
	}
	return n
}

// TestBudgetAgainstModel makes random calls and retries and compares with lists
// of their times: never more than allowed by the generous window, never less
// than by the strict one.
func TestBudgetAgainstModel(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		share := policy.Budget{Percent: int32(rng.IntN(101)), Interval: time.Duration(1+rng.IntN(10)) * time.Second}
		minimum := policy.Rate{Count: int32(rng.IntN(5)), Interval: time.Duration(1+rng.IntN(3000)) * ms}
		switch seed % 3 {
		case 0:
			minimum.Count = 0
		case 1:
			share.Percent = 0
		}
		b := NewBudget(share, minimum)
		var calls, paid, extra []time.Duration
		now := time.Duration(rng.Int64N(int64(time.Hour)))
		for range 3000 {
			now += time.Duration(rng.Int64N(int64(share.Interval) / 40))
			if rng.IntN(200) == 0 {
				now += share.Interval * 3
			}
			if rng.IntN(3) != 0 {
				b.RecordCall(now)
				calls = append(calls, now)
				continue
			}
			room := b.Room(now)
			before := b.paid.sum(now)
			ok := b.TryRetry(now)
			if ok != room {
				t.Fatalf("seed %d: Room says %v, TryRetry %v", seed, room, ok)
			}
			strictPaid := within(paid, now, share.Interval*11/10+ms) < within(calls, now, share.Interval)*int(share.Percent)/100
			strictExtra := within(extra, now, minimum.Interval*11/10+ms) < int(minimum.Count)
			if !ok && (strictPaid || strictExtra) {
				t.Fatalf("seed %d at %v: refused with room", seed, now)
			}
			if !ok {
				continue
			}
			if b.paid.sum(now) > before {
				paid = append(paid, now)
			} else {
				extra = append(extra, now)
			}
			if got, most := within(paid, now, share.Interval), within(calls, now, share.Interval*11/10+ms)*int(share.Percent)/100; got > most && b.paid.sum(now) > before {
				t.Fatalf("seed %d at %v: %d of at most %d retries", seed, now, got, most)
			}
			if got := within(extra, now, minimum.Interval); got > int(minimum.Count) {
				t.Fatalf("seed %d at %v: %d retries beyond the share, at most %d", seed, now, got, minimum.Count)
			}
		}
		if len(paid) == 0 && seed%3 == 0 && share.Percent > 10 || len(extra) == 0 && minimum.Count > 0 {
			t.Fatalf("seed %d: %d and %d retries: the test shows little", seed, len(paid), len(extra))
		}
	}
}

func TestBudgetGivesNothing(t *testing.T) {
	for name, b := range map[string]*Budget{
		"nil":         nil,
		"zero":        NewBudget(policy.Budget{}, policy.Rate{}),
		"no interval": NewBudget(policy.Budget{Percent: 0, Interval: time.Second}, policy.Rate{Count: 0, Interval: 0}),
		"negative":    NewBudget(policy.Budget{Percent: -5, Interval: -1}, policy.Rate{Count: -1, Interval: -1}),
		"no calls":    NewBudget(policy.Budget{Percent: 100, Interval: time.Second}, policy.Rate{}),
	} {
		if b.Room(5) || b.TryRetry(5) {
			t.Errorf("%s: gave a retry", name)
		}
	}
}

// TestDefaultsBoundAmplification: with the default policy a target that fails
// every call gets 1.2 times the load, and the minimum on top.
func TestDefaultsBoundAmplification(t *testing.T) {
	b := NewBudget(policy.Budget{Percent: 20, Interval: 10 * time.Second}, policy.Rate{Count: 10, Interval: time.Second})
	retries := 0
	for now := time.Duration(0); now < 30*time.Second; now += ms {
		b.RecordCall(now)
		if b.TryRetry(now) {
			retries++
		}
	}
	// 20 % of 30,000 and 10 in each of 30 seconds.
	if retries < 6000 || retries > 6000+300 {
		t.Errorf("%d retries of 30000 calls, want 6000 to 6300", retries)
	}
}

func TestOldCallsAreForgotten(t *testing.T) {
	// Times at which the buckets' numbers, of 32 bits, wrap around.
	for _, start := range []time.Duration{0, (1<<31 - 5) * ms, (1<<32 - 5) * ms, 1 << 61} {
		b := NewBudget(policy.Budget{Percent: 100, Interval: 10 * ms}, policy.Rate{})
		b.RecordCall(start)
		if !b.Room(start) || !b.Room(start+9*ms) {
			t.Errorf("from %v: forgotten within the interval", start)
		}
		if b.Room(start + 12*ms) {
			t.Errorf("from %v: remembered after the interval", start)
		}
		// A time from before the newest is no reason to forget.
		b.RecordCall(start + 40*ms)
		b.RecordCall(start + 39*ms)
		b.RecordCall(start + 29*ms) // a whole turn earlier, in the very bucket of the newest
		if got := b.calls.sum(start + 40*ms); got != 3 {
			t.Errorf("from %v: %d calls, want 3", start, got)
		}
	}
	// Buckets that were never used, after very long, are empty too.
	b := NewBudget(policy.Budget{Percent: 100, Interval: 10 * ms}, policy.Rate{})
	for _, now := range []time.Duration{0, 1 << 31 * ms, 1<<31*ms + 20*ms} {
		b.RecordCall(now)
		if got := b.calls.sum(now); got != 1 {
			t.Errorf("at %v: %d calls, want 1", now, got)
		}
	}
}

func TestWith(t *testing.T) {
	share, minimum := policy.Budget{Percent: 20, Interval: time.Second}, policy.Rate{Count: 1, Interval: time.Second}
	b := NewBudget(share, minimum)
	b.TryRetry(0)
	if b.With(share, minimum) != b {
		t.Error("the same parameters forget")
	}
	minimum.Count = 2
	if other := b.With(share, minimum); other == b || !other.TryRetry(0) || !other.TryRetry(0) || other.TryRetry(0) {
		t.Error("new parameters do not count")
	}
	if (*Budget)(nil).With(share, minimum) == nil {
		t.Error("nil stays nil")
	}
}

// TestBudgetIsNeverExceededConcurrently: whatever the interleaving, the calls
// recorded before bound the retries granted.
func TestBudgetIsNeverExceededConcurrently(t *testing.T) {
	for range 20 {
		b := NewBudget(policy.Budget{Percent: 10, Interval: time.Hour}, policy.Rate{Count: 7, Interval: time.Hour})
		for range 1000 {
			b.RecordCall(time.Minute)
		}
		var granted atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 200 {
					if b.TryRetry(time.Minute) {
						granted.Add(1)
					}
				}
			})
		}
		wg.Wait()
		// Two at once may both go without, but they come again.
		if got := granted.Load(); got != 107 {
			t.Fatalf("%d retries of 1000 calls, want 107", got)
		}
	}
}

// TestTwoWhoCountAtOnce: the first to look sees both, and goes without.
func TestTwoWhoCountAtOnce(t *testing.T) {
	w := window{width: 10}
	first, second := w.add(100), w.add(109)
	if w.settle(first, 100, 1) {
		t.Error("the first did not see the second")
	}
	if !w.settle(second, 109, 1) {
		t.Error("the second goes without, though the first has")
	}
	if got := w.sum(109); got != 1 {
		t.Errorf("%d are counted, want 1", got)
	}
}

// TestWindowLosesNothingConcurrently: calls are counted exactly while buckets
// come and go under them.
func TestWindowLosesNothingConcurrently(t *testing.T) {
	w := window{width: 10}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range time.Duration(100) {
				w.add(1000 + i)
			}
		})
	}
	wg.Wait()
	if got := w.sum(1099); got != 800 {
		t.Errorf("%d events, want 800", got)
	}
}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	b := NewBudget(policy.Budget{Percent: 20, Interval: time.Second}, policy.Rate{Count: 10, Interval: time.Second})
	a := attempt(failed(status.Unavailable, status.FateUnknown))
	r := rules
	r.PerTryTimeout = ms
	now := time.Duration(0)
	if allocs := testing.AllocsPerRun(1000, func() {
		now += ms
		b.RecordCall(now)
		_ = AttemptTimeout(r, NextAttempt{Number: 1, Idempotent: true, OtherUntried: true, Remaining: time.Second}, b, now)
		_ = Decide(r, a, b, now, math.MaxUint64)
	}); allocs != 0 {
		t.Errorf("%v allocations per call", allocs)
	}
}

func BenchmarkRecordCall(b *testing.B) {
	budget := NewBudget(policy.Budget{Percent: 20, Interval: 10 * time.Second}, policy.Rate{Count: 10, Interval: time.Second})
	b.RunParallel(func(pb *testing.PB) {
		now := time.Duration(0)
		for pb.Next() {
			now += 1000
			budget.RecordCall(now)
		}
	})
}

func BenchmarkTryRetry(b *testing.B) {
	budget := NewBudget(policy.Budget{Percent: 20, Interval: 10 * time.Second}, policy.Rate{Count: 10, Interval: time.Second})
	now := time.Duration(0)
	for b.Loop() {
		now += 1000
		budget.TryRetry(now)
	}
}

func BenchmarkAttemptTimeout(b *testing.B) {
	budget := NewBudget(policy.Budget{Percent: 20, Interval: 10 * time.Second}, policy.Rate{Count: 10, Interval: time.Second})
	r := rules
	r.PerTryTimeout = ms
	n := NextAttempt{Number: 1, Idempotent: true, OtherUntried: true, Remaining: time.Second}
	now := time.Duration(0)
	for b.Loop() {
		now += 1000
		_ = AttemptTimeout(r, n, budget, now)
	}
}
