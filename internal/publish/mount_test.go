// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// await receives one, or fails the test.
func await[T any](t *testing.T, ch <-chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-ch:
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", what)
	}
	return got
}

// signals is a Watcher that gives the test what it is told.
type signals struct {
	changed chan *policy.Snapshot
	invalid chan error
	ambient chan error
}

func newSignals() *signals {
	return &signals{make(chan *policy.Snapshot, 100), make(chan error, 100), make(chan error, 100)}
}

func (s *signals) Changed(snapshot *policy.Snapshot, _ registry.Origin) { s.changed <- snapshot }
func (s *signals) Invalid(err error)                                    { s.invalid <- err }
func (s *signals) Ambient(err error)                                    { s.ambient <- err }

// served is a registry on a socket, as a process runs it.
type served struct {
	*stack
	addr string
	stop func()
}

func serve(t *testing.T, addr string) *served {
	t.Helper()
	s := newStack(t, StoreConfig{}, new(leases))
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	srv := rt.NewServer()
	s.service.Mount(srv)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		s.service.Close()
		cancel()
		if err := await(t, done, "the server's end"); err != nil {
			t.Error(err)
		}
		s.close()
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return &served{s, ln.Addr().String(), stop}
}

func TestOverSockets(t *testing.T) {
	first := serve(t, "127.0.0.1:0")
	first.publish(t, arith, 1, shape{endpoints: two(), timeout: time.Second})
	first.store.SetReady()
	granted := make(chan error, 10)
	var watchers []*signals
	for range 20 {
		c := registry.New(registry.Config{Addresses: []string{first.addr}, Identity: registry.Identity{Namespace: "web"}, CacheDir: t.TempDir()})
		t.Cleanup(c.Close)
		w := newSignals()
		c.Watch(arith, policy.Caller, w)
		c.Register(registry.Registration{Service: arith, Address: "10.0.0.1:80", OnError: func(err error) { granted <- err }})
		watchers = append(watchers, w)
	}
	all := func(want string) {
		t.Helper()
		for _, w := range watchers {
			if got := describe(await(t, w.changed, "a snapshot")); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
	all("a=0 b=0 timeout 1s")
	for range watchers {
		if err := await(t, granted, "a lease"); err != nil {
			t.Error(err)
		}
	}
	first.publish(t, arith, 2, shape{endpoints: two(), timeout: 2 * time.Second})
	all("a=0 b=0 timeout 2s")

	first.stop()
	for _, w := range watchers {
		await(t, w.ambient, "trouble")
	}
	second := serve(t, first.addr)
	second.publish(t, arith, 3, shape{endpoints: two(), timeout: 3 * time.Second})
	second.store.SetReady()
	all("a=0 b=0 timeout 3s")
	second.remove(arith, 4)
	for _, w := range watchers {
		var gone *registry.GoneError
		if err := await(t, w.invalid, "gone"); !errors.As(err, &gone) {
			t.Errorf("got %v", err)
		}
	}
}

// What a stranger sends costs the registry little, and it lives on.
func TestStrangers(t *testing.T) {
	s := serve(t, "127.0.0.1:0")
	s.store.SetReady()
	request := func(method string, payload []byte) []byte {
		b := wire.Begin(nil, wire.RequestHeader(7, wire.SerializeMsgPack, false), registry.Path, method)
		return b.Payload(payload)
	}
	for name, frame := range map[string][]byte{
		"a list without end":  request(registry.MethodSubscribe, []byte{0x81, 0xa1, 's', 0xdd, 0xff, 0xff, 0xff, 0xff}),
		"too many":            request(registry.MethodSubscribe, append([]byte{0x81, 0xa1, 's', 0xdc, 0xff, 0xff}, make([]byte, 65535)...)),
		"no map":              request(registry.MethodSubscribe, []byte("hello")),
		"an ack of nothing":   request(registry.MethodAck, []byte{0x81, 0xa1, 's', 0x90}),
		"a lease for nothing": request(registry.MethodRegister, []byte{0x80}),
		"an unknown method":   request("Explode", nil),
		"no frame":            []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := nc.Write(frame); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		answer := make([]byte, 1)
		if _, err := nc.Read(answer); err != nil && name != "no frame" {
			t.Errorf("%s: %v", name, err)
		}
		if err := nc.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := registry.New(registry.Config{Addresses: []string{s.addr}})
	defer c.Close()
	w := newSignals()
	c.Watch(arith, policy.Caller, w)
	if err := await(t, w.invalid, "an answer"); status.CodeOf(err) != status.NotFound {
		t.Errorf("got %v", err)
	}
}
