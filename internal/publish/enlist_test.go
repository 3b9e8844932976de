// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/transport"
)

// wakes says which connection was woken when.
type wakes struct {
	name string
	log  *[]string
}

func (w wakes) Wake() { *w.log = append(*w.log, w.name) }

// order makes subscribers without connections, and gives the log of their wakes:
// a caller of arith, and an instance with what it declares of itself.
func order(t *testing.T, s *stack, who registry.Identity) (log *[]string, server *subscriber) {
	t.Helper()
	log = new([]string)
	add := func(name string) *subscriber {
		sub := &subscriber{store: s.store, conn: wakes{name, log}, subs: make(map[registry.ServiceRole]*subscription)}
		s.service.mu.Lock()
		s.service.subscribers[new(transport.ServerConn)] = sub
		s.service.mu.Unlock()
		return sub
	}
	caller, server := add("caller"), add("server")
	if _, err := caller.replace(&registry.SubscribeRequest{Services: []registry.Subscription{{Service: arith, Role: policy.Caller}}}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := server.replace(&registry.SubscribeRequest{Identity: who}, ""); err != nil {
		t.Fatal(err)
	}
	server.setSelf(registry.Self{Serves: []registry.Serving{{Service: "shop/a", Port: "80"}, {Service: "shop/z", Port: "80"}}}, false)
	caller.Next()
	*log = nil
	return log, server
}

func TestInstancesLearnBeforeCallers(t *testing.T) {
	pod := policy.Endpoint{ID: "uid:80", PodUID: "uid", Addresses: []string{"10.0.0.1:80", "[fd00::1]:80"}}
	bare := policy.Endpoint{ID: "10.0.0.1:80", Addresses: []string{"10.0.0.1:80"}}
	for name, c := range map[string]struct {
		endpoint policy.Endpoint
		who      registry.Identity
		is       bool
	}{
		"by Pod":                  {pod, registry.Identity{PodUID: "uid", Addresses: []string{"10.9.9.9:80"}}, true},
		"by address and port":     {bare, registry.Identity{Addresses: []string{"10.0.0.1:80"}}, true},
		"by address":              {bare, registry.Identity{Addresses: []string{"10.0.0.1"}}, true},
		"by the second address":   {pod, registry.Identity{Addresses: []string{"[fd00::1]:80"}}, true},
		"another Pod there":       {pod, registry.Identity{PodUID: "other", Addresses: []string{"10.0.0.1:80"}}, false},
		"a Pod that is not named": {bare, registry.Identity{PodUID: "uid", Addresses: []string{"10.0.0.1:80"}}, true},
		"a Pod at another port":   {bare, registry.Identity{PodUID: "uid", Addresses: []string{"10.0.0.1:81"}}, false},
		"another port":            {bare, registry.Identity{Addresses: []string{"10.0.0.1:81"}}, false},
		"one that says nothing":   {bare, registry.Identity{}, false},
		"one at another address":  {bare, registry.Identity{Addresses: []string{"10.0.0.2:80"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStack(t, StoreConfig{}, nil)
			defer s.close()
			s.store.SetReady()
			log, server := order(t, s, c.who)
			part, err := policy.EncodeEndpoints([]policy.Endpoint{c.endpoint})
			if err != nil {
				t.Fatal(err)
			}
			parts := shape{}.parts(t)
			parts[0] = part
			if err := s.store.Publish(Change{Service: arith, Parts: parts, AsOf: asOf(1)}); err != nil {
				t.Fatal(err)
			}
			want := []string{"caller"}
			serves := []registry.Serving{{Service: "shop/a", Port: "80"}, {Service: "shop/z", Port: "80"}}
			if c.is {
				want = []string{"server", "caller"}
				serves = slices.Insert(serves, 1, registry.Serving{Service: arith, Port: "80"})
			}
			if !slices.Equal(*log, want) {
				t.Errorf("woken in the order %q, want %q", *log, want)
			}
			if !slices.Equal(server.self.Serves, serves) || server.selfDue != c.is {
				t.Errorf("self says %+v, to be sent: %v; want %+v", server.self.Serves, server.selfDue, serves)
			}
		})
	}
}

// What has not changed costs nothing, and what goes is not for the instance yet.
func TestOnlyNewEndpointsAreEnlisted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStack(t, StoreConfig{}, nil)
		defer s.close()
		s.store.SetReady()
		log, server := order(t, s, registry.Identity{Addresses: []string{"10.0.0.1:80"}})
		this := policy.Endpoint{ID: "a", Addresses: []string{"10.0.0.1:80"}}
		other := policy.Endpoint{ID: "b", Addresses: []string{"10.0.0.2:80"}}
		for i, step := range []struct {
			endpoints []policy.Endpoint
			timeout   time.Duration
			told      bool
		}{
			{[]policy.Endpoint{this}, 0, true},
			{[]policy.Endpoint{this}, time.Second, false},
			{[]policy.Endpoint{this, other}, time.Second, false},
			{[]policy.Endpoint{other}, time.Second, false},
			{[]policy.Endpoint{other, this}, time.Second, true},
		} {
			time.Sleep(time.Second) // nothing is held back
			server.setSelf(registry.Self{}, false)
			*log = nil
			parts := shape{timeout: step.timeout}.parts(t)
			var err error
			if parts[0], err = policy.EncodeEndpoints(step.endpoints); err != nil {
				t.Fatal(err)
			}
			if err := s.store.Publish(Change{Service: arith, Parts: parts, AsOf: asOf(uint64(i) + 1)}); err != nil {
				t.Fatal(err)
			}
			if told := len(server.self.Serves) > 0; told != step.told || told != slices.Contains(*log, "server") {
				t.Errorf("step %d: told %v, want %v; woken %q", i, told, step.told, *log)
			}
		}
	})
}

// It goes over the connection without anybody asking for it, and what is known
// of the subscriber from then on is not sent again.
func TestEnlistedOverAConnection(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		var serves []registry.Serving
		s.service.cfg.SelfOf = func(registry.Identity, net.Addr) registry.Self { return registry.Self{Serves: serves} }
		var told []registry.Self
		c := b.client(registry.Config{OnSelf: func(self registry.Self) { told = append(told, self) }})
		c.SetServing([]string{"10.0.0.1:80"})
		synctest.Wait()
		at := time.Now()
		s.publish(t, "shop/other", 2, shape{endpoints: two()})
		synctest.Wait()
		want := []registry.Serving{{Service: "shop/other", Port: "80"}}
		if n := len(told); n == 0 || !slices.Equal(told[n-1].Serves, want) || !time.Now().Equal(at) {
			t.Fatalf("told %+v after %s", told, time.Since(at))
		}
		serves = want
		n := len(told)
		s.service.RefreshSelf()
		time.Sleep(time.Second)
		synctest.Wait()
		if len(told) != n {
			t.Errorf("told again: %+v", told[n:])
		}
	})
}
