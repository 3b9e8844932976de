// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// windowed lets one call be in flight, says that it is half used, and never
// answers Raw.Hold.
func windowed(t *testing.T) (addr string, requests <-chan wire.Frame) {
	return oldServer(t, func(f wire.Frame) []byte {
		var answer []byte
		if _, first := f.Meta.Get(wire.KeyAnnounce); first {
			answer = control(wire.MethodWindow, wire.AppendWindow(nil, wire.Window{Calls: 1, Bytes: 1 << 20}))
			answer = append(answer, control(wire.MethodLoad, wire.AppendLoad(nil, wire.Load{InFlight: 3, QueueDelay: time.Millisecond, Utilisation: 500}))...)
		}
		if string(f.Method) != "Hold" {
			answer = append(answer, reply(f, wire.StatusNormal, string(f.Payload))...)
		}
		return extended(t, f, answer, wire.FeatureWindow, wire.FeatureLoad)
	})
}

// hold keeps a call in flight until the test ends.
func hold(t *testing.T, c *Client, requests <-chan wire.Frame) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- CallInto(ctx, c, "Raw.Hold", []byte("x"), nil) }()
	t.Cleanup(func() {
		cancel()
		receive(t, done, "the end of the call that was held")
	})
	receive(t, requests, "the call to hold")
	await(t, "the window", func() bool { return c.Endpoints()[0].AtWindow })
}

// docs/wire-protocol.md §8
func TestAnotherEndpointIsPreferredToOneAtItsWindow(t *testing.T) {
	full, requests := windowed(t)
	free, others := oldServer(t, func(f wire.Frame) []byte { return reply(f, wire.StatusNormal, "") })
	rt := newRuntime(t)
	hold(t, rt.NewClient("test", Endpoints(full)), requests)
	c := rt.NewClient("test", Endpoints(full, free), FixedPolicy(policy.CallFields{LoadBalancer: policy.RoundRobin}))
	for i := range 20 {
		if err := CallInto(t.Context(), c, "Raw.Echo", []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
		if len(others) != i+1 || len(requests) != 0 {
			t.Fatalf("call %d went to the one at its window", i)
		}
	}
	for _, state := range c.endpointStates() {
		if n := state.InFlight(); n != 0 {
			t.Errorf("%s: %d calls stay in flight", state.ID(), n)
		}
	}
}

func TestAllEndpointsAtTheirWindows(t *testing.T) {
	full, requests := windowed(t)
	c := newRuntime(t).NewClient("test", Endpoints(full))
	hold(t, c, requests)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := CallInto(ctx, c, "Raw.Echo", []byte("x"), nil)
	if e := status.Convert(err); e.Fate() != status.FateUnexecuted || len(requests) != 0 {
		t.Errorf("%v, %d requests", err, len(requests))
	}
	if e := status.Convert(err); e.Code() == status.ResourceExhausted && e.Reason() != transport.ReasonWindow {
		t.Errorf("reason %q", e.Reason())
	}
}

func TestEndpointsTellWhatIsKnown(t *testing.T) {
	full, requests := windowed(t)
	dead := deadAddr(t)
	rt := newRuntime(t)
	c := rt.NewClient("test", Endpoints(full, dead))
	if got := c.Endpoints(); len(got) != 2 || got[0] != (EndpointInfo{ID: full, Address: full}) || got[1] != (EndpointInfo{ID: dead, Address: dead}) {
		t.Errorf("before any call: %+v", got)
	}
	hold(t, rt.NewClient("test", Endpoints(full)), requests)
	await(t, "the load", func() bool { return c.Endpoints()[0].Load != nil })
	got := c.Endpoints()[0]
	want := wire.Load{InFlight: 3, QueueDelay: time.Millisecond, Utilisation: 500}
	if !got.Connected || got.Draining || !got.AtWindow || *got.Load != want {
		t.Errorf("%+v, load %+v", got, got.Load)
	}
	if got := c.Endpoints()[1]; got.Connected {
		t.Errorf("the dead one: %+v", got)
	}
	c.Close()
	if got := c.Endpoints(); got != nil {
		t.Errorf("after the end: %+v", got)
	}
}

func TestRuntimeSumsItsServers(t *testing.T) {
	rt := newRuntime(t)
	a, _ := serveWith(t, rt, rawEcho, MaxConnections(10), MaxConcurrentCalls(100), MaxRequestBytes(1000))
	b, _ := serveWith(t, rt, rawEcho, MaxConnections(20), MaxConcurrentCalls(200), MaxRequestBytes(2000))
	for _, addr := range []string{a, b, b} {
		c := newRuntime(t).NewClient("test", Endpoints(addr))
		if err := CallInto(t.Context(), c, "Raw.Echo", []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "the calls' end", func() bool { return rt.ServerStats().Calls == 0 && rt.ServerStats().RequestBytes == 0 })
	want := ServerStats{Connections: 3, MaxConnections: 30, MaxCalls: 300, MaxRequestBytes: 3000}
	if got := rt.ServerStats(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestHeartbeatIntervalIsTheRuntimes(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{0: 0, -1: 0, time.Minute: time.Minute} {
		if got := newRuntime(t, WithHeartbeat(d)).transportConfig().HeartbeatInterval; got != want {
			t.Errorf("%s: %s", d, got)
		}
	}
}
