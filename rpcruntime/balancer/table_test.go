// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

func endpoint(id string, state policy.EndpointState) policy.Endpoint {
	return policy.Endpoint{ID: id, State: state, PodUID: "pod-" + id, Addresses: []string{id + ":80"}}
}

func endpoints(n int, state policy.EndpointState) []policy.Endpoint {
	list := make([]policy.Endpoint, n)
	for i := range list {
		list[i] = endpoint(fmt.Sprintf("e%05d", i), state)
	}
	return list
}

func ids(list []*EndpointState) []string {
	out := []string{}
	for _, s := range list {
		out = append(out, s.ID())
	}
	return out
}

func sorted(list []*EndpointState) []string {
	out := ids(list)
	slices.Sort(out)
	return out
}

// TestTableAgainstModel makes random changes, by Replace and by Apply, and
// compares with a plain map.
func TestTableAgainstModel(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var table Table
		model := map[string]policy.Endpoint{}
		states := map[string]*EndpointState{}
		for range 40 {
			want := maps.Clone(model)
			var changed []policy.Endpoint
			var removed []string
			for range rng.IntN(6) {
				e := endpoint(fmt.Sprint("e", rng.IntN(20)), policy.EndpointState(rng.IntN(3)))
				e.Weight = uint32(rng.IntN(2))
				if rng.IntN(4) == 0 {
					e.PodUID = "another"
				}
				if slices.ContainsFunc(changed, func(c policy.Endpoint) bool { return c.ID == e.ID }) {
					continue
				}
				changed = append(changed, e)
				want[e.ID] = e
			}
			for range rng.IntN(4) {
				id := fmt.Sprint("e", rng.IntN(20))
				if slices.ContainsFunc(changed, func(c policy.Endpoint) bool { return c.ID == id }) {
					continue // its state would be both added and removed
				}
				removed = append(removed, id)
				delete(want, id)
			}
			before := slices.Clone(table.lists[:])
			copies := [kinds][]*EndpointState{}
			for k := range before {
				copies[k] = before[k].all()
			}
			var ch Changes
			if rng.IntN(2) == 0 {
				ch = table.Apply(changed, removed)
			} else {
				ch = table.Replace(slices.Collect(maps.Values(want)))
			}
			for k := range before {
				if !slices.Equal(before[k].all(), copies[k]) {
					t.Fatalf("seed %d: a list that pickers may hold was changed", seed)
				}
			}
			checkTable(t, &table, want)
			checkChanges(t, &table, ch, model, want, states)
			model = want
		}
	}
}

func checkTable(t *testing.T, table *Table, want map[string]policy.Endpoint) {
	t.Helper()
	if table.Len() != len(want) {
		t.Fatalf("%d endpoints, want %d", table.Len(), len(want))
	}
	for k := range kinds {
		var wantIDs []string
		for id, e := range want {
			if kindOf(e.State) == k {
				wantIDs = append(wantIDs, id)
			}
		}
		slices.Sort(wantIDs)
		l := table.lists[k]
		if !slices.Equal(sorted(l.all()), wantIDs) {
			t.Fatalf("list %d has %v, want %v", k, sorted(l.all()), wantIDs)
		}
		if len(l.pages) != (l.n+pageSize-1)/pageSize {
			t.Fatalf("list %d of %d has %d pages", k, l.n, len(l.pages))
		}
		for i, s := range l.all() {
			if int(s.place) != i {
				t.Fatalf("%s is at %d of list %d and says %d", s.ID(), i, k, s.place)
			}
		}
	}
	for id, e := range want {
		s, ok := table.Lookup(id)
		if !ok || !equal(s.Endpoint(), &e) {
			t.Fatalf("%s is %+v, want %+v", id, s.Endpoint(), e)
		}
		if suspect := s.marks.Load()&markSuspect != 0; suspect != (e.State == policy.Suspect) {
			t.Fatalf("%s: marked suspect %v in state %v", id, suspect, e.State)
		}
	}
}

func checkChanges(t *testing.T, table *Table, ch Changes, old, now map[string]policy.Endpoint, states map[string]*EndpointState) {
	t.Helper()
	var moved, removed []string
	for id, e := range old {
		n, ok := now[id]
		switch {
		case !ok:
			removed = append(removed, id)
		case n.PodUID != e.PodUID:
			moved = append(moved, id)
		}
		if s, _ := table.Lookup(id); ok && s != states[id] {
			t.Fatalf("%s lost its state in an update", id)
		}
	}
	slices.Sort(moved)
	slices.Sort(removed)
	if !slices.Equal(sorted(ch.Removed), removed) {
		t.Fatalf("removed %v, want %v", sorted(ch.Removed), removed)
	}
	if !slices.Equal(sorted(ch.Moved), moved) {
		t.Fatalf("moved %v, want %v", ids(ch.Moved), moved)
	}
	for _, s := range ch.Added {
		if _, before := old[s.ID()]; before {
			t.Fatalf("%s was added twice", s.ID())
		}
	}
	clear(states)
	maps.Copy(states, table.byID)
}

func TestTableTakesTheLastOfDuplicates(t *testing.T) {
	var table Table
	table.Apply([]policy.Endpoint{endpoint("a", policy.Ready), endpoint("a", policy.Suspect), endpoint("a", policy.Draining)}, nil)
	if table.lists[kindDraining].n != 1 || table.Len() != 1 || table.lists[kindReady].n != 0 || table.lists[kindSuspect].n != 0 {
		t.Errorf("lists are %v", table.lists)
	}
}

func TestUpdateKeepsWhatWasLearnt(t *testing.T) {
	var table Table
	table.Replace(endpoints(3, policy.Ready))
	s, _ := table.Lookup("e00001")
	s.Attach("pool")
	s.inFlight.Add(1)
	s.Avoid(0, 100)
	s.Drop(0)
	changed := *s.Endpoint()
	changed.Weight = 7
	table.Apply([]policy.Endpoint{changed}, nil)
	if got, _ := table.Lookup("e00001"); got != s || got.Attached() != "pool" || got.InFlight() != 1 || got.clean(99) || got.Endpoint().Weight != 7 {
		t.Errorf("the state is %+v", got)
	}
	if s.class(0, false) != classNever {
		t.Error("a dropped endpoint came back though it is where it was")
	}
	s.Connected()
	s.Done(Answered)
	changed.Addresses = []string{"elsewhere:80"}
	ch := table.Apply([]policy.Endpoint{changed}, nil)
	if !s.clean(0) || len(ch.Moved) != 1 {
		t.Error("another address did not lift what was noted of the old one")
	}
	if s.setSuspect(true); s.class(0, true) != classNever {
		t.Error("evidence from the old address speaks for the new one")
	}
}

func TestUsable(t *testing.T) {
	const used, failed = "used", "failed"
	type ep struct {
		state policy.EndpointState
		past  string
	}
	ready, draining, suspect := ep{policy.Ready, ""}, ep{policy.Draining, ""}, ep{policy.Suspect, ""}
	usedSuspect, failedSuspect := ep{policy.Suspect, used}, ep{policy.Suspect, failed}
	tests := []struct {
		name string
		eps  []ep
		want []int // places that can be picked
	}{
		{"nothing", nil, nil},
		{"ready", []ep{ready, ready}, []int{0, 1}},
		{"draining is not used beside ready", []ep{ready, draining, draining}, []int{0}},
		{"draining when nothing is ready", []ep{draining, draining}, []int{0, 1}},
		{"suspects at half are believed", []ep{ready, ready, usedSuspect, usedSuspect}, []int{0, 1}},
		{"suspects over half, by evidence", []ep{ready, usedSuspect, usedSuspect, suspect, failedSuspect}, []int{0, 1, 2}},
		{"terminating ones do not count for the half", []ep{ready, usedSuspect, usedSuspect, draining, draining, draining}, []int{0, 1, 2}},
		{"over half without evidence", []ep{ready, suspect, failedSuspect}, []int{0}},
		{"nothing ready: draining and evidence", []ep{draining, usedSuspect, failedSuspect}, []int{0, 1}},
		{"nothing left but once used", []ep{suspect, failedSuspect, suspect}, []int{1}},
		{"evidence before once used", []ep{usedSuspect, failedSuspect}, []int{0}},
		{"draining before once used", []ep{draining, failedSuspect}, []int{0}},
		{"never used suspects", []ep{suspect, suspect}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var table Table
			list := endpoints(len(tt.eps), policy.Ready)
			table.Replace(list)
			for i, e := range tt.eps {
				s, _ := table.Lookup(list[i].ID)
				if e.past != "" {
					s.inFlight.Add(1)
					s.Connected()
					s.Done(Answered)
				}
				if e.past == failed {
					s.inFlight.Add(1)
					s.Done(Failed)
				}
				list[i].State = e.state
			}
			table.Replace(list)
			want := []string{}
			for _, i := range tt.want {
				want = append(want, list[i].ID)
			}
			usable := table.Usable()
			if got := picked(usable); !slices.Equal(got, want) {
				t.Errorf("picked %v, want %v", got, want)
			}
			if got := sorted(usable.primary.all()); len(got) > 0 && !slices.Equal(got, want) {
				t.Errorf("the candidates are %v, want %v", got, want)
			}
			if mass := massLoss(table.lists[kindReady].n, table.lists[kindSuspect].n); mass != policy.MassLoss(list) {
				t.Errorf("massLoss is %v here and %v in policy", mass, policy.MassLoss(list))
			}
		})
	}
}

// picked returns the ids that can be picked, in order.
func picked(c Candidates) []string {
	seen := map[string]bool{}
	p := Build(policy.Random, c, 0)
	for range 300 {
		if s, ok := p.Pick(PickInfo{Rand: rand.Uint64()}); ok {
			seen[s.ID()] = true
			s.Done(Abandoned)
		}
	}
	return append([]string{}, slices.Sorted(maps.Keys(seen))...)
}

// TestLostEvidenceCountsInBuiltPickers: a suspect that fails is left at once,
// and a last resort is found once all have failed.
func TestLostEvidenceCountsInBuiltPickers(t *testing.T) {
	var table Table
	list := endpoints(3, policy.Ready)
	table.Replace(list)
	for i := range list {
		s, _ := table.Lookup(list[i].ID)
		s.inFlight.Add(1)
		s.Connected()
		s.Done(Answered)
		list[i].State = policy.Suspect
	}
	table.Replace(list)
	p := Build(policy.RoundRobin, table.Usable(), 0)
	suspects := table.lists[kindSuspect].all()
	all := ids(suspects)
	for _, s := range suspects[1:] {
		s.inFlight.Add(1)
		s.Done(Failed)
	}
	// Others failed and this one was tried: it is not nothing that is left.
	if s, ok := p.Pick(PickInfo{Tried: suspects[:1]}); ok {
		t.Errorf("picked %s of %v as a last resort beside one with evidence", s.ID(), all)
	}
	for _, s := range suspects[1:] {
		s.inFlight.Add(1)
		s.Done(Answered)
	}
	failed := map[*EndpointState]bool{}
	for range list {
		s, ok := p.Pick(PickInfo{})
		if !ok || failed[s] {
			t.Fatalf("picked %v again, %v", s, ok)
		}
		s.Done(Failed)
		failed[s] = true
	}
	if _, ok := p.Pick(PickInfo{}); !ok {
		t.Error("suspects that were once used are not the last resort")
	}
}

// An endpoint that says that it is another may merely not have learnt yet who
// it is: it is asked again, less and less often.
func TestDropEndsAndGrows(t *testing.T) {
	var table Table
	table.Replace(endpoints(1, policy.Ready))
	s, _ := table.Lookup("e00000")
	now := time.Minute
	for _, want := range []time.Duration{DropBase, 2 * DropBase, 4 * DropBase, 8 * DropBase, 16 * DropBase, DropMax, DropMax} {
		if !s.Drop(now) {
			t.Error("a drop after the last one has ended is no news")
		}
		if s.Drop(now + want/2) { // a call that was under way does not make it longer
			t.Error("a drop within another is news")
		}
		if s.clean(now+want-1) || s.class(now+want-1, true) != classNever {
			t.Errorf("picked again before %s have passed", want)
		}
		if !s.clean(now+want) || s.class(now+want, false) != classClean {
			t.Errorf("still dropped after %s", want)
		}
		now += want
	}
	now += 2 * DropMax
	if s.Drop(now); !s.clean(now + DropBase) {
		t.Error("what was long ago still counts")
	}
}
