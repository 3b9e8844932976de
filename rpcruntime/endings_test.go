// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// An idle second connection that the callee ends, as it may, says nothing of the
// endpoint, whose first connection goes on.
func TestIdleSecondConnectionTakesNoEndpointAway(t *testing.T) {
	var served [2]atomic.Int64
	var addrs []string
	for i := range served {
		ln := listen(t, "")
		srv := newRuntime(t).NewServer()
		HandleRaw(srv, "Raw.Where", func(context.Context, []byte) ([]byte, error) {
			served[i].Add(1)
			return []byte("x"), nil
		})
		srv.opts.transport.IdleTimeout, srv.opts.transport.HeartbeatInterval = 300*time.Millisecond, 20*time.Millisecond
		start(t, srv, ln)
		addrs = append(addrs, ln.Addr().String())
	}
	rt := newRuntime(t)
	first := rt.NewClient("test", Endpoints(addrs[0]))
	both := rt.NewClient("test", Endpoints(addrs...), FixedPolicy(policy.CallFields{LoadBalancer: policy.RoundRobin}))
	via(t, first, "Raw.Where", largePayload)
	awaitBulk(t, first)
	via(t, first, "Raw.Where", largePayload)
	await(t, "the second connection is idle and ended", func() bool {
		via(t, first, "Raw.Where", 1) // keeps the first one
		return linkOf(first, 0).bulk.conn.Load() == nil
	})
	served[0].Store(0)
	for range 20 {
		via(t, both, "Raw.Where", 1)
	}
	if served[0].Load() == 0 {
		t.Error("the endpoint gets no calls although its first connection stands")
	}
}

// docs/wire-protocol.md §4: a frame that is too large even to be thrown away ends
// its connection, but only when what else runs on it is answered.
func TestHostileFrameBesideARunningCall(t *testing.T) {
	const short = 50 * time.Millisecond
	ln := listen(t, "")
	srv := newRuntime(t, WithWireLimits(wire.Limits{FrameBytes: 64 << 10})).NewServer(tuned(func(c *transport.Config) { c.WriteTimeout = short }))
	entered, release := make(chan context.Context, 1), make(chan struct{})
	HandleRaw(srv, "Raw.Hold", func(ctx context.Context, b []byte) ([]byte, error) {
		entered <- ctx
		<-release
		return b, ctx.Err()
	})
	HandleRaw(srv, "Raw.Echo", echoRaw)
	start(t, srv, ln)
	c := newRuntime(t).NewClient("test", Endpoints(ln.Addr().String()))
	via(t, c, "Raw.Echo", 1)
	held := Go[[]byte](t.Context(), c, "Raw.Hold", []byte("x"))
	ctx := receive(t, entered, "the handler")
	if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", make([]byte, 1<<20)); err == nil {
		t.Error("the server took a frame of 16 times its limit")
	}
	past := time.NewTimer(4 * short) // when writes would have been cut
	select {
	case <-ctx.Done():
		t.Error("the other call was cut")
	case <-past.C:
	}
	close(release)
	if _, err := held.Result(); err != nil {
		t.Error("the other call:", err)
	}
}

// The protocol's own paths are not for programs: a oneway call to one would be
// taken for a control frame.
func TestReservedPathsCannotBeCalled(t *testing.T) {
	ln := listen(t, "")
	srv := newRuntime(t).NewServer()
	HandleRaw(srv, "Raw.Echo", echoRaw)
	start(t, srv, ln)
	c := newRuntime(t).NewClient("test", Endpoints(ln.Addr().String()))
	err := Oneshot(t.Context(), c, "__fl.cancel", []byte("12345678"))
	if status.CodeOf(err) != status.InvalidArgument || status.FateOf(err) != status.FateUnexecuted {
		t.Errorf("%v, fate %s", err, status.FateOf(err))
	}
}

// Oneway calls that were sent arrive, although the client closes right after.
func TestClosingClientLosesNoOnewayCall(t *testing.T) {
	const calls = 2000
	var got atomic.Int64
	ln := listen(t, "")
	srv := newRuntime(t).NewServer()
	HandleRaw(srv, "Raw.One", func(context.Context, []byte) ([]byte, error) {
		got.Add(1)
		return nil, nil
	})
	start(t, srv, ln)
	for range 10 {
		got.Store(0)
		c := newRuntime(t).NewClient("test", Endpoints(ln.Addr().String()))
		for range calls {
			if err := Oneshot(t.Context(), c, "Raw.One", make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
		await(t, "every call has arrived", func() bool { return got.Load() == calls })
	}
}
