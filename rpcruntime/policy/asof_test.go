// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"testing"
)

func TestAsOfBehind(t *testing.T) {
	held := NewAsOf(KindRevision{"RPCService", 5, 9}, KindRevision{"EndpointSlice", 20, 30})
	tests := []struct {
		name string
		at   AsOf
		want bool
	}{
		{"has seen all changes, if not all that was seen", NewAsOf(KindRevision{"RPCService", 0, 5}, KindRevision{"EndpointSlice", 0, 20}), false},
		{"newer", NewAsOf(KindRevision{"RPCService", 6, 10}, KindRevision{"EndpointSlice", 40, 50}), false},
		{"one kind is behind", NewAsOf(KindRevision{"RPCService", 5, 99}, KindRevision{"EndpointSlice", 19, 19}), true},
		{"what it changed does not count", NewAsOf(KindRevision{"RPCService", 9, 4}, KindRevision{"EndpointSlice", 99, 99}), true},
		{"does not watch the kind", NewAsOf(KindRevision{"RPCService", 9, 9}), true},
		{"nothing", nil, true},
	}
	for _, tt := range tests {
		if got := tt.at.Behind(held); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if tt.at.Behind(nil) {
			t.Errorf("%s: behind somebody who holds nothing", tt.name)
		}
		if tt.at.Max(held).Behind(tt.at) && !tt.at.Behind(tt.at) {
			t.Errorf("%s: the maximum is behind", tt.name)
		}
	}
	if NewAsOf(KindRevision{"A", 1, 1}).Behind(NewAsOf(KindRevision{"B", 0, 7})) {
		t.Error("a kind without changes holds nobody up")
	}
}

func TestAsOfMax(t *testing.T) {
	a := NewAsOf(KindRevision{"b", 1, 9}, KindRevision{"a", 5, 5})
	b := NewAsOf(KindRevision{"c", 3, 3}, KindRevision{"b", 2, 4})
	want := AsOf{{"a", 5, 5}, {"b", 2, 9}, {"c", 3, 3}}
	for _, got := range []AsOf{a.Max(b), b.Max(a)} {
		if !slices.Equal(got, want) || got.Validate() != nil {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	if !slices.Equal(a, AsOf{{"a", 5, 5}, {"b", 1, 9}}) {
		t.Errorf("Max changed its receiver: %v", a)
	}
	if got := want.Get("b"); got.Changed != 2 || got.Seen != 9 {
		t.Errorf("%v", got)
	}
}

func TestAsOfValidate(t *testing.T) {
	for name, bad := range map[string]AsOf{
		"unsorted": {{"b", 1, 1}, {"a", 1, 1}}, "twice": {{"a", 1, 1}, {"a", 2, 2}}, "nameless": {{"", 1, 1}},
		"too many": make(AsOf, MaxKinds+1),
	} {
		if bad.Validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
