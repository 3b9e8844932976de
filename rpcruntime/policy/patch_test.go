// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
)

// randomItems gives items with ids out of n, each at most once, in no order.
func randomItems(rng *rand.Rand, most, n int) (items []Item) {
	for _, i := range rng.Perm(n)[:rng.IntN(most+1)] {
		items = append(items, Item{ID: fmt.Sprintf("i%02d", i), Bytes: []byte{byte(rng.IntN(3))}})
	}
	return items
}

// A part that was patched, again and again, is what NewPart makes of the same
// items, and what it was made of stays as it is.
func TestPatchedEqualsNewPart(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		model := map[string]Item{}
		for _, i := range randomItems(rng, 30, 40) {
			model[i.ID] = i
		}
		part, err := NewPart(PartEndpoints, slices.Collect(maps.Values(model)))
		if err != nil {
			t.Fatal(err)
		}
		if seed%2 == 0 { // as one that came out of a file
			part = Part{Name: part.Name, Items: slices.Collect(maps.Values(model)), Digest: part.Digest}
		}
		for range 10 {
			was, before := part, slices.Clone(part.Items)
			changed := randomItems(rng, 6, 40)
			var removed []string
			for _, i := range randomItems(rng, 6, 40) {
				removed = append(removed, i.ID, i.ID)
				delete(model, i.ID)
			}
			for _, i := range changed { // also of those that are removed: they stay
				model[i.ID] = i
			}
			next, err := part.Patched(changed, removed)
			if err != nil {
				t.Fatal(err)
			}
			want, err := NewPart(PartEndpoints, slices.Collect(maps.Values(model)))
			if err != nil {
				t.Fatal(err)
			}
			if next.Name != want.Name || next.Digest != want.Digest || !reflect.DeepEqual(append([]Item{}, next.Items...), append([]Item{}, want.Items...)) {
				t.Fatalf("seed %d: %+v with %v and without %v is\n%+v, want\n%+v", seed, was, changed, removed, next, want)
			}
			if !slices.EqualFunc(was.Items, before, func(a, b Item) bool { return a.ID == b.ID && &a.Bytes[0] == &b.Bytes[0] }) {
				t.Fatalf("seed %d: the part before was changed", seed)
			}
			part = next
		}
	}
}

func TestPatchedRefusesDuplicates(t *testing.T) {
	part, err := NewPart(PartEndpoints, []Item{{ID: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	var bad *ItemError
	if _, err := part.Patched([]Item{{ID: "b"}, {ID: "c"}, {ID: "b"}}, nil); !errors.As(err, &bad) || bad.Item != "b" {
		t.Error(err)
	}
	part = Part{Name: PartEndpoints, Items: []Item{{ID: "a"}, {ID: "a"}}}
	if _, err := part.Patched(nil, nil); !errors.As(err, &bad) || bad.Item != "a" {
		t.Error(err)
	}
}

// endpointItem encodes an endpoint as registries do, and as newer ones may.
func endpointItem(t *testing.T, rng *rand.Rand, id string) Item {
	t.Helper()
	e := Endpoint{ID: id, State: EndpointState(rng.IntN(3)), Addresses: []string{fmt.Sprintf("10.0.0.%d:80", rng.IntN(3))}}
	fields := map[string]any{"id": e.ID, "a": e.Addresses, "s": e.State}
	switch rng.IntN(40) {
	case 0:
		fields["s"] = 9 // a state of later: the endpoint is left out
	case 1:
		fields["later"] = true
	}
	bytes, err := msgpack.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return Item{ID: id, Bytes: bytes}
}

// What is decoded after a former snapshot is what is decoded from scratch, and the
// difference that it tells leads from the one to the other.
func TestDecodeAfterEqualsDecode(t *testing.T) {
	const service = "shop/cart"
	owner, err := EncodeOwner(Methods{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	known := 0
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 4))
		part, err := NewPart(PartEndpoints, nil)
		if err != nil {
			t.Fatal(err)
		}
		var former *Snapshot
		for range 12 {
			var changed []Item
			for _, i := range randomItems(rng, 5, 30) {
				changed = append(changed, endpointItem(t, rng, i.ID))
			}
			var removed []string
			for _, i := range randomItems(rng, 4, 30) {
				removed = append(removed, i.ID)
			}
			if part, err = part.Patched(changed, removed); err != nil {
				t.Fatal(err)
			}
			parts := []Part{owner, part}
			want, err := Decode(service, Caller, parts)
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeAfter(former, service, Caller, parts)
			if err != nil {
				t.Fatal(err)
			}
			if checkDifference(t, former, got, want) {
				known++
			}
			if rng.IntN(4) > 0 { // else it was missed
				former = got
			}
		}
	}
	if known < 100 {
		t.Errorf("a difference was known %d times", known)
	}
}

func checkDifference(t *testing.T, former, got, want *Snapshot) (known bool) {
	t.Helper()
	bare := *got
	bare.delta = nil
	if len(bare.Endpoints) == 0 && len(want.Endpoints) == 0 {
		bare.Endpoints = want.Endpoints // nil or empty
	}
	if !reflect.DeepEqual(&bare, want) {
		t.Fatalf("decoded after another it is\n%+v, from scratch\n%+v", &bare, want)
	}
	changed, removed, known := got.EndpointsSince(former)
	if !known {
		return false
	}
	model := map[string]Endpoint{}
	for _, e := range former.Endpoints {
		model[e.ID] = e
	}
	for _, id := range removed {
		if _, had := model[id]; !had {
			t.Errorf("%s was removed and was not there", id)
		}
		delete(model, id)
	}
	for _, e := range changed {
		model[e.ID] = e
	}
	if len(model) != len(want.Endpoints) {
		t.Fatalf("%d endpoints after the difference, want %d", len(model), len(want.Endpoints))
	}
	for _, e := range want.Endpoints {
		if !reflect.DeepEqual(model[e.ID], e) {
			t.Fatalf("%s is %+v after the difference, want %+v", e.ID, model[e.ID], e)
		}
	}
	return true
}

// A difference is told to whoever has what it is one to, and to nobody else.
func TestEndpointsSince(t *testing.T) {
	snapshots := make([]*Snapshot, 3)
	owner, err := EncodeOwner(Methods{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	part, err := EncodeEndpoints([]Endpoint{{ID: "a", Addresses: []string{"a:80"}}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range snapshots {
		if i > 0 {
			one, err := EncodeEndpoints([]Endpoint{{ID: "a", Addresses: []string{fmt.Sprintf("a%d:80", i)}}})
			if err != nil {
				t.Fatal(err)
			}
			if part, err = part.Patched(one.Items, nil); err != nil {
				t.Fatal(err)
			}
		}
		if snapshots[i], err = DecodeAfter(snapshots[max(0, i-1)], "shop/cart", Caller, []Part{part, owner}); err != nil {
			t.Fatal(err)
		}
	}
	other := *snapshots[1]
	other.Service = "shop/web"
	for name, tt := range map[string]struct {
		s, former *Snapshot
		want      bool
	}{
		"the one before":      {snapshots[2], snapshots[1], true},
		"one was missed":      {snapshots[2], snapshots[0], false},
		"the same":            {snapshots[2], snapshots[2], false},
		"nothing":             {snapshots[2], nil, false},
		"another service":     {snapshots[2], &other, false},
		"decoded from zero":   {snapshots[0], snapshots[0], false},
		"the one before that": {snapshots[1], snapshots[0], true},
	} {
		if _, _, known := tt.s.EndpointsSince(tt.former); known != tt.want {
			t.Errorf("%s: known %v", name, known)
		}
	}
}
