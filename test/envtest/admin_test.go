// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// held asks an admin port what clients hold of a service.
func held(t *testing.T, address, service string) publish.Held {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/clients?service="+service, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var out publish.Held
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", response.Status, err)
	}
	return out
}

// TestAdminPort has clients at two replicas, each of which tells of its own: who
// they are, what they hold, and whether that is what is served. A client that
// does not take a change is told apart from the others.
func TestAdminPort(t *testing.T) {
	s := common.space(t)
	others := &peers{}
	ports := make(chan string, 2)
	open := func(o *controllers.Options) {
		o.Peers, o.CountInterval, o.AdminAddress = others.get, 100*time.Millisecond, "127.0.0.1:0"
		o.AdminListening = func(a net.Addr) { ports <- a.String() }
	}
	one := common.run(t, open)
	first := <-ports
	two := common.run(t, open)
	second := <-ports
	others.set(one.address, two.address)
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)), callPolicy("cart", "cart", timeout("1s")))
	service := s.name + "/cart"
	subscribe := func(name string, registries ...string) *registry.Client {
		c := registry.New(registry.Config{
			Addresses: registries, RuntimeVersion: "v7",
			Identity: registry.Identity{Namespace: "web", App: "checkout", Pod: name, PodUID: "uid-" + name},
		})
		t.Cleanup(c.Close)
		t.Cleanup(c.Watch(service, policy.Caller, &seen{}))
		return c
	}
	subscribe("checkout-1", one.address)
	mover := subscribe("checkout-2", one.address)
	subscribe("checkout-3", two.address)

	policies := map[string]bool{}
	want := func(address string, pods ...string) {
		t.Helper()
		eventually(t, func() error {
			got := held(t, address, service)
			if len(got.Clients) != len(pods) || len(got.Served) != 1 || got.Served[0].Digest == "" || got.Served[0].Namespace != "web" {
				return fmt.Errorf("%+v", got)
			}
			for i, c := range got.Clients {
				if c.Pod != pods[i] || c.Namespace != "web" || c.App != "checkout" || c.Version != "v7" || c.Instance == "" || c.Proven || len(c.Holds) != 1 {
					return fmt.Errorf("client %d is %+v, want %s", i, c, pods[i])
				}
				if h := c.Holds[0]; !h.Current || h.Digest != got.Served[0].Digest || h.Policy != got.Served[0].Policy || h.Since.IsZero() || h.Since.After(got.At) {
					return fmt.Errorf("%s holds %+v, and is served %+v", c.Pod, h, got.Served[0])
				}
			}
			policies[got.Served[0].Policy] = true
			return nil
		})
	}
	want(first, "checkout-1", "checkout-2")
	want(second, "checkout-3")
	if a, b := held(t, first, service).Replica, held(t, second, service).Replica; a == b || a == "" {
		t.Errorf("replicas %q and %q", a, b)
	}
	if len(policies) != 1 {
		t.Errorf("policies %v, want one at both replicas", policies)
	}
	changed, later := callPolicy("cart", "cart", timeout("1s")), v1alpha1.Duration("2s")
	changed.Namespace = s.name
	s.update(changed, func() { changed.Spec.Timeout = &later })
	eventually(t, func() error {
		if now := held(t, first, service).Served[0].Policy; policies[now] {
			return fmt.Errorf("still %s", now)
		}
		return nil
	})
	want(first, "checkout-1", "checkout-2")
	mover.Close()
	want(first, "checkout-1")
	if n := one.value(t, "fairlead_admin_requests_total", "200"); n == 0 {
		t.Error("requests are not counted")
	}
	one.end(t)
	if conn, err := net.DialTimeout("tcp", first, time.Second); err == nil {
		_ = conn.Close()
		t.Error("the admin port is open after the operator's end")
	}
}
