// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// docs/wire-protocol.md §2
func TestOneshotAsksForNoAnswer(t *testing.T) {
	addr, requests := oldServer(t, func(wire.Frame) []byte { return nil })
	rec := &recorder{}
	var saw bool
	c := newRuntime(t, WithObserver(rec)).NewClient("test", Endpoints(addr), ClientIntercept(func(next ClientInvoker) ClientInvoker {
		return func(ctx context.Context, call *ClientCall) error {
			saw = call.Oneway
			return next(ctx, call)
		}
	}))
	if err := Oneshot(t.Context(), c, "Log.Add", []byte("line")); err != nil {
		t.Fatal(err)
	}
	f := receive(t, requests, "the request")
	if !f.Oneway() || f.Response() || string(f.Path) != "Log" || string(f.Method) != "Add" || string(f.Payload) != "line" {
		t.Errorf("got %+v", f)
	}
	if v, ok := f.Meta.Get(wire.KeyServerTimeout); !ok || len(v) == 0 {
		t.Error("the callee is not told the deadline")
	}
	if !saw || len(rec.called) != 1 || rec.called[0].Code != status.OK {
		t.Errorf("interceptors see %v, observers %+v", saw, rec.called)
	}
	if n := c.endpointStates()[0].InFlight(); n != 0 {
		t.Errorf("%d calls stay in flight", n)
	}
}

func TestOneshotReachesTheHandler(t *testing.T) {
	got := make(chan int, 1)
	c := pair(t, func(s *Server) {
		Handle(s, "Log.Add", func(_ context.Context, a *mulArgs) (*mulReply, error) { got <- a.A; return nil, errVault })
	})
	if err := Oneshot(t.Context(), c, "Log.Add", &mulArgs{A: 5}); err != nil {
		t.Fatal(err)
	}
	if n := receive(t, got, "the call"); n != 5 {
		t.Errorf("argument %d", n)
	}
}

// What surely did not leave goes to another endpoint.
func TestOneshotIsSentAgainWhileItHasNotLeft(t *testing.T) {
	addr, requests := oldServer(t, func(wire.Frame) []byte { return nil })
	for range 10 { // which endpoint comes first is a matter of chance
		c := newRuntime(t).NewClient("test", Endpoints(deadAddr(t), addr), FixedPolicy(generous(2)))
		if err := Oneshot(t.Context(), c, "Log.Add", []byte("line")); err != nil {
			t.Fatal(err)
		}
		receive(t, requests, "the request")
		c.Close()
	}
}

// cutConn loses the connection in the middle of a write.
type cutConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c cutConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	n, _ := c.Conn.Write(b)
	_ = c.Conn.Close()
	return n, errors.New("cut")
}

// docs/wire-protocol.md §9: even of an idempotent method.
func TestOneshotIsNeverSentAgainOnceItLeft(t *testing.T) {
	var writes atomic.Int64
	addr, _ := oldServer(t, func(wire.Frame) []byte { return nil })
	other, others := oldServer(t, func(wire.Frame) []byte { return nil })
	rt := newRuntime(t, WithDialer(func(ctx context.Context, address string) (net.Conn, error) {
		nc, err := dialTCP(ctx, address)
		if err != nil || address != addr {
			return nc, err
		}
		return cutConn{nc, &writes}, nil
	}))
	c := rt.NewClient("test", Endpoints(addr, other), FixedPolicy(generous(3), "Log.Add"))
	for writes.Load() == 0 {
		err := Oneshot(t.Context(), c, "Log.Add", []byte("line"))
		if writes.Load() == 0 {
			receive(t, others, "the request")
			continue
		}
		if len(others) != 0 {
			t.Errorf("it was sent again (%v)", err)
		}
	}
}

// Nor when nobody knows whether it left, and the method could be run twice.
func TestOneshotOfUnknownFateIsNotRepeated(t *testing.T) {
	addr, _ := oldServer(t, func(wire.Frame) []byte { return nil })
	c := newRuntime(t).NewClient("test", Endpoints(addr, deadAddr(t)), FixedPolicy(generous(3), "Log.Add"))
	for _, oneway := range []bool{true, false} {
		o := outgoingCall{client: c, call: ClientCall{Method: "Log.Add"}, policy: c.state.Load().method("Log.Add"), made: 1, deadline: time.Now().Add(patience)}
		o.req.Oneway = oneway
		o.policy.budget.RecordCall(c.rt.now())
		if d := o.decide(t.Context(), status.New(status.DeadlineExceeded, "half of it left")); d.Retry == oneway {
			t.Errorf("oneway %v: %+v", oneway, d)
		}
	}
}

func TestOneshotFails(t *testing.T) {
	c := newRuntime(t).NewClient("test", Endpoints(deadAddr(t)))
	wantFate(t, Oneshot(t.Context(), c, "Log.Add", []byte("x")), status.Unavailable, status.FateUnexecuted)
	wantFate(t, Oneshot(t.Context(), c, "Log.Add", make(chan int)), status.InvalidArgument, status.FateUnexecuted)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantFate(t, Oneshot(ctx, c, "Log.Add", []byte("x")), status.Canceled, status.FateUnexecuted)
}
