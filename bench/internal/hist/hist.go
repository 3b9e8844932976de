// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package hist

import (
	"math"
	"math/bits"
	"time"
)

const (
	// Each power of two is cut into 1<<subBits buckets.
	subBits = 5
	// Below 1<<minBits ns (1 µs) all durations share buckets of 32 ns: nothing
	// that crosses a socket is that fast.
	minBits = 10
	// From 1<<maxBits ns (about 69 s) on all are in the last bucket.
	maxBits = 36

	buckets = (maxBits - minBits + 1) << subBits
)

// Hist counts durations. It has no pointers, so the garbage collector does not
// look into thousands of them.
type Hist struct {
	// Invariant: no count overflows, as no run makes 1<<32 calls.
	counts [buckets]uint32
	max    time.Duration
}

// Record counts d. A negative d counts as 0.
func (h *Hist) Record(d time.Duration) {
	h.counts[bucket(d)]++
	if d > h.max {
		h.max = d
	}
}

// Merge adds what other counted, and leaves other as it is.
func (h *Hist) Merge(other *Hist) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.max = max(h.max, other.max)
}

// Reset empties h.
func (h *Hist) Reset() { *h = Hist{} }

// Count is how many durations were recorded.
func (h *Hist) Count() uint64 {
	var sum uint64
	for _, n := range h.counts {
		sum += uint64(n)
	}
	return sum
}

// Max is the longest duration, exactly.
func (h *Hist) Max() time.Duration { return h.max }

// Quantile is the duration which a share q (0 to 1) of all do not exceed,
// estimated within its bucket: 0.99 for p99.
func (h *Hist) Quantile(q float64) time.Duration {
	total := h.Count()
	if total == 0 {
		return 0
	}
	rank := min(total, max(1, uint64(math.Ceil(q*float64(total)))))
	var seen uint64
	for i, n := range h.counts {
		if seen+uint64(n) < rank {
			seen += uint64(n)
			continue
		}
		low, high := bounds(i)
		inside := (float64(rank-seen) - 0.5) / float64(n)
		return min(h.max, low+time.Duration(inside*float64(high-low)))
	}
	return h.max
}

// bucket finds the bucket of d.
func bucket(d time.Duration) int {
	if d < 1<<minBits {
		return int(max(d, 0) >> (minBits - subBits))
	}
	if d >= 1<<maxBits {
		return buckets - 1
	}
	power := bits.Len64(uint64(d)) - 1
	sub := int(d>>(power-subBits)) - 1<<subBits
	return (power-minBits+1)<<subBits + sub
}

// bounds are the shortest duration of bucket i, and that of the next.
func bounds(i int) (low, high time.Duration) {
	power, sub := i>>subBits, i&(1<<subBits-1)
	shift := minBits - subBits // the width of a bucket is 1<<shift
	if power > 0 {
		shift += power - 1
		sub += 1 << subBits
	}
	return time.Duration(sub) << shift, time.Duration(sub+1) << shift
}
