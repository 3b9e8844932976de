// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"fmt"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// lanes are the limits that benchmarks and the guard against allocations run.
var lanes = map[string][]policy.Limit{
	"none":        nil,
	"rate":        {{Name: "a", Rate: rate(1e9, time.Second)}},
	"rate-refuse": {{Name: "a", Rate: rate(1, time.Hour)}},
	"concurrency": {{Name: "a", MaxConcurrent: 1000}},
	"method":      {{Name: "a", Rate: rate(1e9, time.Second), Methods: []string{"Arith.Mul", "Arith.Add"}}},
	"caller":      {{Name: "a", Rate: rate(1e9, time.Second), By: policy.ByCaller, CallerNames: policy.Declared}},
	"four": {
		{Name: "a", Rate: rate(1e9, time.Second)}, {Name: "b", MaxConcurrent: 1000},
		{Name: "c", Rate: rate(1e9, time.Second), By: policy.ByCaller}, {Name: "d", MaxConcurrent: 1000, By: policy.ByCaller},
	},
}

var call = CallInfo{Method: "Arith.Mul", Caller: "web/checkout", Proven: true}

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	for name, limits := range lanes {
		limiter := New(limits)
		now := time.Duration(0)
		if allocs := testing.AllocsPerRun(1000, func() {
			now += 100
			for _, proven := range []bool{true, false} {
				c := call
				c.Proven = proven
				ticket, d := limiter.Admit(c, now)
				if d.Verdict == Run {
					ticket.Done()
				}
			}
		}); allocs != 0 {
			t.Errorf("%s: %v allocations per call", name, allocs)
		}
	}
}

// BenchmarkAdmit is one Admit with its Done.
func BenchmarkAdmit(b *testing.B) {
	for name, limits := range lanes {
		b.Run(name, func(b *testing.B) {
			limiter := New(limits)
			now := time.Duration(0)
			b.ReportAllocs()
			for b.Loop() {
				now += 100
				ticket, d := limiter.Admit(call, now)
				if d.Verdict == Run {
					ticket.Done()
				}
			}
		})
	}
}

// BenchmarkAdmitParallel has as many goroutines as there are Ps, each with a clock
// of its own.
func BenchmarkAdmitParallel(b *testing.B) {
	for name, limits := range lanes {
		b.Run(name, func(b *testing.B) {
			limiter := New(limits)
			b.RunParallel(func(pb *testing.PB) {
				now := time.Duration(0)
				for pb.Next() {
					now += 100
					ticket, d := limiter.Admit(call, now)
					if d.Verdict == Run {
						ticket.Done()
					}
				}
			})
		})
	}
}

func BenchmarkAdmitCallers(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			limiter := New(lanes["caller"])
			names := make([]string, n)
			for i := range names {
				names[i] = fmt.Sprintf("namespace/workload-%d", i)
			}
			now, i := time.Duration(0), 0
			for b.Loop() {
				now += 100
				if i++; i == n {
					i = 0
				}
				ticket, d := limiter.Admit(CallInfo{Method: "Arith.Mul", Caller: names[i], Proven: true}, now)
				if d.Verdict == Run {
					ticket.Done()
				}
			}
		})
	}
}
