// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/fairlead/fairlead/bench/internal/result"
	"github.com/fairlead/fairlead/rpcruntime"
)

const (
	// CallAllocsAll is the name of the value with nothing taken off.
	CallAllocsAll = "raw call, all allocations"
	// CallBytes is the name of the value that says how many bytes those are.
	CallBytes = "raw call, bytes allocated"

	// payloadSlices is the number of slices for payloads that a call allocates
	// here: the handler's. The caller's reply goes into a slice that it keeps.
	payloadSlices = 1
	// contexts is the number of contexts that a call allocates: the handler's.
	contexts = 1

	rawBytes = 581
)

// CallAllocations is what a raw call of 581 bytes allocates, caller and callee
// together, which are both in this process and talk over loopback, with a
// registry-free client and everything else as it is by default.
//
// The value that the goal is for leaves out one payload slice and one context,
// both the handler's; the other one leaves out nothing.
func CallAllocations(ctx context.Context, rounds int) (values []result.Value, err error) {
	p, err := newPair(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	var counted, all, bytes []float64
	for range rounds {
		n, size, err := p.perCall(ctx, rawBytes)
		if err != nil {
			return nil, err
		}
		all, bytes = append(all, n), append(bytes, size)
		counted = append(counted, max(0, n-payloadSlices-contexts))
	}
	return []result.Value{
		result.NewValue(result.CallAllocs, result.UnitAllocs, counted...),
		result.NewValue(CallAllocsAll, result.UnitAllocs, all...),
		result.NewValue(CallBytes, result.UnitBytes, bytes...),
	}, nil
}

// pair is a client and a server in one process.
type pair struct {
	caller, callee *rpcruntime.Runtime
	client         *rpcruntime.Client
	served         chan struct{} // closed when Serve has returned
}

func newPair(ctx context.Context) (*pair, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &pair{served: make(chan struct{})}
	if p.callee, err = rpcruntime.New(rpcruntime.WithoutRegistry()); err == nil {
		p.caller, err = rpcruntime.New(rpcruntime.WithoutRegistry())
	}
	if err != nil {
		_ = ln.Close()
		return nil, fmt.Errorf("runtime: %w", err)
	}
	srv := p.callee.NewServer()
	registerEcho(srv)
	p.client = p.caller.NewClient("bench", rpcruntime.Endpoints(ln.Addr().String()))
	go func() {
		defer close(p.served)
		_ = srv.Serve(ctx, ln) // what it says Close says, too
	}()
	return p, nil
}

// registerEcho registers Bench.Echo, which gives back what it got.
func registerEcho(srv *rpcruntime.Server) {
	rpcruntime.HandleRaw(srv, echo, func(_ context.Context, p []byte) ([]byte, error) { return p, nil })
}

const echo = "Bench.Echo"

// perCall makes calls one after the other and divides.
func (p *pair) perCall(ctx context.Context, size int) (allocs, bytes float64, err error) {
	const warm, calls = 500, 20_000
	arg, reply := make([]byte, size), make([]byte, 0, size)
	var before, after runtime.MemStats
	for i := range warm + calls {
		if i == warm {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		var err error
		if reply, err = rpcruntime.CallRaw(ctx, p.client, echo, arg, reply[:0]); err != nil {
			return 0, 0, fmt.Errorf("call %d: %w", i, err)
		}
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / calls, float64(after.TotalAlloc-before.TotalAlloc) / calls, nil
}

func (p *pair) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := errors.Join(p.caller.Close(ctx), p.callee.Close(ctx))
	<-p.served
	return err
}
