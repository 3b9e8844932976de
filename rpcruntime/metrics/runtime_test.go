// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

type pair struct{ A, B int }

type product struct{ C int }

func newRuntime(t *testing.T, m *Metrics) *rpcruntime.Runtime {
	t.Helper()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithObserver(m))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return rt
}

// serve starts a server of rt and returns its address; it is drained with rt.
func serve(t *testing.T, rt *rpcruntime.Runtime) string {
	t.Helper()
	srv := rt.NewServer()
	rpcruntime.Handle(srv, "Arith.Mul", func(_ context.Context, p *pair) (*product, error) {
		if p.B == 0 {
			return nil, status.New(status.InvalidArgument, "B is 0")
		}
		return &product{p.A * p.B}, nil
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// The adapter counts what a real runtime does, on both sides of a call.
func TestRuntimeIsObserved(t *testing.T) {
	clientSide, serverSide := New(), New()
	serverRuntime := newRuntime(t, serverSide)
	serverSide.Attach(serverRuntime)
	address := serve(t, serverRuntime)
	rt := newRuntime(t, clientSide)
	clientSide.Attach(rt)
	clientSide.Attach(rt) // must not count twice
	c := rt.NewClient("arith", rpcruntime.Endpoints(address))

	for i := range 3 {
		_, err := rpcruntime.Call[product](t.Context(), c, "Arith.Mul", &pair{6, i})
		if want := i == 0; (status.CodeOf(err) == status.InvalidArgument) != want || (err != nil) != want {
			t.Fatalf("call with B=%d: %v", i, err)
		}
	}
	if _, err := rpcruntime.Call[product](t.Context(), c, "Arith.Nope", nil); status.CodeOf(err) != status.Unimplemented {
		t.Fatalf("call of an unknown method: %v", err)
	}

	for what, check := range map[string]struct{ got, want float64 }{
		"client OK":            {testutil.ToFloat64(clientSide.clientCalls.WithLabelValues("arith", "Arith.Mul", "OK")), 2},
		"client error":         {testutil.ToFloat64(clientSide.clientCalls.WithLabelValues("arith", "Arith.Mul", "InvalidArgument")), 1},
		"client unknown":       {testutil.ToFloat64(clientSide.clientCalls.WithLabelValues("arith", "Arith.Nope", "Unimplemented")), 1},
		"client attempts":      {testutil.ToFloat64(clientSide.clientAttempts.WithLabelValues("arith", "Arith.Mul")), 3},
		"failed attempts":      {float64(testutil.CollectAndCount(clientSide, "fairlead_client_failed_attempts_total")), 2}, // one of each method
		"server OK":            {testutil.ToFloat64(serverSide.serverCalls.WithLabelValues("Arith.Mul", "OK")), 2},
		"server error":         {testutil.ToFloat64(serverSide.serverCalls.WithLabelValues("Arith.Mul", "InvalidArgument")), 1},
		"server refused":       {testutil.ToFloat64(serverSide.refused["unimplemented"]), 1},
		"methods of the peer":  {float64(testutil.CollectAndCount(serverSide, "fairlead_server_calls_total")), 2},
		"client connections":   {value(t, clientSide, "fairlead_conn_open"), 1},
		"server's connections": {value(t, serverSide, "fairlead_conn_open"), 1},
	} {
		if check.got != check.want {
			t.Errorf("%s: %v, want %v", what, check.got, check.want)
		}
	}
	for _, name := range []string{"fairlead_conn_read_frames_total", "fairlead_conn_read_bytes_total", "fairlead_conn_writes_total", "fairlead_conn_written_bytes_total"} {
		if value(t, clientSide, name) < 1 || value(t, serverSide, name) < 1 {
			t.Errorf("%s: client %v, server %v", name, value(t, clientSide, name), value(t, serverSide, name))
		}
	}
}

// One Metrics may observe several runtimes: their connections add up.
func TestConnectionsOfRuntimesAddUp(t *testing.T) {
	m := New()
	serverRuntime, rt := newRuntime(t, m), newRuntime(t, m)
	c := rt.NewClient("arith", rpcruntime.Endpoints(serve(t, serverRuntime)))
	if n := testutil.CollectAndCount(m, "fairlead_conn_open"); n != 0 {
		t.Fatalf("connections are reported before a runtime is attached")
	}
	m.Attach(rt)
	m.Attach(serverRuntime)
	if _, err := rpcruntime.Call[product](t.Context(), c, "Arith.Mul", &pair{6, 7}); err != nil {
		t.Fatal(err)
	}
	if got := value(t, m, "fairlead_conn_open"); got != 2 {
		t.Errorf("%v connections are open, want both ends of one", got)
	}
}

// value returns a metric that has one series, by way of a registry that checks
// descriptions against metrics.
func value(t *testing.T, m *Metrics, name string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
