// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

const (
	// SlotAdvice is the delay that a full concurrency limit advises. Nobody
	// knows when a handler will return; but with no delay at all a full server,
	// quick to refuse, would look like the least busy one.
	SlotAdvice = 10 * time.Millisecond

	// MaxDeclared is how many declared names a limit tells apart at a time. They
	// cost nothing to make up, so they are few.
	MaxDeclared = 1024
	// MaxProven is the same for proven names. It is more than the connections
	// that a server holds, and only there so that nothing is without a bound.
	MaxProven = 65536
)

// A tick is the unit of a bucket's times: 1/16 ns. So rates come out right that
// have no whole number of nanoseconds per token. It lasts for nine years of
// uptime, and for buckets that take four years to fill.
const (
	ticksPerNano = 16
	maxNow       = math.MaxInt64 / 2
	maxBurst     = math.MaxInt64 / 4
)

func ticks(now time.Duration) int64 {
	return min(int64(max(now, 0)), maxNow/ticksPerNano) * ticksPerNano
}

// counts are the parameters of a limit, in the form that decisions need, and
// what it has counted.
type counts struct {
	// cost is what a token takes to come, in ticks; 0 when there is no rate.
	cost int64
	// burst is what the whole bucket takes to fill.
	burst int64
	// max is the most calls at once; 0 when there is no such limit.
	max int32

	// shared is for all, or for those that have no entry of their own.
	shared entry
	// proven and declared are nil when names of that kind do not count.
	proven, declared *table
}

func newCounts(l *policy.Limit) *counts {
	c := &counts{max: max(l.MaxConcurrent, 0)}
	c.shared.counts = c
	if r := l.Rate; r != nil {
		c.cost, c.burst = bucket(r, l.Burst)
	}
	if l.By == policy.ByCaller {
		c.proven = newTable(MaxProven, headsProven)
		if l.CallerNames == policy.Declared {
			c.declared = newTable(MaxDeclared, headsDeclared)
		}
	}
	return c
}

// bucket returns the cost of a token and of a full bucket in ticks.
func bucket(r *policy.Rate, size int32) (cost, burst int64) {
	interval := ticks(r.Interval)
	if r.Count <= 0 || interval == 0 {
		return max(interval, 1), 0 // never holds a token
	}
	if size <= 0 {
		size = r.Count
	}
	count := int64(r.Count)
	cost = min((interval+count-1)/count, maxBurst)
	if int64(size) > maxBurst/cost {
		return cost, maxBurst
	}
	return cost, int64(size) * cost
}

// entry counts for one subject of a limit.
type entry struct {
	// full is when the bucket is full again, in ticks, or retired.
	full atomic.Int64
	// running counts calls, or is retired.
	// Invariant: 0 <= running <= counts.max, while not retired.
	running atomic.Int32

	counts *counts // whose entry it is; never changes

	// Of an entry in a table; name and hash never change.
	name string
	hash uint64
	next atomic.Pointer[entry]
}

// What the fields of an entry say that is out of its table. It must not count
// any more, for there may be another of the same name.
const (
	retiredFull    = math.MaxInt64
	retiredRunning = -1
)

// outcome of an attempt to take from an entry.
type outcome uint8

const (
	taken outcome = iota
	refused
	retired
)

// admit takes from the entry that the call belongs to and returns it, or nil
// and the delay to advise.
func (c *counts) admit(call *CallInfo, now time.Duration) (*entry, time.Duration) {
	t := c.declared
	if call.Proven {
		t = c.proven
	}
	if t != nil && call.Caller != "" {
		if e, after, found := t.admit(c, call.Caller, now); found {
			return e, after
		}
	}
	if o, after := c.shared.take(ticks(now)); o == refused {
		return nil, after
	}
	return &c.shared, 0
}

// take takes a slot and a token, or neither. For a refusal it says how long
// until another try makes sense.
func (e *entry) take(now int64) (outcome, time.Duration) {
	c := e.counts
	if c.max > 0 {
		if o := e.takeSlot(); o != taken {
			return o, SlotAdvice
		}
	}
	if c.cost == 0 {
		return taken, 0
	}
	for {
		old := e.full.Load()
		if old == retiredFull {
			return retired, 0 // it had no calls running, so no slot was taken
		}
		full := max(old, now) + c.cost
		if wait := full - now - c.burst; wait > 0 {
			e.release()
			return refused, time.Duration((wait + ticksPerNano - 1) / ticksPerNano)
		}
		if e.full.CompareAndSwap(old, full) {
			return taken, 0
		}
	}
}

func (e *entry) takeSlot() outcome {
	for {
		n := e.running.Load()
		switch {
		case n == retiredRunning:
			return retired
		case n >= e.counts.max:
			return refused
		case e.running.CompareAndSwap(n, n+1):
			return taken
		}
	}
}

// release gives a slot back.
func (e *entry) release() {
	if e.counts.max > 0 {
		e.running.Add(-1)
	}
}

// giveBack gives a slot and a token back.
func (e *entry) giveBack() {
	if cost := e.counts.cost; cost > 0 {
		for {
			old := e.full.Load()
			if old == retiredFull || e.full.CompareAndSwap(old, old-cost) {
				break
			}
		}
	}
	e.release()
}

// retire takes an entry out of use if a new one would be just the same:
// nothing is running and the bucket is full.
func (e *entry) retire(now int64) bool {
	if !e.running.CompareAndSwap(0, retiredRunning) {
		return false
	}
	if e.counts.cost == 0 {
		return true
	}
	if full := e.full.Load(); full <= now && e.full.CompareAndSwap(full, retiredFull) {
		return true
	}
	e.running.Store(0)
	return false
}
