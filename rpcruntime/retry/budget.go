// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Budget bounds the retries of a caller to one target. It counts calls and
// retries in sliding windows and is safe for concurrent use.
//
// A token bucket fed by calls, which is simpler, was rejected: a share of the
// calls of an interval is what policies say, and what a graph can show.
type Budget struct {
	share   policy.Budget
	minimum policy.Rate

	// Invariant: paid never exceeds the share of calls at the moment of TryRetry.
	calls window
	paid  window
	// Invariant: extra never exceeds minimum.Count.
	extra window
}

// NewBudget returns an empty budget: a share of the calls of an interval, plus a
// minimum rate. A part that is zero or less gives nothing.
func NewBudget(share policy.Budget, minimum policy.Rate) *Budget {
	b := &Budget{share: share, minimum: minimum}
	b.calls.width = width(share.Interval)
	b.paid.width = width(share.Interval)
	b.extra.width = width(minimum.Interval)
	return b
}

// With returns b if these are its parameters, else a new and empty budget.
func (b *Budget) With(share policy.Budget, minimum policy.Rate) *Budget {
	if b != nil && b.share == share && b.minimum == minimum {
		return b
	}
	return NewBudget(share, minimum)
}

// RecordCall counts a call, whatever its number of attempts.
func (b *Budget) RecordCall(now time.Duration) {
	if b.share.Percent > 0 {
		b.calls.add(now)
	}
}

// TryRetry takes one retry, or reports false when there is none to take.
func (b *Budget) TryRetry(now time.Duration) bool {
	if b == nil {
		return false
	}
	return b.share.Percent > 0 && b.paid.addUpTo(now, b.allowed(now)) ||
		b.minimum.Count > 0 && b.extra.addUpTo(now, int64(b.minimum.Count))
}

// Room reports whether TryRetry would find something now.
func (b *Budget) Room(now time.Duration) bool {
	if b == nil {
		return false
	}
	return b.share.Percent > 0 && b.paid.sum(now) < b.allowed(now) ||
		b.minimum.Count > 0 && b.extra.sum(now) < int64(b.minimum.Count)
}

// allowed returns the share of the calls in the window.
func (b *Budget) allowed(now time.Duration) int64 {
	return b.calls.sum(now) * int64(b.share.Percent) / 100
}

// parts is how finely a window moves.
const parts = 10

// width returns the width of a window's buckets: the whole window is never less
// than the interval.
func width(interval time.Duration) time.Duration {
	return max((interval+parts-1)/parts, 1)
}

// window counts events of the last interval, in buckets that are reused in
// turn. One more bucket than parts: the newest is always incomplete.
type window struct {
	width time.Duration
	// Each is the low 32 bits of the bucket's number over its count, so that
	// one CAS both empties an old bucket and counts into it.
	buckets [parts + 1]atomic.Uint64
}

const countMask = math.MaxUint32

func (w *window) number(now time.Duration) uint64 { return uint64(max(now, 0) / w.width) }

func (w *window) bucket(number uint64) *atomic.Uint64 { return &w.buckets[number%(parts+1)] }

// age returns how many buckets ago the one that holds v was the newest. It may
// be anything for one that was not used for 2^31 buckets.
func age(number, v uint64) int32 { return int32(uint32(number) - uint32(v>>32)) }

// add counts one event and returns its bucket's number.
func (w *window) add(now time.Duration) uint64 {
	number := w.number(now)
	bucket := w.bucket(number)
	for {
		old := bucket.Load()
		// One turn newer is as good: another goroutine came with a later time.
		if age := age(number, old); age == 0 || age == -parts-1 {
			if old&countMask == countMask {
				return number // full, at four thousand million in a tenth of the interval
			}
			if bucket.CompareAndSwap(old, old+1) {
				return number
			}
		} else if bucket.CompareAndSwap(old, uint64(uint32(number))<<32|1) {
			return number
		}
	}
}

// undo takes back an event that was added under number.
func (w *window) undo(number uint64) {
	bucket := w.bucket(number)
	for {
		old := bucket.Load()
		if uint32(old>>32) != uint32(number) || old&countMask == 0 || bucket.CompareAndSwap(old, old-1) {
			return
		}
	}
}

// sum returns the number of events in the window that ends at now.
func (w *window) sum(now time.Duration) int64 {
	number := w.number(now)
	var total int64
	for i := range w.buckets {
		v := w.buckets[i].Load()
		if age := age(number, v); age <= parts && age >= -parts-1 {
			total += int64(v & countMask)
		}
	}
	return total
}

// addUpTo counts an event unless that made more than most in the window. It
// counts first and looks then: of any two that count at once the later one sees
// both, so most is never exceeded; at worst both go without.
func (w *window) addUpTo(now time.Duration, most int64) bool {
	if w.sum(now) >= most {
		return false // the usual way to fail writes nothing
	}
	return w.settle(w.add(now), now, most)
}

// settle takes back the event that was added under number if it was too much.
func (w *window) settle(number uint64, now time.Duration, most int64) bool {
	if w.sum(now) > most {
		w.undo(number)
		return false
	}
	return true
}
