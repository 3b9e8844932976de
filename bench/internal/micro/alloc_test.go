// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package micro

import "testing"

// What is taken off as the handler's payload is one slice, no more: with larger
// payloads a call allocates more by one of them. The race detector has pools drop
// some of what they are given, hence the build tag.
func TestAllocOfOnePayloadIsTakenOff(t *testing.T) {
	p, err := newPair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	// Both are sizes that the allocator has, so nothing is rounded up.
	const small, large = 512, 2048
	few, smallBytes, err := p.perCall(t.Context(), small)
	if err != nil {
		t.Fatal(err)
	}
	many, largeBytes, err := p.perCall(t.Context(), large)
	if err != nil {
		t.Fatal(err)
	}
	if grown := (largeBytes - smallBytes) / (large - small); grown < 0.9 || grown > 1.1 {
		t.Errorf("%.2f slices of the payload's size are allocated, want %d", grown, payloadSlices)
	}
	if many > few+0.5 {
		t.Errorf("%.1f allocations with a large payload, %.1f with a small one", many, few)
	}
}
