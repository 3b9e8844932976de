// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package thrift

import (
	"context"
	"net"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
)

// Arith is a service as one of rpcx is written.
type Arith struct{}

// Swap swaps its numbers.
func (Arith) Swap(_ context.Context, args *Args, reply *Args) error {
	reply.A, reply.B = args.B, args.A
	return nil
}

// docs/wire-protocol.md §2
func TestCallsCarryThrift(t *testing.T) {
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithCodecs(set(t)))
	if err != nil {
		t.Fatal(err)
	}
	srv := rt.NewServer()
	if err := srv.Register(Arith{}); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ctx, ln) }()
	defer func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	arith := rt.NewClient("arith", rpcruntime.Endpoints(ln.Addr().String()), rpcruntime.WithCodec(codec.TypeThrift))
	got, err := rpcruntime.Call[Args](t.Context(), arith, "Arith.Swap", &Args{A: 1, B: 2})
	if err != nil || *got != (Args{A: 2, B: 1}) {
		t.Errorf("got %+v, %v", got, err)
	}
}
