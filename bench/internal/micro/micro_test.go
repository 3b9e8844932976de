// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bench/internal/result"
)

func TestMain(m *testing.M) {
	if kind, child := strings.CutPrefix(os.Args[min(1, len(os.Args)-1)], Flag); child {
		if err := Child(context.Background(), kind, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// The figure is that of a connection: not nothing, and not the whole process.
func TestIdleConnections(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		v, err := IdleConnections(t.Context(), 400, 1, overTLS, time.Millisecond)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if v.Value < 1<<10 || v.Value > 200<<10 || v.Unit != result.UnitBytes {
			t.Errorf("TLS %v: %+v", overTLS, v)
		}
		t.Logf("%s: %.0f bytes", v.Name, v.Value)
	}
}

// What is taken off as the handler's payload is one slice, no more: with larger
// payloads a call allocates more by one of them.
func TestOnePayloadSliceIsTakenOff(t *testing.T) {
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

func TestChildRefusesWhatItIsNotAsked(t *testing.T) {
	for _, ask := range []struct{ kind, params string }{
		{"cook", "false\n"}, {kindServer, ""}, {kindServer, "\n"}, {kindServer, "true 7\n"}, {kindDialler, "a - false many\n"}, {kindDialler, "a -\n"},
	} {
		if err := Child(t.Context(), ask.kind, strings.NewReader(ask.params), io.Discard); err == nil {
			t.Errorf("%+v: no error", ask)
		}
	}
}
