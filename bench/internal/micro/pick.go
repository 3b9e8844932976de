// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/fairlead/fairlead/bench/internal/result"
	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// endpoints is how many a service has here.
const endpoints = 10_000

// pickers is how many goroutines pick at once.
const pickers = 2

// list is a service's endpoints, as a registry has them.
func list(n int) []policy.Endpoint {
	out := make([]policy.Endpoint, n)
	for i := range out {
		ip := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
		uid := fmt.Sprintf("%08x-0000-4000-8000-%012x", i, i)
		out[i] = policy.Endpoint{ID: uid + "/8972", PodUID: uid, Addresses: []string{ip + ":8972"}, Zone: fmt.Sprintf("zone-%d", i%3)}
	}
	return out
}

// Pick is the CPU time of one choice by P2C among 10,000 endpoints, its end
// counted too, on two goroutines at once; and its allocations.
func Pick(rounds int) ([]result.Value, error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(pickers))
	var table balancer.Table
	table.Replace(list(endpoints))
	picker := balancer.Build(policy.LeastRequest, table.Usable(), 0)
	var times, allocs []float64
	for range rounds {
		each, err := costOf(func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				r := rand.Uint64()
				for pb.Next() {
					r = r*6364136223846793005 + 1442695040888963407
					if s, ok := picker.Pick(balancer.PickInfo{Rand: r, Now: 1}); ok {
						s.Done(balancer.Answered)
					}
				}
			})
		})
		if err != nil {
			return nil, fmt.Errorf("pick: %w", err)
		}
		times = append(times, each.nanos)
		allocs = append(allocs, math.Round(each.allocs*1000)/1000) // the benchmark's own are some dozens in all
	}
	return []result.Value{
		result.NewValue(result.PickTime, result.UnitNanos, times...),
		result.NewValue(result.PickAllocs, result.UnitAllocs, allocs...),
	}, nil
}
