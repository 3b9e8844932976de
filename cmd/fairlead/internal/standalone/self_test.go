// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// TestInstancesAreToldByPublishing has nobody who refreshes what is known of
// subscribers: an instance learns what it is from the publishing itself, though
// it is the loop that publishes, and the loop that answers who is who.
func TestInstancesAreToldByPublishing(t *testing.T) {
	h := startPlane(t, t.TempDir())
	defer h.stop()
	service := publish.NewService(publish.ServiceConfig{Store: h.store, SelfOf: h.selfOf, Registrar: registrar{h.plane}})
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	server := rt.NewServer()
	service.Mount(server)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, ln) }()
	defer func() {
		service.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = rt.Close(context.Background()) // the server has ended
	}()
	h.read([]*v1alpha1.RPCService{rpcService("arith", v1alpha1.SourceRegistered)})

	told := make(chan registry.Self, 10)
	client := registry.New(registry.Config{Addresses: []string{ln.Addr().String()}, OnSelf: func(s registry.Self) { told <- s }})
	defer client.Close()
	client.SetServing([]string{"127.0.0.1:1"})
	next := func() (s registry.Self) {
		t.Helper()
		select {
		case s = <-told:
		case <-time.After(20 * time.Second):
			t.Fatal("waited in vain to be told")
		}
		return s
	}
	if got := next(); len(got.Serves) != 0 {
		t.Fatalf("told %+v at first", got)
	}
	if err := h.register(99, "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	if got := next(); len(got.Serves) != 1 || got.Serves[0] != (registry.Serving{Service: "default/arith", Port: "1"}) {
		t.Errorf("told %+v", got)
	}
}
