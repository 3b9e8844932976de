// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

func TestEventsBecomeMetrics(t *testing.T) {
	m := New()
	m.Called(rpcruntime.CalledEvent{Service: "shop/arith", Method: "Arith.Mul", Code: status.OK, Attempts: 2, Duration: 30 * time.Millisecond})
	m.Called(rpcruntime.CalledEvent{Service: "shop/arith", Method: "Arith.Mul", Code: status.Unavailable, Attempts: 0, Duration: time.Millisecond})
	m.Attempted(rpcruntime.AttemptedEvent{Service: "shop/arith", Method: "Arith.Mul", Retry: true, Reason: "unexecuted"})
	m.Attempted(rpcruntime.AttemptedEvent{Service: "shop/arith", Method: "Arith.Mul", Retry: true, Free: true, Reason: "resent"})
	m.Attempted(rpcruntime.AttemptedEvent{Service: "shop/arith", Method: "Arith.Mul", Reason: "stop_budget"})
	m.Served(rpcruntime.ServedEvent{Method: "Echo.Say", Caller: "web/front", Code: status.InvalidArgument, Duration: time.Second})
	m.Refused(rpcruntime.RefusedEvent{Path: "Arith", Method: "Mul", Code: status.ResourceExhausted, Reason: "limit"})
	m.Refused(rpcruntime.RefusedEvent{Path: "Arith", Method: "Nope", Code: status.Unimplemented})
	m.Refused(rpcruntime.RefusedEvent{Reason: "connections"})
	m.Refused(rpcruntime.RefusedEvent{Reason: "full moon"})
	m.RegistryChanged(rpcruntime.RegistryEvent{Service: "shop/arith", Role: "Caller", Kind: "cached", Digest: "3fa9c21e"})
	m.RegistryChanged(rpcruntime.RegistryEvent{Service: "shop/arith", Role: "Caller", Kind: "stale"})

	want := `
# HELP fairlead_client_attempts_total Attempts of outgoing calls that ended.
# TYPE fairlead_client_attempts_total counter
fairlead_client_attempts_total{method="Arith.Mul",service="shop/arith"} 2
# HELP fairlead_client_calls_total Outgoing calls that ended, by the code they ended with.
# TYPE fairlead_client_calls_total counter
fairlead_client_calls_total{code="OK",method="Arith.Mul",service="shop/arith"} 1
fairlead_client_calls_total{code="Unavailable",method="Arith.Mul",service="shop/arith"} 1
# HELP fairlead_client_failed_attempts_total Failed attempts of outgoing calls, by why another followed or not. retry is no, paid (from the budget) or free.
# TYPE fairlead_client_failed_attempts_total counter
fairlead_client_failed_attempts_total{method="Arith.Mul",reason="resent",retry="free",service="shop/arith"} 1
fairlead_client_failed_attempts_total{method="Arith.Mul",reason="stop_budget",retry="no",service="shop/arith"} 1
fairlead_client_failed_attempts_total{method="Arith.Mul",reason="unexecuted",retry="paid",service="shop/arith"} 1
# HELP fairlead_registry_changes_total What the registry said of services, by kind.
# TYPE fairlead_registry_changes_total counter
fairlead_registry_changes_total{kind="cached",role="Caller",service="shop/arith"} 1
fairlead_registry_changes_total{kind="stale",role="Caller",service="shop/arith"} 1
# HELP fairlead_registry_info What this process last took from the registry, 1 per service and role: the digest, shortened, and whether it is live or cached.
# TYPE fairlead_registry_info gauge
fairlead_registry_info{digest="3fa9c21e",origin="cached",role="Caller",service="shop/arith"} 1
# HELP fairlead_server_calls_total Calls that reached a handler and ended, by the code they ended with.
# TYPE fairlead_server_calls_total counter
fairlead_server_calls_total{code="InvalidArgument",method="Echo.Say"} 1
# HELP fairlead_server_refused_total Calls and connections that were refused before any handler saw them.
# TYPE fairlead_server_refused_total counter
fairlead_server_refused_total{reason="auth"} 0
fairlead_server_refused_total{reason="cancel"} 0
fairlead_server_refused_total{reason="connections"} 1
fairlead_server_refused_total{reason="deadline"} 0
fairlead_server_refused_total{reason="limit"} 1
fairlead_server_refused_total{reason="other"} 1
fairlead_server_refused_total{reason="protocol"} 0
fairlead_server_refused_total{reason="silent"} 0
fairlead_server_refused_total{reason="tls"} 0
fairlead_server_refused_total{reason="unimplemented"} 1
fairlead_server_refused_total{reason="wrong-endpoint"} 0
`
	err := testutil.CollectAndCompare(m, strings.NewReader(want),
		"fairlead_client_attempts_total", "fairlead_client_calls_total", "fairlead_client_failed_attempts_total", "fairlead_registry_changes_total",
		"fairlead_registry_info", "fairlead_server_calls_total", "fairlead_server_refused_total")
	if err != nil {
		t.Error(err)
	}
	for name, want := range map[string]float64{"fairlead_client_call_seconds": .031, "fairlead_server_call_seconds": 1} {
		if got := histogramSum(t, m, name); got != want {
			t.Errorf("sum of %s is %v, want %v", name, got, want)
		}
	}
}

// A new digest replaces the series of the old one, and so does its origin.
func TestRegistryInfoFollowsTheDigest(t *testing.T) {
	m := New()
	for i := range 100 {
		m.RegistryChanged(rpcruntime.RegistryEvent{Service: "shop/arith", Role: "Caller", Kind: "cached", Digest: fmt.Sprintf("%08x", i)})
	}
	m.RegistryChanged(rpcruntime.RegistryEvent{Service: "shop/arith", Role: "Caller", Kind: "live", Digest: "feedc0de"})
	m.RegistryChanged(rpcruntime.RegistryEvent{Service: "shop/arith", Role: "Caller", Kind: "invalid"})
	want := `
# HELP fairlead_registry_info What this process last took from the registry, 1 per service and role: the digest, shortened, and whether it is live or cached.
# TYPE fairlead_registry_info gauge
fairlead_registry_info{digest="feedc0de",origin="live",role="Caller",service="shop/arith"} 1
`
	if err := testutil.CollectAndCompare(m, strings.NewReader(want), "fairlead_registry_info"); err != nil {
		t.Error(err)
	}
}

func TestNamesAndHelpAreAsPrometheusWantsThem(t *testing.T) {
	m := New()
	m.Attach(newRuntime(t, m))
	exercise(m, "Arith.Mul")
	problems, err := testutil.CollectAndLint(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Whatever peers and programs come up with, the number of series has a bound,
// and nothing is lost.
func TestSeriesAreBounded(t *testing.T) {
	const limit, many = 20, 300
	m := newMetrics(limit)
	for i := range many {
		exercise(m, fmt.Sprintf("Made.Up%d", i))
	}
	for name, most := range map[string]int{
		"fairlead_client_calls_total": limit + 1, "fairlead_client_call_seconds": limit + 1,
		"fairlead_client_attempts_total": limit + 1, "fairlead_client_failed_attempts_total": limit + 1,
		"fairlead_server_calls_total": limit + 1, "fairlead_server_call_seconds": limit + 1,
		"fairlead_server_refused_total": 11, "fairlead_registry_changes_total": kindsOfChange*limit + 1, "fairlead_registry_info": limit,
	} {
		if got := testutil.CollectAndCount(m, name); got > most || got == 0 {
			t.Errorf("%s has %d series, want 1 to %d", name, got, most)
		}
	}
	if got := testutil.ToFloat64(m.clientCalls.WithLabelValues(other, other, "OK")); got != many-limit {
		t.Errorf("%v calls are counted as other, want %d", got, many-limit)
	}
	if got := testutil.ToFloat64(m.refused["limit"]); got != many {
		t.Errorf("%v refusals are counted, want %d", got, many)
	}
}

// What peers send beyond the closed sets must not make labels.
func TestCodesOutsideTheSetAreUnknown(t *testing.T) {
	if status.Code(codes).Valid() || !status.Code(codes-1).Valid() || status.Code(codeUnknown).String() != codeUnknownName {
		t.Fatalf("codes is %d, and that is not the size of the set", codes)
	}
	m := New()
	m.Called(rpcruntime.CalledEvent{Service: "s", Method: "A.B", Code: 4711})
	if got := testutil.ToFloat64(m.clientCalls.WithLabelValues("s", "A.B", "Unknown")); got != 1 {
		t.Errorf("Unknown is %v, want 1", got)
	}
}

func TestConcurrentEventsAreAllCounted(t *testing.T) {
	const goroutines, each, methods = 8, 2000, 20
	m := New()
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for i := range each {
				exercise(m, fmt.Sprintf("Arith.M%d", (i+g)%methods))
			}
		})
	}
	all.Go(func() {
		for range 20 {
			testutil.CollectAndCount(m)
		}
	})
	all.Wait()
	var sum float64
	for i := range methods {
		sum += testutil.ToFloat64(m.clientCalls.WithLabelValues("shop/arith", fmt.Sprintf("Arith.M%d", i), "OK"))
	}
	if sum != goroutines*each {
		t.Errorf("%v calls are counted, want %d", sum, goroutines*each)
	}
}

func TestEventsOnTheCallPathAllocateNothing(t *testing.T) {
	m := New()
	exercise(m, "Arith.Mul")
	for name, event := range events(m) {
		if n := testing.AllocsPerRun(1000, event); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func BenchmarkEvents(b *testing.B) {
	m := New()
	for i := range 50 {
		exercise(m, fmt.Sprintf("Arith.M%d", i))
	}
	for name, event := range events(m) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				event()
			}
		})
		b.Run(name+"-parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					event()
				}
			})
		})
	}
}

func events(m *Metrics) map[string]func() {
	called := rpcruntime.CalledEvent{Service: "shop/arith", Method: "Arith.Mul", Attempts: 1, Duration: 300 * time.Microsecond}
	attempted := rpcruntime.AttemptedEvent{Service: "shop/arith", Method: "Arith.Mul", Reason: "resent", Retry: true, Free: true}
	served := rpcruntime.ServedEvent{Method: "Arith.Mul", Duration: 300 * time.Microsecond}
	refused := rpcruntime.RefusedEvent{Path: "Arith", Method: "Nope"}
	return map[string]func(){
		"Called":    func() { m.Called(called) },
		"Attempted": func() { m.Attempted(attempted) },
		"Served":    func() { m.Served(served) },
		"Refused":   func() { m.Refused(refused) },
	}
}

// exercise makes one event of each kind about a method.
func exercise(m *Metrics, method string) {
	m.Called(rpcruntime.CalledEvent{Service: "shop/arith", Method: method, Attempts: 1, Duration: time.Millisecond})
	m.Attempted(rpcruntime.AttemptedEvent{Service: "shop/arith", Method: method, Reason: "unknown", Retry: true})
	m.Served(rpcruntime.ServedEvent{Method: method, Duration: time.Millisecond})
	m.Refused(rpcruntime.RefusedEvent{Path: method, Method: method, Reason: "limit"})
	m.RegistryChanged(rpcruntime.RegistryEvent{Service: "shop/" + method, Role: "Caller", Kind: "live", Digest: "00000001"})
}

func histogramSum(t *testing.T, m *Metrics, name string) (sum float64) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(m)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, metric := range f.GetMetric() {
			sum += metric.GetHistogram().GetSampleSum()
		}
	}
	return sum
}
