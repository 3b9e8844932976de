// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// identified makes a client that watches shop/arith.
func (b *world) identified(namespace, pod string, cfg registry.Config) *registry.Client {
	cfg.Identity = registry.Identity{Namespace: namespace, Pod: pod, PodUID: "uid-" + pod, App: "checkout"}
	cfg.RuntimeVersion = "v1"
	c := b.client(cfg)
	b.watch(c, arith, policy.Caller)
	return c
}

// TestHeld has callers in two namespaces and an instance; the policy changes, and
// then the endpoints.
func TestHeld(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		began := time.Now()
		b.identified("web", "checkout-1", registry.Config{})
		b.identified("web", "checkout-2", registry.Config{})
		b.identified("other", "x-1", registry.Config{})
		server := b.client(registry.Config{Identity: registry.Identity{Pod: "arith-1"}})
		b.watch(server, arith, policy.Server)
		b.watch(server, "shop/ledger", policy.Caller) // which there is not
		time.Sleep(5 * time.Second)
		synctest.Wait()

		got := s.service.Held(HeldQuery{Services: []string{arith}})
		digest, _ := s.store.Digest(arith, policy.Caller, "web")
		if len(got.Clients) != 4 || len(got.Served) != 3 || got.LeftOut != 0 || !got.At.Equal(time.Now()) {
			t.Fatalf("got %+v", got)
		}
		if v := got.Served[0]; v.Service != arith || v.Role != policy.Caller || v.Namespace != "other" || v.Digest != digest.String() {
			t.Errorf("served %+v, want %s", v, digest)
		}
		var c HeldClient
		instances := map[string]bool{}
		for i := range got.Clients {
			instances[got.Clients[i].Instance] = true
			if got.Clients[i].Pod == "checkout-1" {
				c = got.Clients[i]
			}
			for _, h := range got.Clients[i].Holds {
				if h.Service != arith || !h.Current || h.Digest == "" || h.Policy == "" || h.Since.Before(began) || h.Since.After(began.Add(5*time.Second)) {
					t.Errorf("%s holds %+v", got.Clients[i].Pod, h)
				}
			}
		}
		if c.Namespace != "web" || c.PodUID != "uid-checkout-1" || c.App != "checkout" || c.Version != "v1" || c.Instance == "" || c.Proven || c.Address == "" || !c.Since.Equal(began) {
			t.Errorf("checkout-1 is %+v", c)
		}

		if len(instances) != 4 {
			t.Errorf("instances %v, want 4", instances)
		}

		// Endpoints change, and the policy does not.
		before := heldBy(t, s, "checkout-1")
		endpoints := two()
		endpoints["c"] = policy.Ready
		s.publish(t, arith, 2, shape{endpoints: endpoints, timeout: time.Second})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		after := heldBy(t, s, "checkout-1")
		if after.Digest == before.Digest || after.Policy != before.Policy || !after.Since.After(before.Since) || !after.Current {
			t.Errorf("after other endpoints %+v, before %+v", after, before)
		}
		// The policy changes.
		s.publish(t, arith, 3, shape{endpoints: endpoints, timeout: 2 * time.Second})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if changed := heldBy(t, s, "checkout-1"); changed.Policy == after.Policy || changed.Policy != servedTo(t, s, "web").Policy {
			t.Errorf("after another policy %+v, before %+v", changed, after)
		}
		if text, err := json.Marshal(s.service.Held(HeldQuery{})); err != nil || !strings.Contains(string(text), `"service":"shop/ledger"`) {
			t.Errorf("all: %s, %v", text, err)
		}
		if got := s.service.Held(HeldQuery{Namespace: "elsewhere"}); len(got.Clients) != 0 || len(got.Served) != 0 {
			t.Errorf("elsewhere: %+v", got)
		}
	})
}

// TestHeldIsBounded: what is too much is counted, and not listed; who is refused
// is no client.
func TestHeldIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		for _, pod := range []string{"a", "b", "c"} {
			b.identified("web", pod, registry.Config{})
		}
		synctest.Wait()
		for most, want := range map[int]int{0: 0, 1: 1, 3: 3, 10: 3} {
			if got := s.service.heldUpTo(HeldQuery{}, most); len(got.Clients) != want || got.LeftOut != 3-want {
				t.Errorf("at most %d: %d listed, %d left out", most, len(got.Clients), got.LeftOut)
			}
		}
		s.publish(t, arith, 2, shape{endpoints: two(), timeout: time.Second, consumers: []string{"other"}})
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.service.Held(HeldQuery{}); len(got.Clients) != 0 {
			t.Errorf("refused, and listed: %+v", got.Clients)
		}
	})
}

// heldBy gives what the client in a Pod holds of shop/arith.
func heldBy(t *testing.T, s *stack, pod string) Holding {
	t.Helper()
	for _, c := range s.service.Held(HeldQuery{Services: []string{arith}, Namespace: "shop"}).Clients {
		if c.Pod == pod && len(c.Holds) == 1 {
			return c.Holds[0]
		}
	}
	t.Fatalf("%s holds nothing", pod)
	return Holding{}
}

func servedTo(t *testing.T, s *stack, namespace string) Served {
	t.Helper()
	for _, v := range s.service.Held(HeldQuery{}).Served {
		if v.Service == arith && v.Namespace == namespace {
			return v
		}
	}
	t.Fatalf("nothing is served to %s", namespace)
	return Served{}
}

// TestHeldByTheLate: a client that does not say that it has a change does not
// have it, and one that comes with what it holds has its policy, whatever became
// of the endpoints.
func TestHeldByTheLate(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		b.identified("web", "checkout-1", registry.Config{})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		first, before := heldBy(t, s, "checkout-1"), s.service.Held(HeldQuery{}).Clients[0]
		b.net.serve("reg:1", nil) // it is cut off, and the endpoints change meanwhile
		s.publish(t, arith, 2, shape{endpoints: map[string]policy.EndpointState{"z": policy.Ready}, timeout: time.Second})
		time.Sleep(5 * time.Second)
		b.net.serve("reg:1", s.front)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if back := heldBy(t, s, "checkout-1"); back.Policy != first.Policy || !back.Current {
			t.Errorf("back with %+v, before %+v", back, first)
		}
		if after := s.service.Held(HeldQuery{}).Clients[0]; after.Instance != before.Instance || !after.Since.After(before.Since) {
			t.Errorf("back as %+v, before %+v", after, before)
		}

		// What a client says that it holds counts, and nothing else.
		sub := &subscription{}
		parts := []policy.PartDigest{{Name: policy.PartEndpoints, Digest: policy.Digest{1}}, {Name: policy.PartOwner, Digest: policy.Digest{2}}}
		sub.hold(policy.ServiceDigest(parts), parts)
		known := sub.ackedPolicy
		if known != PolicyDigest(parts) || known.IsZero() || sub.ackedAt.IsZero() {
			t.Errorf("%+v", sub)
		}
		at := sub.ackedAt
		time.Sleep(time.Second)
		sub.hold(sub.acked, nil)
		if !sub.ackedAt.Equal(at) || sub.ackedPolicy != known {
			t.Errorf("the same again: %+v", sub)
		}
		sub.hold(policy.Digest{9}, parts) // the parts that were sent are not those that it holds
		if sub.ackedPolicy != known || sub.ackedAt.Equal(at) {
			t.Errorf("of something else: %+v", sub)
		}
		sub.hold(policy.Digest{}, parts)
		if !sub.ackedPolicy.IsZero() {
			t.Errorf("of nothing: %+v", sub)
		}
	})
}

// TestHeldIsProven: what a token proves counts, and not what is declared.
func TestHeldIsProven(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.guarded(passes{"good": {Namespace: "web", ServiceAccount: "checkout", Pod: "checkout-1", PodUID: "u1"}})
		c := b.client(registry.Config{
			Identity: registry.Identity{Namespace: "web", Pod: "mighty", App: strings.Repeat("a", 1000)},
			Token:    func(context.Context) (string, error) { return "good", nil },
		})
		b.watch(c, arith, policy.Caller)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		got := s.service.Held(HeldQuery{}).Clients
		if len(got) != 1 || !got[0].Proven || got[0].Namespace != "web" || got[0].Pod != "checkout-1" || got[0].PodUID != "u1" || got[0].ServiceAccount != "checkout" {
			t.Fatalf("got %+v", got)
		}
		if len(got[0].App) > maxDeclared+3 {
			t.Errorf("an App of %d bytes", len(got[0].App))
		}
		if text, _ := json.Marshal(got); strings.Contains(string(text), "good") {
			t.Errorf("the token is told: %s", text)
		}
	})
}
