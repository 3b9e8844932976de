// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	forKinds(t, func(t *testing.T, kind policy.LoadBalancer) {
		for _, n := range []int{3, 10_000} {
			c, s := pool(n)
			p := Build(kind, c, 0)
			tried := s[:2]
			r := uint64(1)
			allocs := testing.AllocsPerRun(1000, func() {
				r = r*6364136223846793005 + 1442695040888963407
				for _, info := range []PickInfo{{Rand: r}, {Rand: r, Tried: tried}} {
					if got, ok := p.Pick(info); ok {
						got.Avoid(0, time.Duration(r>>60))
						got.Done(Answered)
					}
				}
			})
			if allocs != 0 {
				t.Errorf("of %d: %v allocations per pick", n, allocs)
			}
		}
	})
}

// BenchmarkPick is one Pick with its Done.
func BenchmarkPick(b *testing.B) {
	for _, kind := range allKinds {
		for _, n := range []int{1, 100, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				c, _ := pool(n)
				p := Build(kind, c, 0)
				r := uint64(1)
				b.ReportAllocs()
				for b.Loop() {
					r = r*6364136223846793005 + 1442695040888963407
					if s, ok := p.Pick(PickInfo{Rand: r, Now: 1}); ok {
						s.Done(Answered)
					}
				}
			})
		}
	}
}

// BenchmarkPickParallel has as many goroutines as there are Ps; a Pick takes each
// of them that many times what is reported.
func BenchmarkPickParallel(b *testing.B) {
	for _, kind := range allKinds {
		for _, n := range []int{1, 10, 100, 1000, 10_000} {
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) {
				c, _ := pool(n)
				p := Build(kind, c, 0)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					r := rand.Uint64()
					for pb.Next() {
						r = r*6364136223846793005 + 1442695040888963407
						if s, ok := p.Pick(PickInfo{Rand: r, Now: 1}); ok {
							s.Done(Answered)
						}
					}
				})
			})
		}
	}
}

// BenchmarkPickDegraded has a share of the endpoints out of use.
func BenchmarkPickDegraded(b *testing.B) {
	for _, percent := range []int{50, 99, 100} {
		b.Run(fmt.Sprintf("out=%d%%", percent), func(b *testing.B) {
			c, s := pool(10_000)
			for i := range s {
				if i%100 < percent {
					s[i].Avoid(0, time.Hour)
				}
			}
			p := Build(policy.LeastRequest, c, 0)
			r := uint64(1)
			for b.Loop() {
				r = r*6364136223846793005 + 1442695040888963407
				if s, ok := p.Pick(PickInfo{Rand: r, Now: 1}); ok {
					s.Done(Answered)
				}
			}
		})
	}
}

// BenchmarkUpdate is one change of 10,000 endpoints, up to the new Picker.
func BenchmarkUpdate(b *testing.B) {
	b.Run("Apply", func(b *testing.B) {
		var table Table
		list := endpoints(10_000, policy.Ready)
		table.Replace(list)
		i := 0
		for b.Loop() {
			e := &list[i%len(list)]
			e.State = (e.State + 1) % 2
			table.Apply(list[i%len(list):i%len(list)+1], nil)
			_ = Build(policy.LeastRequest, table.Usable(), 0)
			i += 7919
		}
	})
	b.Run("Replace", func(b *testing.B) {
		var table Table
		list := endpoints(10_000, policy.Ready)
		table.Replace(list)
		i := 0
		for b.Loop() {
			e := &list[i%len(list)]
			e.State = (e.State + 1) % 2
			table.Replace(list)
			_ = Build(policy.LeastRequest, table.Usable(), 0)
			i += 7919
		}
	})
}
