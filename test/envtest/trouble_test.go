// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers"
)

// TestDefinitionDeleted deletes our definitions under a caller, which takes all
// objects with them: nothing is gone, policies stay in force, endpoints are
// followed. When they are back, deletions count again.
func TestDefinitionDeleted(t *testing.T) {
	c := ownCluster(t)
	s := c.space(t)
	operator := c.run(t)
	got := watch(t, newWatch(t, s.name, operator.address), s.full("cart"))
	slices := slice("cart-1", "cart", pod(1))
	s.create(kubeService("cart"), rpcService("cart", idempotent("Cart.Get")), slices, callPolicy("cart", "cart", timeout("2s")))
	wantEndpoints(t, got, "0.2=ready")
	wantEffective(t, got, 2*time.Second, 2)
	before := got.bad()

	var definitions apiextensionsv1.CustomResourceDefinitionList
	if err := c.admin.List(t.Context(), &definitions); err != nil {
		t.Fatal(err)
	}
	for i := range definitions.Items {
		if err := c.admin.Delete(t.Context(), &definitions.Items[i]); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []string{v1alpha1.KindRPCService, v1alpha1.KindRPCCallPolicy} {
		eventually(t, func() error {
			if n := operator.value(t, "fairlead_gone_held_back_total", kind); n == 0 {
				return fmt.Errorf("no deletion of kind %s was held back", kind)
			}
			return nil
		})
	}
	s.update(slices, func() { slices.Endpoints = []discoveryv1.Endpoint{pod(1), pod(2)} })
	wantEndpoints(t, got, "0.2=ready 0.3=ready")
	wantEffective(t, got, 2*time.Second, 2)
	if got.bad() != before {
		t.Errorf("a caller was told: gone %v, unknown %v, trouble %v", got.gone, got.unknown, got.trouble)
	}

	eventually(t, func() error {
		for i := range definitions.Items {
			if err := c.admin.Get(t.Context(), client.ObjectKeyFromObject(&definitions.Items[i]), &apiextensionsv1.CustomResourceDefinition{}); !apierrors.IsNotFound(err) {
				return errors.Join(errors.New(definitions.Items[i].Name+" is still there"), err)
			}
		}
		return nil
	})
	if _, err := envtest.InstallCRDs(c.env.Config, envtest.CRDInstallOptions{Paths: []string{root("config", "crd", "bases")}}); err != nil {
		t.Fatal(err)
	}
	again := rpcService("cart")
	s.create(again)
	within(t, 2*time.Minute, func() error { // the watch comes back with backoff
		if last := got.last(); len(last.Methods.Declared) != 0 {
			return errors.New("the new object is not published")
		}
		return nil
	})
	s.delete(again)
	eventually(t, func() error {
		if _, gone, _, _ := got.counts(); gone == 0 {
			return errors.New("a deletion that is meant is not believed")
		}
		return nil
	})
}

// TestTwoReplicas takes the Lease away from one replica and gives it to another:
// who writes statuses changes, and nothing else.
func TestTwoReplicas(t *testing.T) {
	s := common.space(t)
	named := func(identity string) func(*controllers.Options) {
		return func(o *controllers.Options) { o.Identity = identity }
	}
	first := common.run(t, named("first"))
	holds := func(r *replica, want float64) {
		t.Helper()
		eventually(t, func() error {
			if got := r.value(t, "fairlead_lease_held"); got != want {
				return fmt.Errorf("holds the Lease: %v, want %v", got, want)
			}
			return nil
		})
	}
	holds(first, 1)
	second := common.run(t, named("second"))
	atFirst, atSecond := watch(t, newWatch(t, s.name, first.address), s.full("cart")), watch(t, newWatch(t, s.name, second.address), s.full("cart"))
	slices := slice("cart-1", "cart", pod(1))
	s.create(kubeService("cart"), rpcService("cart"), slices)
	wantEndpoints(t, atFirst, "0.2=ready")
	wantEndpoints(t, atSecond, "0.2=ready")
	bad := atFirst.bad() + atSecond.bad()
	if a, b := atFirst.last(), atSecond.last(); a.Digest != b.Digest || a.Epoch != b.Epoch {
		t.Errorf("replicas do not agree: %s of %s, %s of %s", a.Digest.Short(), a.Epoch, b.Digest.Short(), b.Epoch)
	}
	wantCondition(t, s, v1alpha1.KindRPCService, "cart", v1alpha1.ConditionEndpointsAvailable, "True/EndpointsReady")
	if n := second.value(t, "fairlead_status_writes_total"); n != 0 {
		t.Errorf("the second replica has written %v statuses without the Lease", n)
	}

	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "status-" + namespaceOf(t)}}
	eventually(t, func() error { // the holder renews it meanwhile
		if err := common.admin.Get(t.Context(), client.ObjectKeyFromObject(lease), lease); err != nil {
			return err
		}
		other, now := "second", metav1.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.RenewTime = &other, &now
		return common.admin.Update(t.Context(), lease)
	})
	holds(first, 0)
	holds(second, 1)
	before := first.value(t, "fairlead_status_writes_total")
	s.update(slices, func() { slices.Endpoints = []discoveryv1.Endpoint{conditioned(pod(1), false, false, false)} })
	wantCondition(t, s, v1alpha1.KindRPCService, "cart", v1alpha1.ConditionEndpointsAvailable, "False/NoReadyEndpoints")
	wantEndpoints(t, atFirst, "0.2=suspect")
	wantEndpoints(t, atSecond, "0.2=suspect")
	if n := first.value(t, "fairlead_status_writes_total") - before; n != 0 {
		t.Errorf("the first replica has written %v statuses after it lost the Lease", n)
	}
	if atFirst.bad()+atSecond.bad() != bad {
		t.Errorf("a stream has had trouble: %v %v", atFirst.trouble, atSecond.trouble)
	}
}

// TestReplicaStops ends one of two replicas: its clients go to the other without
// losing anything.
func TestReplicaStops(t *testing.T) {
	s := common.space(t)
	first, second := common.run(t), common.run(t)
	slices := slice("cart-1", "cart", pod(1))
	s.create(kubeService("cart"), rpcService("cart"), slices)
	caller := newWatch(t, s.name, first.address, second.address)
	got := watch(t, caller, s.full("cart"))
	wantEndpoints(t, got, "0.2=ready")
	_, gone, unknown, _ := got.counts()
	stopping := first
	if caller.Status().Address == second.address {
		stopping = second
	}
	stopping.end(t)
	s.update(slices, func() { slices.Endpoints = []discoveryv1.Endpoint{pod(2)} })
	wantEndpoints(t, got, "0.3=ready")
	if _, goneNow, unknownNow, _ := got.counts(); goneNow != gone || unknownNow != unknown {
		t.Error("the service was said to be gone")
	}
}

// TestAPIServerStopped takes the API server away: streams stay, newcomers are
// served, and the replica stays ready.
func TestAPIServerStopped(t *testing.T) {
	c := ownCluster(t, func(e *envtest.Environment) {
		// A server that stops waits this long for the end of watches.
		e.ControlPlane.GetAPIServer().Configure().Append("request-timeout", "3s")
		// With a folder of ours for them its certificates stay.
		e.ControlPlane.GetAPIServer().CertDir = t.TempDir()
	})
	s := c.space(t)
	health := freeAddress(t)
	operator := c.run(t, func(o *controllers.Options) { o.HealthAddress = health })
	caller := newWatch(t, s.name, operator.address)
	got := watch(t, caller, s.full("cart"))
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)))
	wantEndpoints(t, got, "0.2=ready")
	before := got.bad()
	if err := c.env.ControlPlane.APIServer.Stop(); err != nil {
		t.Fatal(err)
	}
	// By the time that the Lease is lost, everything has noticed.
	eventually(t, func() error {
		if operator.value(t, "fairlead_lease_held") != 0 {
			return errors.New("still holds the Lease")
		}
		return nil
	})
	for _, path := range []string{"/healthz", "/readyz"} {
		if code := probe(t, health, path); code != http.StatusOK {
			t.Errorf("%s says %d without the API server", path, code)
		}
	}
	newcomer := watch(t, newWatch(t, s.name, operator.address), s.full("cart"))
	wantEndpoints(t, newcomer, "0.2=ready")
	if got.bad() != before {
		t.Errorf("a caller was told: gone %v, unknown %v, trouble %v", got.gone, got.unknown, got.trouble)
	}
	if !caller.Status().Connected {
		t.Error("the stream has ended")
	}
	select {
	case err := <-operator.done:
		t.Fatalf("the operator ended: %v", err)
	default:
	}

	if err := c.env.ControlPlane.APIServer.Start(); err != nil {
		t.Fatal(err)
	}
	s.create(slice("cart-2", "cart", pod(2)))
	within(t, 2*time.Minute, func() error { // watches come back with backoff
		if have := endpoints(got.last()); have != "0.2=ready 0.3=ready" {
			return errors.New(have)
		}
		return nil
	})
	if got.bad() != before {
		t.Errorf("a caller was told: gone %v, unknown %v, trouble %v", got.gone, got.unknown, got.trouble)
	}
}
