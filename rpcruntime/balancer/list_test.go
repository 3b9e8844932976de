// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// all is the list as a slice.
func (l *list) all() []*EndpointState {
	out := make([]*EndpointState, l.n)
	for i := range out {
		out[i] = l.at(i)
	}
	return out
}

func listOf(states ...*EndpointState) list {
	d := new(list).edit()
	for _, s := range states {
		d.add(s)
	}
	return d.list
}

// Random edits of a list that is as long as some pages, against a slice. What was
// a list before an edit must not change.
func TestListAgainstModel(t *testing.T) {
	states := make([]*EndpointState, 5*pageSize)
	for i := range states {
		states[i] = new(EndpointState)
	}
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var l list
		var model []*EndpointState
		for range 60 {
			was, before := l, slices.Clone(model)
			d := l.edit()
			for range rng.IntN(3 * pageSize / 2) {
				if len(model) == 0 || len(model) < len(states) && rng.IntN(100) < 52 {
					s := states[rng.IntN(len(states))]
					if got := d.add(s); got != len(model) {
						t.Fatalf("seed %d: added at %d of %d", seed, got, len(model))
					}
					model = append(model, s)
					continue
				}
				i := rng.IntN(len(model))
				last := model[len(model)-1]
				if moved := d.remove(i); moved != last {
					t.Fatalf("seed %d: another one than the last was moved", seed)
				}
				model[i] = last
				model = model[:len(model)-1]
			}
			l = d.list
			if !slices.Equal(l.all(), model) {
				t.Fatalf("seed %d: the list is not what was made of it", seed)
			}
			if !slices.Equal(was.all(), before) {
				t.Fatalf("seed %d: a list that pickers may hold was changed", seed)
			}
			checkNothingHeld(t, &l)
		}
	}
}

// checkNothingHeld: places behind the end hold no removed endpoint.
func checkNothingHeld(t *testing.T, l *list) {
	t.Helper()
	if len(l.pages) != (l.n+pageSize-1)/pageSize {
		t.Fatalf("a list of %d has %d pages", l.n, len(l.pages))
	}
	for i := l.n; i < len(l.pages)*pageSize; i++ {
		if l.at(i) != nil {
			t.Fatalf("place %d of a list of %d holds something", i, l.n)
		}
	}
}

// One change of many endpoints copies pages, not the list.
func TestOneChangeSharesPages(t *testing.T) {
	d := new(list).edit()
	for range 10_000 {
		d.add(new(EndpointState))
	}
	before := d.list
	e := before.edit()
	e.remove(5000)
	own := 0
	for _, mine := range e.own {
		if mine {
			own++
		}
	}
	if own != 2 { // the one with the gap, and the last
		t.Errorf("%d of %d pages were copied", own, len(before.pages))
	}
}
