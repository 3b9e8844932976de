// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"sync"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The allocations of one call with a deadline, caller and callee together. Of them
// the callee's context, in one piece with all else that the server keeps of a
// call, is one that stays.
const (
	// rawAllocs: that, and the payload that the handler gets and may keep.
	rawAllocs = 2
	// protoAllocs: that, and the callee's message, the caller's, and the bytes in each.
	protoAllocs = 5
)

func TestAllocationsOfARawCall(t *testing.T) {
	c := pair(t, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) })
	payload, reply := make([]byte, 581), make([]byte, 0, 581)
	ctx := context.Background()
	wantAllocs(t, rawAllocs, func() error {
		_, err := CallRaw(ctx, c, "Raw.Echo", payload, reply[:0])
		return err
	})
}

func TestAllocationsOfAProtobufCall(t *testing.T) {
	c := pair(t, func(s *Server) { Handle(s, "Proto.Echo", echoProto) })
	arg := wrapperspb.Bytes(make([]byte, 128))
	ctx := context.Background()
	wantAllocs(t, protoAllocs, func() error {
		_, err := Call[wrapperspb.BytesValue](ctx, c, "Proto.Echo", arg)
		return err
	})
}

// wantAllocs fails if a call allocates more often than so.
func wantAllocs(t *testing.T, most float64, call func() error) {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	n := testing.AllocsPerRun(2000, func() {
		if err := call(); err != nil {
			t.Fatal(err)
		}
	})
	if n > most {
		t.Errorf("%.1f allocations per call, want at most %.0f", n, most)
	}
}

func echoProto(_ context.Context, v *wrapperspb.BytesValue) (*wrapperspb.BytesValue, error) {
	return v, nil
}

func benchmark(b *testing.B, callers int, call func(c *Client) error) {
	c := pair(b, func(s *Server) {
		HandleRaw(s, "Raw.Echo", echoRaw)
		Handle(s, "Proto.Echo", echoProto)
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
		_, err := CallRaw(context.Background(), c, "Raw.Echo", arg, nil)
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
