// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package count

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// replica answers like one, to whoever has proven something on the connection.
func replica(t *testing.T, token string) (address string) {
	t.Helper()
	runtime, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithCacheDir(""))
	if err != nil {
		t.Fatal(err)
	}
	server := runtime.NewServer(rpcruntime.DrainTimeout(time.Second))
	var proven atomic.Bool
	rpcruntime.Handle(server, registry.Path+"."+registry.MethodRenew,
		func(_ context.Context, req *registry.RenewRequest) (*registry.RenewReply, error) {
			proven.Store(req.Token == token)
			return new(registry.RenewReply), nil
		})
	rpcruntime.Handle(server, registry.Path+"."+publish.MethodSummary,
		func(_ context.Context, req *publish.SummaryRequest) (*publish.SummaryReply, error) {
			if token != "" && !proven.Load() {
				return nil, status.New(status.PermissionDenied, "who asks?")
			}
			return &publish.SummaryReply{Replica: "two", Clients: &req.All.Clients, Counts: []publish.AckCount{{Service: cart, Clients: 7}}}, nil
		})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := runtime.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func TestAsker(t *testing.T) {
	a, err := NewAsker(logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	open, guarded := replica(t, ""), replica(t, "secret")
	if reply, err := a.Ask(ctx, open, publish.Totals{Clients: 5}); err != nil || reply.Replica != "two" || *reply.Clients != 5 || reply.Counts[0].Clients != 7 {
		t.Errorf("got %+v, %v", reply, err)
	}
	if _, err := a.Ask(ctx, guarded, publish.Totals{}); status.CodeOf(err) != status.PermissionDenied {
		t.Errorf("without a proof: %v", err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.Secure(nil, file)
	if reply, err := a.Ask(ctx, guarded, publish.Totals{}); err != nil || reply.Replica != "two" {
		t.Errorf("with a proof: %+v, %v", reply, err)
	}
	a.Keep([]string{guarded})
	if len(a.clients) != 1 || a.clients[guarded] == nil {
		t.Errorf("keeps %d connections", len(a.clients))
	}
}
