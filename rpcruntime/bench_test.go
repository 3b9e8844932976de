// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"sync"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// maxAllocs are the allocations of one raw call with a deadline, caller and
// callee together: a guard against silly costs, not a goal.
const maxAllocs = 8

func TestAllocationsOfARawCall(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c := pair(t, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) })
	arg, reply := make([]byte, 128), make([]byte, 0, 128)
	ctx := context.Background()
	call := func() {
		if err := CallInto(ctx, c, "Raw.Echo", arg, &reply); err != nil {
			t.Fatal(err)
		}
	}
	call()
	if n := testing.AllocsPerRun(2000, call); n > maxAllocs {
		t.Errorf("%.1f allocations per call, want at most %d", n, maxAllocs)
	} else {
		t.Logf("%.1f allocations per call", n)
	}
}

func benchmark(b *testing.B, callers int, call func(c *Client) error) {
	c := pair(b, func(s *Server) {
		HandleRaw(s, "Raw.Echo", echoRaw)
		Handle(s, "Proto.Echo", func(_ context.Context, v *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) { return v, nil })
	})
	if err := call(c); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for range (b.N + i) / callers {
				if err := call(c); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer() // before the runtimes drain
}

func BenchmarkCallRaw(b *testing.B) {
	arg := make([]byte, 128)
	call := func(c *Client) error {
		_, err := Call[[]byte](context.Background(), c, "Raw.Echo", arg)
		return err
	}
	b.Run("callers=1", func(b *testing.B) { benchmark(b, 1, call) })
	b.Run("callers=100", func(b *testing.B) { benchmark(b, 100, call) })
}

func BenchmarkCallProto(b *testing.B) {
	arg := wrapperspb.Bytes(make([]byte, 128))
	call := func(c *Client) error {
		_, err := Call[wrapperspb.BytesValue](context.Background(), c, "Proto.Echo", arg)
		return err
	}
	b.Run("callers=1", func(b *testing.B) { benchmark(b, 1, call) })
	b.Run("callers=100", func(b *testing.B) { benchmark(b, 100, call) })
}
