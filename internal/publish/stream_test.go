// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// world is a bubble of virtual time with registries and clients in it.
type world struct {
	t    *testing.T
	net  *pipes
	ends []func()
}

// bubble runs f in a world, and ends what f made.
func bubble(t *testing.T, f func(t *testing.T, b *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &world{t: t, net: new(pipes)}
		f(t, b)
		for _, end := range b.ends {
			end()
		}
	})
}

func (b *world) stack(address string, cfg StoreConfig, registrar Registrar) *stack {
	s := newStack(b.t, cfg, registrar)
	b.net.serve(address, s.front)
	b.ends = append(b.ends, func() { b.net.serve(address, nil); s.close() })
	return s
}

// client makes a client, of the namespace web unless cfg says otherwise.
func (b *world) client(cfg registry.Config) *registry.Client {
	cfg.Dial = b.net.dial
	if cfg.Addresses == nil {
		cfg.Addresses = []string{"reg:1"}
	}
	if cfg.Identity.Namespace == "" {
		cfg.Identity.Namespace = "web"
	}
	c := registry.New(cfg)
	b.ends = append([]func(){c.Close}, b.ends...)
	return c
}

func (b *world) watch(c *registry.Client, service string, role policy.Role) *recorder {
	r := new(recorder)
	c.Watch(service, role, r)
	synctest.Wait()
	return r
}

// ready makes a registry at reg:1 that has shop/arith.
func (b *world) ready() *stack {
	s := b.stack("reg:1", StoreConfig{}, nil)
	s.publish(b.t, arith, 1, shape{endpoints: two(), timeout: time.Second})
	s.store.SetReady()
	return s
}

const arith = "shop/arith"

func two() map[string]policy.EndpointState {
	return map[string]policy.EndpointState{"a": policy.Ready, "b": policy.Ready}
}

// expect waits until all is quiet, and checks what the watcher was told.
func expect(t *testing.T, r *recorder, events, content string) {
	t.Helper()
	synctest.Wait()
	if got := r.take(); got != events {
		t.Errorf("events %q, want %q (%v)", got, events, r.problem())
	}
	if got := describe(r.snapshot()); content != "" && got != content {
		t.Errorf("snapshot %q, want %q", got, content)
	}
}

func TestChangesArrive(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		r := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		expect(t, r, "changed live", "a=0 b=0 timeout 1s")
		time.Sleep(time.Second)
		s.publish(t, arith, 2, shape{endpoints: two(), timeout: 2 * time.Second})
		expect(t, r, "changed live", "a=0 b=0 timeout 2s") // at once: it was quiet
		s.publish(t, arith, 3, shape{endpoints: two(), timeout: 2 * time.Second})
		time.Sleep(time.Second)
		expect(t, r, "", "") // the same
		s.publish(t, "shop/other", 4, shape{endpoints: two()})
		time.Sleep(time.Second)
		expect(t, r, "", "") // another's
	})
}

func TestRolesAndOverlays(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.stack("reg:1", StoreConfig{}, nil)
		sh := shape{endpoints: two(), timeout: time.Second, burst: 5, overlays: map[string]time.Duration{"web": 3 * time.Second}}
		s.publish(t, arith, 1, sh)
		s.store.SetReady()
		web := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		other := b.watch(b.client(registry.Config{Identity: registry.Identity{Namespace: "other"}}), arith, policy.Caller)
		server := b.watch(b.client(registry.Config{}), arith, policy.Server)
		expect(t, web, "changed live", "a=0 b=0 timeout 3s")
		expect(t, other, "changed live", "a=0 b=0 timeout 1s")
		if got := server.snapshot(); len(got.Limits) != 1 || got.Limits[0].Burst != 5 || len(got.Endpoints) != 0 {
			t.Errorf("the server gets %+v", got)
		}
		server.take()

		time.Sleep(time.Second)
		sh.overlays["web"] = 4 * time.Second
		s.publish(t, arith, 2, sh)
		expect(t, web, "changed live", "a=0 b=0 timeout 4s")
		expect(t, other, "", "") // nothing of theirs moved
		expect(t, server, "", "")
		time.Sleep(time.Second)
		sh.overlays = nil
		s.publish(t, arith, 3, sh)
		expect(t, web, "changed live", "a=0 b=0 timeout 1s")
		for namespace, r := range map[string]*recorder{"web": web, "other": other} {
			if d, ok := s.store.Digest(arith, policy.Caller, namespace); !ok || d != r.snapshot().Digest {
				t.Errorf("%s: the store says %s, the client %s", namespace, d.Short(), r.snapshot().Digest.Short())
			}
		}
	})
}

func TestUnknownServiceStaysSubscribed(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		r := b.watch(b.client(registry.Config{}), "shop/airth", policy.Caller)
		expect(t, r, "invalid NotFound", "nothing")
		if err := r.problem(); !strings.Contains(err.Error(), `did you mean "shop/arith"?`) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour)
		expect(t, r, "", "")
		s.publish(t, "shop/airth", 2, shape{endpoints: two(), timeout: time.Second})
		expect(t, r, "changed live", "a=0 b=0 timeout 1s")
	})
}

func TestGoneAndBack(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		c := b.client(registry.Config{})
		r := b.watch(c, arith, policy.Caller)
		expect(t, r, "changed live", "")
		time.Sleep(time.Second)
		s.remove(arith, 2)
		expect(t, r, "invalid NotFound", "")
		var gone *registry.GoneError
		if err := r.problem(); !errors.As(err, &gone) || gone.Forgotten {
			t.Errorf("got %v", err)
		}
		late := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		expect(t, late, "invalid NotFound", "nothing")
		s.publish(t, arith, 3, shape{endpoints: two(), timeout: time.Second})
		expect(t, r, "changed live", "a=0 b=0 timeout 1s")
		expect(t, late, "changed live", "a=0 b=0 timeout 1s")

		s.remove(arith, 4)
		time.Sleep(11 * time.Minute)
		expect(t, r, "invalid NotFound", "")
		if err := r.problem(); !errors.As(err, &gone) || !gone.Forgotten {
			t.Errorf("got %v", err)
		}
		s.publish(t, arith, 5, shape{endpoints: two(), timeout: time.Second}) // what was forgotten is sent anew
		expect(t, r, "changed live", "a=0 b=0 timeout 1s")
	})
}

// Deleted while nobody was connected: no gone comes, but the answer says so.
func TestDeletedInTheMeantime(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		r := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		expect(t, r, "changed live", "")
		b.net.serve("reg:1", nil)
		s.remove(arith, 2)
		time.Sleep(10 * time.Second)
		b.net.serve("reg:1", s.front)
		time.Sleep(10 * time.Second)
		expect(t, r, "ambient, invalid NotFound", "")
		var gone *registry.GoneError
		if err := r.problem(); !errors.As(err, &gone) {
			t.Errorf("got %v", err)
		}
	})
}

func TestNothingIsServedBeforeReady(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.stack("reg:1", StoreConfig{}, nil)
		s.publish(t, arith, 1, shape{endpoints: two(), timeout: time.Second})
		r := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		time.Sleep(time.Minute)
		expect(t, r, "ambient", "nothing")
		if err := r.problem(); status.CodeOf(err) != status.Unavailable {
			t.Errorf("got %v", err)
		}
		s.store.SetReady()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := describe(r.snapshot()); got != "a=0 b=0 timeout 1s" {
			t.Errorf("got %s", got)
		}
	})
}

// counting counts the bytes that clients read.
func TestResumeCostsAFewBytes(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.stack("reg:1", StoreConfig{}, nil)
		many := make(map[string]policy.EndpointState)
		for i := range 1000 {
			many["endpoint-"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+strings.Repeat("y", i/26)] = policy.Ready
		}
		s.publish(t, arith, 1, shape{endpoints: many, timeout: time.Second})
		s.store.SetReady()
		var bytes atomic.Int64
		c := b.client(registry.Config{})
		b.net.count = &bytes
		r := b.watch(c, arith, policy.Caller)
		expect(t, r, "changed live", "")
		whole := bytes.Swap(0)
		b.net.serve("reg:1", nil)
		time.Sleep(time.Second)
		b.net.serve("reg:1", s.front)
		time.Sleep(10 * time.Second)
		expect(t, r, "ambient", "")
		if n := bytes.Load(); n == 0 || n > 1000 {
			t.Errorf("%d bytes to resume, %d in full", n, whole)
		}
		bytes.Store(0)
		s.publish(t, arith, 2, shape{endpoints: many, timeout: 2 * time.Second})
		expect(t, r, "changed live", "")
		if n := bytes.Load(); n > 1000 {
			t.Errorf("%d bytes for a change of one small part, %d in full", n, whole)
		}
	})
}

func TestReplicaThatIsBehind(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		first := b.stack("reg:1", StoreConfig{}, nil)
		first.publish(t, arith, 10, shape{endpoints: two(), timeout: 10 * time.Second})
		first.store.SetReady()
		var seen atomic.Int64
		seen.Store(5)
		second := b.stack("reg:2", StoreConfig{Seen: func() policy.AsOf {
			return policy.NewAsOf(policy.KindRevision{Kind: "Thing", Seen: uint64(seen.Load())})
		}}, nil)
		second.publish(t, arith, 5, shape{endpoints: two(), timeout: 5 * time.Second})
		second.store.SetReady()
		b.net.serve("reg:2", nil)
		r := b.watch(b.client(registry.Config{Addresses: []string{"reg:1", "reg:2"}}), arith, policy.Caller)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		r.take()
		if got := describe(r.snapshot()); got != "a=0 b=0 timeout 10s" {
			t.Fatalf("got %s", got)
		}
		b.net.serve("reg:1", nil)
		b.net.serve("reg:2", second.front)
		time.Sleep(10 * time.Second)
		expect(t, r, "ambient", "a=0 b=0 timeout 10s")
		var behind *registry.BehindError
		if err := r.problem(); !errors.As(err, &behind) {
			t.Errorf("got %v", err)
		}
		// Another service moves the watermark on; this one had changed back.
		seen.Store(12)
		time.Sleep(time.Second)
		expect(t, r, "changed live", "a=0 b=0 timeout 5s")
	})
}

func TestReplicaThatIsBehindDoesNotDeny(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		first := b.ready()
		var seen atomic.Int64
		second := b.stack("reg:1", StoreConfig{Seen: func() policy.AsOf {
			return policy.NewAsOf(policy.KindRevision{Kind: "Thing", Seen: uint64(seen.Load())})
		}}, nil)
		second.store.SetReady()
		b.net.serve("reg:1", first.front)
		r := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		expect(t, r, "changed live", "")
		b.net.serve("reg:1", nil)
		b.net.serve("reg:1", second.front)
		time.Sleep(10 * time.Second)
		expect(t, r, "ambient", "a=0 b=0 timeout 1s")
		seen.Store(2) // by now it knows better: there is no such service
		time.Sleep(time.Second)
		expect(t, r, "invalid NotFound", "")
	})
}

func TestAnotherEpochIsBelieved(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		first := b.stack("reg:1", StoreConfig{}, nil)
		first.publish(t, arith, 1000, shape{endpoints: two(), timeout: time.Second})
		first.store.SetReady()
		r := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		expect(t, r, "changed live", "")
		b.net.serve("reg:1", nil)
		second := b.stack("reg:1", StoreConfig{Epoch: "epoch-2"}, nil)
		second.publish(t, arith, 1, shape{endpoints: two(), timeout: 2 * time.Second})
		second.store.SetReady()
		time.Sleep(10 * time.Second)
		expect(t, r, "ambient, changed live", "a=0 b=0 timeout 2s")
	})
}

func TestSubscriptionMayChange(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		s.publish(t, "shop/other", 1, shape{endpoints: two(), timeout: 3 * time.Second})
		c := b.client(registry.Config{})
		var first, second, third recorder
		stop := c.Watch(arith, policy.Caller, &first)
		c.Watch("shop/other", policy.Caller, &second)
		expect(t, &first, "changed live", "")
		expect(t, &second, "changed live", "a=0 b=0 timeout 3s")
		stop()
		synctest.Wait()
		if got := s.service.Clients(); len(got) != 1 || got[0].Service != "shop/other" || got[0].Clients != 1 {
			t.Errorf("clients %+v", got)
		}
		c.Watch(arith, policy.Caller, &third)
		expect(t, &third, "changed live", "a=0 b=0 timeout 1s")
		time.Sleep(time.Second)
		s.publish(t, "shop/other", 2, shape{endpoints: two(), timeout: 4 * time.Second})
		expect(t, &second, "changed live", "a=0 b=0 timeout 4s")
		expect(t, &first, "", "")
	})
}

func TestCountsOfClientsAndAcks(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		for i := range 3 {
			b.watch(b.client(registry.Config{Features: []string{"z", "a", "z"}[:1+i], RuntimeVersion: "v1"}), arith, policy.Caller)
		}
		leaver := b.client(registry.Config{})
		b.watch(leaver, arith, policy.Server)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		want := []ClientCount{{arith, policy.Caller, 3}, {arith, policy.Server, 1}}
		if got := s.service.Clients(); !slices.Equal(got, want) {
			t.Errorf("clients %+v", got)
		}
		caller, _ := s.store.Digest(arith, policy.Caller, "web")
		server, _ := s.store.Digest(arith, policy.Server, "web")
		acks := []AckCount{
			{Service: arith, Role: policy.Caller, Namespace: "web", Digest: caller, Features: "a,z", Version: "v1", Clients: 2},
			{Service: arith, Role: policy.Caller, Namespace: "web", Digest: caller, Features: "z", Version: "v1", Clients: 1},
			{Service: arith, Role: policy.Server, Digest: server, Clients: 1},
		}
		if got := s.service.Acks(); !slices.Equal(got, acks) {
			t.Errorf("acks %+v\nwant %+v", got, acks)
		}
		leaver.Close()
		synctest.Wait()
		if got := s.service.Clients(); len(got) != 1 {
			t.Errorf("clients %+v", got)
		}
	})
}

func TestCountOfConnections(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		b.watch(b.client(registry.Config{}), arith, policy.Caller)
		leaver := b.client(registry.Config{})
		for _, service := range []string{arith, "shop/b", "shop/c"} {
			b.watch(leaver, service, policy.Server)
		}
		b.client(registry.Config{OnSelf: func(registry.Self) {}}).SetServing([]string{"10.0.0.1:80"}) // wants nothing but that
		synctest.Wait()
		if got := s.service.Connections(); got != 2 {
			t.Errorf("%d, want 2", got)
		}
		leaver.Close()
		synctest.Wait()
		if got := s.service.Connections(); got != 1 {
			t.Errorf("%d after one has left, want 1", got)
		}
	})
}

func TestSelfIsPushedWhenItChanges(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		var mu sync.Mutex
		zone := "a"
		s.service.cfg.SelfOf = func(i registry.Identity, _ netAddr) registry.Self {
			mu.Lock()
			defer mu.Unlock()
			return registry.Self{Zone: zone, Serves: []registry.Serving{{Service: arith, Port: i.Addresses[0]}}}
		}
		var told []registry.Self
		c := b.client(registry.Config{OnSelf: func(s registry.Self) { told = append(told, s) }})
		c.SetServing([]string{"10.0.0.1:80"})
		synctest.Wait()
		s.service.RefreshSelf() // nothing new
		time.Sleep(time.Second)
		mu.Lock()
		zone = "b"
		mu.Unlock()
		s.service.RefreshSelf()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(told) != 2 || told[0].Zone != "a" || told[1].Zone != "b" || told[1].Serves[0].Port != "10.0.0.1:80" {
			t.Errorf("told %+v", told)
		}
	})
}

// leases is a Registrar that keeps what it was told.
type leases struct {
	mu  sync.Mutex
	log []string
}

func (l *leases) add(parts ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if text := strings.Join(parts, " "); len(l.log) == 0 || l.log[len(l.log)-1] != text {
		l.log = append(l.log, text)
	}
}

func (l *leases) Register(_ uint64, r registry.RegisterRequest) (time.Duration, error) {
	l.add("register", r.Service, r.Address)
	if r.Service != arith {
		return 0, status.New(status.NotFound, "no such service")
	}
	return 15 * time.Second, nil
}
func (l *leases) Leave(_ uint64, service, address string) { l.add("leave", service, address) }
func (l *leases) Lost(uint64)                             { l.add("lost") }

func TestRegistrar(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		l := new(leases)
		s := b.stack("reg:1", StoreConfig{}, l)
		s.store.SetReady()
		c := b.client(registry.Config{})
		var told []error
		tell := func(err error) { told = append(told, err) }
		leave := c.Register(registry.Registration{Service: arith, Address: "10.0.0.1:80", OnError: tell})
		time.Sleep(58 * time.Second)
		b.net.cut("reg:1")
		time.Sleep(58 * time.Second)
		if err := leave(context.Background()); err != nil {
			t.Error(err)
		}
		c.Register(registry.Registration{Service: "shop/other", Address: "10.0.0.1:80", OnError: tell})
		time.Sleep(time.Second)
		c.Register(registry.Registration{Service: "shop/third", Address: "0.0.0.0:80", OnError: tell})
		time.Sleep(time.Second)
		synctest.Wait()
		want := []string{"register shop/arith 10.0.0.1:80", "lost", "register shop/arith 10.0.0.1:80", "leave shop/arith 10.0.0.1:80"}
		if len(l.log) < 4 || !slices.Equal(l.log[:4], want) {
			t.Errorf("got %q", l.log)
		}
		if len(told) != 3 || told[0] != nil || status.CodeOf(told[1]) != status.NotFound || status.CodeOf(told[2]) != status.InvalidArgument {
			t.Errorf("told %v", told)
		}
		// A registry that ends has lost nobody.
		before := len(l.log)
		s.service.Close()
		if slices.Contains(l.log[before:], "lost") {
			t.Errorf("got %q", l.log[before:])
		}
	})
}

func TestRegisterWithoutARegistrar(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		b.ready()
		var told error
		c := b.client(registry.Config{})
		c.Register(registry.Registration{Service: arith, Address: "10.0.0.1:80", OnError: func(err error) { told = err }})
		synctest.Wait()
		if status.CodeOf(told) != status.Unimplemented || !strings.Contains(told.Error(), "EndpointSlice") {
			t.Errorf("told %v", told)
		}
	})
}

func TestSubscribeBounds(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		b.watch(b.client(registry.Config{}), arith, policy.Caller)
		conn := b.net.last("reg:1")
		s.service.cfg.MaxSubscriptions = 3
		sub := func(names ...string) *registry.SubscribeRequest {
			req := new(registry.SubscribeRequest)
			for _, n := range names {
				req.Services = append(req.Services, registry.Subscription{Service: n, Role: policy.Caller})
			}
			return req
		}
		for _, tt := range []struct {
			name string
			req  *registry.SubscribeRequest
			code status.Code
		}{
			{"too many", sub("a/a", "b/b", "c/c", "d/d"), status.ResourceExhausted},
			{"one twice", sub("a/a", "a/a"), status.InvalidArgument},
		} {
			if _, err := s.service.Subscribe(t.Context(), conn, tt.req); status.CodeOf(err) != tt.code {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		req := sub(arith, "arith")
		req.Services = append(req.Services, registry.Subscription{Service: arith, Role: "Boss"})
		reply, err := s.service.Subscribe(t.Context(), conn, req)
		if err != nil || len(reply.Accepted) != 1 || len(reply.Refused) != 2 {
			t.Fatalf("got %+v, %v", reply, err)
		}
		for _, r := range reply.Refused {
			if r.Reason != registry.ReasonInvalid || r.Message == "" {
				t.Errorf("refused %+v", r)
			}
		}
		if _, err := s.service.Subscribe(t.Context(), conn, sub()); err != nil {
			t.Fatal(err)
		}
		s.remove(arith, 9)
		s.store.mu.Lock()
		defer s.store.mu.Unlock()
		if len(s.store.entries) != 0 {
			t.Errorf("%d entries are left, nobody needs them", len(s.store.entries))
		}
	})
}

func TestDrainMovesClientsOn(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		first, second := b.ready(), b.stack("reg:2", StoreConfig{}, nil)
		second.publish(t, arith, 1, shape{endpoints: two(), timeout: time.Second})
		second.store.SetReady()
		r := b.watch(b.client(registry.Config{Addresses: []string{"reg:1", "reg:2"}}), arith, policy.Caller)
		expect(t, r, "changed live", "")
		for range 5 {
			b.net.drain("reg:1")
			b.net.drain("reg:2")
			time.Sleep(20 * time.Second)
			synctest.Wait()
		}
		r.take()
		second.publish(t, arith, 2, shape{endpoints: two(), timeout: 2 * time.Second})
		first.publish(t, arith, 2, shape{endpoints: two(), timeout: 2 * time.Second})
		expect(t, r, "changed live", "a=0 b=0 timeout 2s")
	})
}

func TestMissingOnTheClientIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		r := b.watch(b.client(registry.Config{}), arith, policy.Caller)
		expect(t, r, "changed live", "")
		// The cursor is wrong: it says that more was sent than was.
		s.service.mu.Lock()
		for _, sub := range s.service.subscribers {
			sub.mu.Lock()
			for _, one := range sub.subs {
				for _, p := range (shape{endpoints: two(), timeout: 5 * time.Second}).parts(t) {
					one.sent = append(one.sent, policy.PartDigest{Name: p.Name, Digest: p.Digest})
				}
			}
			sub.mu.Unlock()
		}
		s.service.mu.Unlock()
		s.publish(t, arith, 2, shape{endpoints: two(), timeout: 5 * time.Second})
		time.Sleep(5 * time.Second)
		expect(t, r, "changed live", "a=0 b=0 timeout 5s")
	})
}
