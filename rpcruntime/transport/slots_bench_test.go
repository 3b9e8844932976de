// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package transport

import (
	"fmt"
	"testing"
)

// useSlots enters calls, and ends them in another order.
func useSlots(tb testing.TB, t *slots, calls []*slot) {
	for i := range calls {
		s, _, waits := t.acquire(128)
		if s == nil || waits {
			tb.Fatalf("call %d: slot %v, waits %v", i, s, waits)
		}
		calls[i] = s
	}
	for i := range calls {
		s := calls[(i*7+3)%len(calls)]
		if t.take(s.seq) != s {
			tb.Fatalf("call %d is not in the table", i)
		}
		s.release()
	}
}

// A table that has been as full before allocates nothing. The race detector has
// allocations of its own, hence the build tag.
func TestSlotsAllocateNothing(t *testing.T) {
	table := newSlots(1<<10, new(Counters), func(*slot) {})
	for _, n := range []int{1, 100, 1000} {
		calls := make([]*slot, n)
		useSlots(t, table, calls)
		if allocs := testing.AllocsPerRun(100, func() { useSlots(t, table, calls) }); allocs != 0 {
			t.Errorf("%d calls in flight: %v allocations", n, allocs)
		}
	}
}

// BenchmarkSlots is one call's entering and leaving, with so many in flight.
func BenchmarkSlots(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("flying=%d", n), func(b *testing.B) {
			table := newSlots(1<<12, new(Counters), func(*slot) {})
			calls := make([]*slot, n)
			b.ReportAllocs()
			for b.Loop() {
				useSlots(b, table, calls)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/call")
		})
	}
}
