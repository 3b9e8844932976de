// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// clientsOf gives what an object's status says of clients: CURRENT/TOTAL, or
// nothing.
func clientsOf(s *space, kind, name string) string {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	o.SetNamespace(s.name)
	o.SetName(name)
	s.get(o)
	text, err := json.Marshal(o.Object["status"])
	if err != nil {
		s.t.Fatal(err)
	}
	var status struct{ Clients *v1alpha1.ClientCount }
	if err := json.Unmarshal(text, &status); err != nil {
		s.t.Fatal(err)
	}
	if status.Clients == nil {
		return ""
	}
	return fmt.Sprintf("%d/%d", status.Clients.Current, status.Clients.Total)
}

func wantClients(t *testing.T, s *space, kind, name, want string) {
	t.Helper()
	eventually(t, func() error {
		if got := clientsOf(s, kind, name); got != want {
			return fmt.Errorf("%s %s has clients %q, want %q", kind, name, got, want)
		}
		return nil
	})
}

// peers are addresses that a test may change.
type peers struct {
	mu  sync.Mutex
	all []string
}

func (p *peers) get() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all
}

func (p *peers) set(all ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = all
}

// TestClientsAreCountedOverReplicas has clients at two replicas, and the one that
// writes statuses end. What the statuses say of them is right, or absent.
func TestClientsAreCountedOverReplicas(t *testing.T) {
	const clients = 5
	s := common.space(t)
	others := &peers{}
	counting := func(o *controllers.Options) { o.Peers, o.CountInterval = others.get, 100*time.Millisecond }
	a, b := common.run(t, counting), common.run(t, counting)
	others.set(a.address, b.address)
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)), callPolicy("cart", "cart", timeout("1s")))
	wantCondition(t, s, v1alpha1.KindRPCCallPolicy, "cart", v1alpha1.ConditionHonoured, "Unknown/NoClients")
	// A client is at the first replica as long as that is there.
	subscribe := func(features []string, version string, registries ...string) {
		c := registry.New(registry.Config{
			Addresses: registries, Identity: registry.Identity{Namespace: s.name}, Features: features, RuntimeVersion: version,
			Dial: func(ctx context.Context, _ string) (conn net.Conn, err error) {
				for _, address := range registries {
					if conn, err = new(net.Dialer).DialContext(ctx, "tcp", address); err == nil {
						return conn, nil
					}
				}
				return nil, err
			},
		})
		t.Cleanup(c.Close)
		wantEndpoints(t, watch(t, c, s.full("cart")), "0.2=ready")
	}
	for i := range clients {
		at := []string{a.address, b.address, a.address}[i%2:][:2]
		subscribe([]string{"timeout"}, "v1", at...)
	}
	for _, kind := range []string{v1alpha1.KindRPCService, v1alpha1.KindRPCCallPolicy} {
		wantClients(t, s, kind, "cart", "5/5")
		wantCondition(t, s, kind, "cart", v1alpha1.ConditionHonoured, "True/AllClients")
	}
	subscribe(nil, "v0.1", a.address, b.address)
	old := wantCondition(t, s, v1alpha1.KindRPCCallPolicy, "cart", v1alpha1.ConditionHonoured, "False/ClientsTooOld")
	if !strings.Contains(old.Message, "timeout") || !strings.Contains(old.Message, "1 of 6") || !strings.Contains(old.Message, "v0.1") {
		t.Errorf("the message names neither field, number nor version: %s", old.Message)
	}
	wantClients(t, s, v1alpha1.KindRPCCallPolicy, "cart", "6/6")
	if x, y := a.value(t, "fairlead_registry_clients"), b.value(t, "fairlead_registry_clients"); x != 4 || y != 2 {
		t.Errorf("the replicas have %v and %v clients, want 4 and 2", x, y)
	}

	leader, heir := a, b
	if b.value(t, "fairlead_lease_held") == 1 {
		leader, heir = b, a
	}
	leader.end(t)
	// From now on the number is absent until it is whole again.
	right := func() error {
		if got := clientsOf(s, v1alpha1.KindRPCCallPolicy, "cart"); got != "" && !strings.HasSuffix(got, "/6") {
			t.Errorf("while a replica is away, the status says %s", got)
		}
		return nil
	}
	eventually(t, func() error {
		if n := heir.value(t, "fairlead_registry_clients"); n != clients+1 {
			return errors.Join(right(), fmt.Errorf("%v clients have come", n))
		}
		return right()
	})
	eventually(t, func() error {
		if got := clientsOf(s, v1alpha1.KindRPCCallPolicy, "cart"); got != "" {
			return errors.Join(right(), fmt.Errorf("the status still says %s, though a replica cannot be reached", got))
		}
		return nil
	})
	others.set(heir.address)
	eventually(t, func() error {
		if got := clientsOf(s, v1alpha1.KindRPCCallPolicy, "cart"); got != "6/6" {
			return errors.Join(right(), fmt.Errorf("the status says %q", got))
		}
		return nil
	})
	wantCondition(t, s, v1alpha1.KindRPCCallPolicy, "cart", v1alpha1.ConditionHonoured, "False/ClientsTooOld")
}

// TestConsumersByLabel has the label of a namespace let its callers in.
func TestConsumersByLabel(t *testing.T) {
	owner, callers := common.space(t, "owner"), common.space(t, "callers")
	operator := common.run(t)
	service := rpcService("cart")
	service.Spec.Consumers = &v1alpha1.Consumers{Namespaces: v1alpha1.ConsumerNamespaces{
		From: v1alpha1.FromSelector, Selector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{"cart": "yes"}},
	}}
	caller := callPolicy("ours", "cart", timeout("700ms"))
	caller.Spec.TargetRefs[0].Namespace = &owner.name
	owner.create(kubeService("cart"), service, slice("cart-1", "cart", pod(1)))
	callers.create(caller)
	wantCondition(t, callers, v1alpha1.KindRPCCallPolicy, "ours", v1alpha1.ConditionResolvedRefs, "False/RefNotPermitted")
	wantEndpoints(t, watch(t, newWatch(t, owner.name, operator.address), owner.full("cart")), "0.2=ready")
	got := watch(t, newWatch(t, callers.name, operator.address), owner.full("cart"))
	eventually(t, func() error {
		if _, _, _, trouble := got.counts(); trouble == 0 {
			return errors.New("the caller is not refused")
		}
		return nil
	})
	if got.last() != nil {
		t.Fatal("a caller was told of a service that it may not see")
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: callers.name}}
	label := func(value string) {
		t.Helper()
		if err := common.admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace); err != nil {
			t.Fatal(err)
		}
		namespace.Labels["cart"] = value
		if err := common.admin.Update(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
	}
	label("yes")
	wantEndpoints(t, got, "0.2=ready")
	wantEffective(t, got, 700*time.Millisecond, 2)
	wantCondition(t, callers, v1alpha1.KindRPCCallPolicy, "ours", v1alpha1.ConditionReady, "True/Ready")
	label("no")
	wantCondition(t, callers, v1alpha1.KindRPCCallPolicy, "ours", v1alpha1.ConditionResolvedRefs, "False/RefNotPermitted")
	_, _, _, before := got.counts()
	eventually(t, func() error {
		if _, _, _, trouble := got.counts(); trouble < before || trouble < 2 {
			return errors.New("the caller is not told that it is shut out")
		}
		return nil
	})
}
