// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package hist

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsHaveNoGaps(t *testing.T) {
	for i := range buckets {
		low, high := bounds(i)
		if high <= low {
			t.Fatalf("bucket %d is [%d, %d): empty", i, low, high)
		}
		if got := bucket(low); got != i {
			t.Errorf("bucket(%d) = %d, want %d", low, got, i)
		}
		if got := bucket(high - 1); got != i {
			t.Errorf("bucket(%d) = %d, want %d", high-1, got, i)
		}
		if i+1 < buckets {
			if next, _ := bounds(i + 1); next != high {
				t.Errorf("bucket %d ends at %d, the next begins at %d", i, high, next)
			}
		}
		if low >= 1<<minBits && (high-low)*(1<<subBits) > low {
			t.Errorf("bucket [%d, %d) is wider than 1/%d", low, high, 1<<subBits)
		}
	}
	if got := bucket(-time.Second); got != 0 {
		t.Errorf("a negative duration is in bucket %d, want 0", got)
	}
	if got := bucket(time.Hour); got != buckets-1 {
		t.Errorf("an hour is in bucket %d, want the last, %d", got, buckets-1)
	}
}

func TestQuantile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h, other Hist
	all := make([]time.Duration, 0, 20_000)
	for i := range cap(all) {
		d := time.Duration(random.ExpFloat64() * float64(300*time.Microsecond))
		all = append(all, d)
		if i%2 == 0 {
			h.Record(d)
		} else {
			other.Record(d)
		}
	}
	h.Merge(&other)
	slices.Sort(all)
	if h.Count() != uint64(len(all)) {
		t.Fatalf("Count() = %d, want %d", h.Count(), len(all))
	}
	if want := all[len(all)-1]; h.Max() != want || h.Quantile(1) > want {
		t.Errorf("Max() = %v, Quantile(1) = %v, the longest is %v", h.Max(), h.Quantile(1), want)
	}
	for _, q := range []float64{0.1, 0.5, 0.9, 0.99, 0.999} {
		want := all[int(q*float64(len(all)))-1]
		got := h.Quantile(q)
		if off := float64(got-want) / float64(want); off > 0.04 || off < -0.04 {
			t.Errorf("Quantile(%v) = %v, want about %v", q, got, want)
		}
	}
}

func TestQuantileOfFew(t *testing.T) {
	var h Hist
	h.Record(time.Millisecond)
	h.Record(100 * time.Millisecond)
	for q, want := range map[float64]time.Duration{0: time.Millisecond, 0.5: time.Millisecond, 0.51: 100 * time.Millisecond, 1: 100 * time.Millisecond} {
		got := h.Quantile(q)
		if off := float64(got-want) / float64(want); off > 0.04 || off < -0.04 {
			t.Errorf("Quantile(%v) of 1ms and 100ms = %v, want about %v", q, got, want)
		}
	}
}

func TestEmpty(t *testing.T) {
	var h Hist
	if h.Quantile(0.5) != 0 || h.Count() != 0 || h.Max() != 0 {
		t.Error("an empty Hist has durations")
	}
	h.Record(time.Millisecond)
	h.Reset()
	if h.Count() != 0 || h.Max() != 0 {
		t.Error("Reset left something")
	}
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("Record allocates %v times", n)
	}
}
