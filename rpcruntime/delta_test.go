// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// serviceStates gives states of a service, each a delta to the one before.
func serviceStates(t *testing.T, rng *rand.Rand, n int) []*policy.Snapshot {
	t.Helper()
	// Random, so that calls in flight do not say who is picked.
	owner, err := policy.EncodeOwner(policy.Methods{}, []policy.Layer{{Step: policy.StepOwnerService, Fields: policy.CallFields{LoadBalancer: policy.Random}}})
	if err != nil {
		t.Fatal(err)
	}
	part, err := policy.NewPart(policy.PartEndpoints, nil)
	if err != nil {
		t.Fatal(err)
	}
	var states []*policy.Snapshot
	var former *policy.Snapshot
	for range n {
		var changed []policy.Endpoint
		var removed []string
		for _, i := range rng.Perm(20)[:rng.IntN(8)] {
			id := fmt.Sprintf("e%02d", i)
			if rng.IntN(3) == 0 {
				removed = append(removed, id)
				continue
			}
			changed = append(changed, policy.Endpoint{
				ID: id, Addresses: []string{fmt.Sprintf("10.0.%d.%d:80", rng.IntN(2), i)}, State: policy.EndpointState(rng.IntN(3)),
			})
		}
		items, err := policy.EncodeEndpoints(changed)
		if err != nil {
			t.Fatal(err)
		}
		if part, err = part.Patched(items.Items, removed); err != nil {
			t.Fatal(err)
		}
		if former, err = policy.DecodeAfter(former, "default/test", policy.Caller, []policy.Part{part, owner}); err != nil {
			t.Fatal(err)
		}
		states = append(states, former)
	}
	return states
}

// pickable are the endpoints that the client's picker chooses from.
func pickable(c *Client) []string {
	seen := map[string]bool{}
	for i := range uint64(400) {
		if s, ok := c.state.Load().other.picker.Pick(balancer.PickInfo{Rand: i * 0x9e3779b97f4a7c15}); ok {
			s.Done(balancer.Abandoned)
			seen[s.ID()] = true
		}
	}
	var ids []string
	for id := range seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// A client that is given deltas, of which it may miss some, knows what one does
// that sees only the last state, and has not lost what it knew of endpoints.
func TestDeltasLeadWhereReplacingDoes(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		rt := newRuntime(t)
		c := rt.NewClient("test", Endpoints("10.9.9.9:80"))
		held := map[string]*balancer.EndpointState{} // each with a call in flight
		for _, s := range serviceStates(t, rng, 15) {
			if rng.IntN(5) == 0 {
				continue // missed
			}
			c.apply(s)
			fresh := rt.NewClient("test", Endpoints("10.9.9.9:80"))
			fresh.apply(&policy.Snapshot{Service: s.Service, Role: s.Role, Endpoints: s.Endpoints, Layers: s.Layers})
			for id, state := range held {
				if now, there := c.table.Lookup(id); there && (now != state || now.InFlight() != 1) {
					t.Fatalf("seed %d: %s lost its state", seed, id)
				} else if !there {
					delete(held, id)
				}
			}
			got, want := c.Endpoints(), fresh.Endpoints()
			for i := range got {
				got[i].InFlight = 0
			}
			if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: the endpoints are\n%+v, want\n%+v", seed, got, want)
			}
			if c.table.Len() != fresh.table.Len() {
				t.Fatalf("seed %d: %d endpoints are kept, want %d", seed, c.table.Len(), fresh.table.Len())
			}
			if got, want := pickable(c), pickable(fresh); !slices.Equal(got, want) {
				t.Fatalf("seed %d: %v can be picked, want %v", seed, got, want)
			}
			for _, state := range c.endpointStates() {
				if held[state.ID()] == nil {
					state.Begin()
					held[state.ID()] = state
				}
			}
			fresh.Close()
		}
	}
}
