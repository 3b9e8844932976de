// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// told is a watcher that says when it was told anything.
type told chan struct{}

func (c told) Changed(*policy.Snapshot, registry.Origin) { c <- struct{}{} }
func (c told) Invalid(error)                             { c <- struct{}{} }
func (c told) Ambient(error)                             {}

// value adds up a metric; false if it is not there.
func value(t *testing.T, from prometheus.Gatherer, name string) (sum float64, found bool) {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			found = true
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return sum, found
}

// TestMetrics has one client with three subscriptions, and a call of a method
// that the registry does not have.
func TestMetrics(t *testing.T) {
	metrics := prometheus.NewRegistry()
	listening := make(chan net.Addr, 1)
	e, err := New(Config{Address: "127.0.0.1:0", Metrics: metrics, Listening: func(a net.Addr) { listening <- a }, DrainTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	store := publish.NewStore(publish.StoreConfig{Epoch: "one"})
	defer store.Close()
	store.SetReady()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx, store, func(compile.Identity) compile.Self { return compile.Self{} }) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	address := (<-listening).String()

	c := registry.New(registry.Config{Addresses: []string{address}})
	defer c.Close()
	for service, role := range map[string]policy.Role{"shop/a": policy.Caller, "shop/b": policy.Caller, "shop/c": policy.Server} {
		w := make(told, 10)
		c.Watch(service, role, w)
		<-w // there is no such service, but the subscription stands
	}
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rt.Close(context.Background()) }() // what ends is the test
	client := rt.NewClient("shop/x", rpcruntime.Endpoints(address))
	if _, err := rpcruntime.Call[struct{}](t.Context(), client, registry.Path+".Explode", struct{}{}); err == nil {
		t.Fatal("the registry has a method Explode")
	}
	for name, want := range map[string]float64{
		"fairlead_registry_clients": 1, "fairlead_registry_clients_sent_away_total": 0, "fairlead_registry_subscriptions": 3, "fairlead_conn_open": 2, "fairlead_server_refused_total": 1,
	} {
		if got, found := value(t, metrics, name); !found || got != want {
			t.Errorf("%s is %v (there: %v), want %v", name, got, found, want)
		}
	}
}
