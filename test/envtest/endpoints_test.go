// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"fmt"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// TestEndpoints follows one service through what can become of its endpoints.
func TestEndpoints(t *testing.T) {
	s := common.space(t)
	operator := common.run(t)
	caller := newWatch(t, s.name, operator.address)
	got := watch(t, caller, s.full("cart"))

	service, first := rpcService("cart", idempotent("Cart.Get")), slice("cart-1", "cart", pod(1), pod(2))
	s.create(kubeService("cart"), service, first)
	wantEndpoints(t, got, "0.2=ready 0.3=ready")
	if m := got.last().Methods.Declared; len(m) != 1 || m[0].Name != "Cart.Get" || !m[0].Idempotent {
		t.Errorf("methods %+v", m)
	}

	second := slice("cart-2", "cart", pod(3))
	s.create(second)
	wantEndpoints(t, got, "0.2=ready 0.3=ready 0.4=ready")

	change := func(of *discoveryv1.EndpointSlice, to ...discoveryv1.Endpoint) {
		t.Helper()
		s.update(of, func() { of.Endpoints = to })
	}
	change(first, conditioned(pod(1), false, false, false), pod(2))
	wantEndpoints(t, got, "0.2=suspect 0.3=ready 0.4=ready")
	change(first, conditioned(pod(1), false, true, true), pod(2))
	wantEndpoints(t, got, "0.2=draining 0.3=ready 0.4=ready")
	change(first, conditioned(pod(1), false, false, true), pod(2))
	wantEndpoints(t, got, "0.3=ready 0.4=ready")
	s.delete(second)
	wantEndpoints(t, got, "0.3=ready")
	if _, gone, _, _ := got.counts(); gone != 0 {
		t.Errorf("%d times gone", gone)
	}
}

// TestDeleteAndRecreate deletes a service: callers are told, keep what they
// have, and go on when it comes back.
func TestDeleteAndRecreate(t *testing.T) {
	s := common.space(t)
	operator := common.run(t)
	caller := newWatch(t, s.name, operator.address)
	got, other := watch(t, caller, s.full("cart")), watch(t, caller, s.full("shop"))
	service := rpcService("cart")
	s.create(kubeService("cart"), service, slice("cart-1", "cart", pod(1)),
		kubeService("shop"), rpcService("shop"), slice("shop-1", "shop", pod(5)))
	wantEndpoints(t, got, "0.2=ready")
	wantEndpoints(t, other, "0.6=ready")

	s.delete(service)
	eventually(t, func() error {
		if _, gone, _, _ := got.counts(); gone == 0 {
			return fmt.Errorf("not told that it is gone")
		}
		return nil
	})
	if got.gone[0].Forgotten {
		t.Error("what a caller has is to be kept")
	}
	if newcomer := watch(t, newWatch(t, s.name, operator.address), s.full("cart")); true {
		eventually(t, func() error {
			if _, _, unknown, _ := newcomer.counts(); unknown == 0 {
				return fmt.Errorf("a newcomer is not told that there is no such service")
			}
			return nil
		})
	}

	before, _, _, _ := got.counts()
	again := rpcService("cart")
	s.create(again)
	eventually(t, func() error {
		if after, _, _, _ := got.counts(); after == before {
			return fmt.Errorf("the service has not come back")
		}
		return nil
	})
	wantEndpoints(t, got, "0.2=ready")
	if _, gone, _, _ := other.counts(); gone != 0 {
		t.Error("another service is said to be gone")
	}
}

// TestAsOf holds what is published to the order that clients rely on.
func TestAsOf(t *testing.T) {
	s := common.space(t)
	operator := common.run(t)
	got := watch(t, newWatch(t, s.name, operator.address), s.full("cart"))
	slices := slice("cart-1", "cart", pod(1))
	s.create(kubeService("cart"), rpcService("cart"), slices)
	wantEndpoints(t, got, "0.2=ready")
	for n := range 5 {
		s.update(slices, func() { slices.Endpoints = []discoveryv1.Endpoint{pod(n + 10)} })
		wantEndpoints(t, got, fmt.Sprintf("0.%d=ready", n+11))
	}
	var before policy.AsOf
	for _, snapshot := range got.snapshots {
		if snapshot.AsOf.Behind(before) {
			t.Errorf("%v comes after %v", snapshot.AsOf, before)
		}
		for _, r := range snapshot.AsOf {
			if r.Seen < r.Changed {
				t.Errorf("%s: seen %d is below changed %d", r.Kind, r.Seen, r.Changed)
			}
		}
		before = snapshot.AsOf
	}
	if revision := before.Get("EndpointSlice").Changed; fmt.Sprint(revision) != slices.ResourceVersion {
		t.Errorf("changed is %d, the slice is at %s", revision, slices.ResourceVersion)
	}
}
