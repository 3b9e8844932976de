// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"slices"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// kind is an endpoint's place in a Table.
type kind uint8

const (
	kindReady kind = iota
	kindDraining
	kindSuspect
	kinds
	kindNone // not in the Table
)

func kindOf(s policy.EndpointState) kind {
	switch s {
	case policy.Ready:
		return kindReady
	case policy.Draining:
		return kindDraining
	default:
		// Of a state that this runtime does not know nothing good is assumed.
		return kindSuspect
	}
}

// Table keeps one EndpointState per endpoint of a service, over all updates.
// Its zero value is empty and ready to use.
//
// It keeps a list per state of the registry, of which an update copies the few
// pages that it changes: for one endpoint in ten thousand some microseconds. Sorted
// slices, which are simpler, took 35; persistent trees would cost each Pick.
//
// A Table belongs to one goroutine at a time.
type Table struct {
	byID map[string]*EndpointState
	// Invariant: each is replaced but never changed: Pickers share it.
	// Invariant: each state of byID is in lists[its kind], at its place, and in no other.
	lists [kinds]list

	round   uint64
	touched []*EndpointState // of the round under way
}

// Changes names the states that an update of a Table concerns, in no order.
type Changes struct {
	// Added are new. Attach is for them, before the next Build.
	Added []*EndpointState
	// Moved have another address or Pod: their connections lead elsewhere.
	Moved []*EndpointState
	// Removed are in no Picker that is built from now on.
	Removed []*EndpointState
}

// Len returns the number of endpoints, usable or not.
func (t *Table) Len() int { return len(t.byID) }

// Lookup returns the state of that id.
func (t *Table) Lookup(id string) (*EndpointState, bool) {
	s, ok := t.byID[id]
	return s, ok
}

// Replace makes the Table hold exactly these endpoints. It keeps copies of what
// changed, so that old snapshots can be freed.
func (t *Table) Replace(endpoints []policy.Endpoint) Changes {
	var ch Changes
	t.begin()
	for i := range endpoints {
		t.upsert(&endpoints[i], &ch)
	}
	if len(t.touched) < len(t.byID) {
		for _, s := range t.byID {
			if s.touched != t.round {
				t.remove(s, &ch)
			}
		}
	}
	t.commit()
	return ch
}

// Apply adds or updates the changed endpoints and takes out the removed ids.
// Unknown ids are passed over; an id in both lists is removed.
func (t *Table) Apply(changed []policy.Endpoint, removed []string) Changes {
	var ch Changes
	t.begin()
	for i := range changed {
		t.upsert(&changed[i], &ch)
	}
	for _, id := range removed {
		if s, ok := t.byID[id]; ok {
			t.remove(s, &ch)
		}
	}
	t.commit()
	return ch
}

func (t *Table) begin() {
	if t.byID == nil {
		t.byID = make(map[string]*EndpointState)
	}
	t.round++
}

// touch remembers where a state was before this round.
func (t *Table) touch(s *EndpointState, was kind) {
	if s.touched == t.round {
		return
	}
	s.touched, s.was = t.round, was
	t.touched = append(t.touched, s)
}

func (t *Table) upsert(e *policy.Endpoint, ch *Changes) {
	s, ok := t.byID[e.ID]
	if !ok {
		s = newState(clone(e))
		t.byID[s.id] = s
		t.touch(s, kindNone)
		ch.Added = append(ch.Added, s)
	} else {
		t.touch(s, s.kind)
		old := s.Endpoint()
		if !slices.Equal(old.Addresses, e.Addresses) || old.PodUID != e.PodUID {
			s.moved()
			ch.Moved = append(ch.Moved, s)
		}
		if !equal(old, e) {
			s.endpoint.Store(clone(e))
		}
	}
	s.kind = kindOf(e.State)
	s.setSuspect(s.kind == kindSuspect)
}

func (t *Table) remove(s *EndpointState, ch *Changes) {
	t.touch(s, s.kind)
	s.kind = kindNone
	delete(t.byID, s.id)
	ch.Removed = append(ch.Removed, s)
}

// commit brings the lists in line with what the round touched. Each list is
// copied once, however much changes.
func (t *Table) commit() {
	var drafts [kinds]*draft
	edit := func(k kind) *draft {
		if drafts[k] == nil {
			d := t.lists[k].edit()
			drafts[k] = &d
		}
		return drafts[k]
	}
	for _, s := range t.touched {
		if s.was == s.kind {
			continue
		}
		if s.was != kindNone {
			edit(s.was).remove(int(s.place)).place = s.place
		}
		if s.kind != kindNone {
			s.place = uint32(edit(s.kind).add(s))
		}
	}
	for k, d := range drafts {
		if d != nil {
			t.lists[k] = d.list
		}
	}
	clear(t.touched) // so that it does not hold on to removed states
	t.touched = t.touched[:0]
}

func clone(e *policy.Endpoint) *policy.Endpoint {
	c := *e
	return &c
}

func equal(a, b *policy.Endpoint) bool {
	return a.ID == b.ID && a.State == b.State && a.PodUID == b.PodUID &&
		a.Zone == b.Zone && a.Region == b.Region && a.Weight == b.Weight && a.Version == b.Version &&
		slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.ZoneHints, b.ZoneHints)
}
