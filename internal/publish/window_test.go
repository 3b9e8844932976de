// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// TestMerging publishes at given times, in ms, and looks when changes go out.
func TestMerging(t *testing.T) {
	tests := []struct {
		name    string
		publish []int
		// takeAway are those publications that also take an endpoint away.
		takeAway []int
		want     []int
	}{
		{"alone", []int{0}, nil, []int{0}},
		{"quiet in between", []int{0, 10, 20}, nil, []int{0, 10, 20}},
		{"two at once", []int{0, 0}, nil, []int{0, 10}},
		{"a burst", []int{0, 1, 2, 3, 4, 5}, nil, []int{0, 10}},
		{"many for long", every(0, 200, 2), nil, []int{0, 10, 30, 70, 120, 170, 220}},
		{"calm again", append(every(0, 100, 2), 300, 301), nil, []int{0, 10, 30, 70, 120, 300, 310}},
		{"one is taken away", []int{0, 1, 3, 4}, []int{3}, []int{0, 3, 23}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := NewStore(StoreConfig{Epoch: "e"})
				defer store.Close()
				n, away := int64(0), 0
				publish := func() {
					n++
					sh := numbered(n, nil)
					sh.endpoints = map[string]policy.EndpointState{}
					for i := away; i < 9; i++ {
						sh.endpoints[string(rune('a'+i))] = policy.Ready
					}
					if err := store.Publish(Change{Service: arith, Parts: sh.parts(t), AsOf: asOf(1)}); err != nil {
						t.Fatal(err)
					}
				}
				publish()
				time.Sleep(time.Hour)
				began := time.Now()
				var out []int
				revision := store.lastRevision()
				look := func() {
					synctest.Wait()
					if now := store.lastRevision(); now != revision {
						out = append(out, int(time.Since(began).Milliseconds()))
						revision = now
					}
				}
				for ms := range 400 {
					for _, at := range tt.publish {
						if at == ms {
							if slices.Contains(tt.takeAway, ms) {
								away++
							}
							publish()
							look()
						}
					}
					look()
					time.Sleep(time.Millisecond)
				}
				if !slices.Equal(out, tt.want) {
					t.Errorf("went out at %v, want %v", out, tt.want)
				}
			})
		})
	}
}

func every(from, to, step int) (list []int) {
	for ; from < to; from += step {
		list = append(list, from)
	}
	return list
}

func TestUrgent(t *testing.T) {
	part := func(states map[string]policy.EndpointState) *policy.Part {
		p := shape{endpoints: states}.parts(t)[0]
		return &p
	}
	two := part(map[string]policy.EndpointState{"a": policy.Ready, "b": policy.Ready})
	draining := part(map[string]policy.EndpointState{"a": policy.Ready, "b": policy.Draining})
	suspect := part(map[string]policy.EndpointState{"a": policy.Ready, "b": policy.Suspect})
	one := part(map[string]policy.EndpointState{"a": policy.Ready})
	for _, tt := range []struct {
		name      string
		old, next *policy.Part
		want      bool
	}{
		{"nothing changed", two, two, false},
		{"added", one, two, false},
		{"removed", two, one, true},
		{"drains", two, draining, true},
		{"a suspect drains", suspect, draining, true},
		{"drained before", draining, draining, false},
		{"back again", draining, two, false},
		{"suspect", two, suspect, false},
		{"nothing before", nil, two, false},
	} {
		if got := urgent(tt.old, tt.next); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestNear(t *testing.T) {
	names := []string{"shop/arith", "shop/cart", "shop/carts", "web/arith", "web/checkout", "a/b"}
	for name, want := range map[string][]string{
		"shop/airth":   {"shop/arith"},
		"shop/arit":    {"shop/arith", "shop/cart"},
		"other/arith":  {"shop/arith", "web/arith"},
		"shop/cartz":   {"shop/cart", "shop/carts"},
		"web/checkuot": {"web/checkout"},
		"bank/ledger":  nil,
		"a/c":          {"a/b"},
	} {
		if got := near(name, names); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	many := make([]string, 10)
	for i := range many {
		many[i] = string(rune('a'+i)) + "/arith"
	}
	if got := near("x/arith", many); len(got) != registry.MaxNear {
		t.Errorf("%q", got)
	}
}
