// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

type number struct{ N int }

// startServer runs a server of the runtime as the Pod with that UID would, and
// gives its port.
func startServer(t *testing.T, namespace, podUID, at string) int32 {
	t.Helper()
	t.Setenv("FAIRLEAD_POD_UID", podUID)
	rt := newRuntime(t, namespace, nil, at)
	t.Setenv("FAIRLEAD_POD_UID", "")
	server := rt.NewServer(rpcruntime.DrainTimeout(time.Second))
	rpcruntime.Handle(server, "Count.Next", func(_ context.Context, n *number) (*number, error) { return &number{n.N + 1}, nil })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return int32(n)
}

// TestSelf has a subscriber told what it is, by the Pod that it says it runs in,
// and again when that changes.
func TestSelf(t *testing.T) {
	s := common.space(t)
	operator := common.run(t)
	uid := "uid-of-" + s.name
	c := registry.New(registry.Config{
		Addresses: []string{operator.address}, Identity: registry.Identity{Namespace: s.name, PodUID: uid, Addresses: []string{"10.1.0.2:80"}},
	})
	t.Cleanup(c.Close)
	watch(t, c, s.full("cart"))
	zone, endpoint := "north", pod(1)
	endpoint.Zone, endpoint.TargetRef.Namespace, endpoint.TargetRef.UID = &zone, s.name, types.UID(uid)
	of := slice("cart-1", "cart", endpoint)
	s.create(kubeService("cart"), rpcService("cart"), of)
	want := func(want registry.Self) {
		t.Helper()
		eventually(t, func() error {
			if self, known := c.Self(); !known || !self.Equal(want) {
				return fmt.Errorf("self %+v, want %+v", self, want)
			}
			return nil
		})
	}
	serves := []registry.Serving{{Service: s.full("cart"), Port: strconv.Itoa(rpcPort)}}
	want(registry.Self{Namespace: s.name, Pod: "pod-1", Zone: "north", Serves: serves})
	s.update(of, func() { of.Endpoints = []discoveryv1.Endpoint{pod(2)} })
	want(registry.Self{Namespace: s.name})
}

// TestCalls goes the whole way: manifests, a server that finds out by its Pod
// what it serves and is limited, a caller that finds it, and calls that go on
// without operator and API server.
func TestCalls(t *testing.T) {
	s := common.space(t)
	operator := common.run(t)
	uid := "uid-of-" + s.name
	port := startServer(t, s.name, uid, operator.address)
	endpoint := pod(1)
	endpoint.TargetRef.Namespace, endpoint.TargetRef.UID = s.name, types.UID(uid)
	s.create(kubeService("count"), rpcService("count", idempotent("Count.Next")), sliceAt("count-1", "count", port, endpoint))

	addresses := book{net.JoinHostPort(endpoint.Addresses[0], strconv.Itoa(int(port))): net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))}
	caller := newRuntime(t, s.name, addresses, operator.address).NewClient("count")
	call := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		reply, err := rpcruntime.Call[number](ctx, caller, "Count.Next", &number{1}, rpcruntime.WaitForService())
		if err == nil && reply.N != 2 {
			return fmt.Errorf("reply %d", reply.N)
		}
		return err
	}
	eventually(t, call)

	one := int32(1)
	limit := &v1alpha1.RPCLimitPolicy{Spec: v1alpha1.RPCLimitPolicySpec{
		TargetRefs: []v1alpha1.TargetRef{targetRef("count")},
		Limits:     []v1alpha1.Limit{{Name: "few", Rate: &v1alpha1.LimitRate{Count: one, Interval: "1h"}}},
	}}
	limit.Name = "few"
	s.create(limit)
	eventually(t, func() error {
		if err := call(); status.CodeOf(err) != status.ResourceExhausted {
			return fmt.Errorf("the limit does not reach the server: %w", errors.Join(err, errors.New("not refused")))
		}
		return nil
	})
	s.delete(limit)
	eventually(t, call)
	if n := operator.value(t, "fairlead_registry_subscriptions"); n < 2 {
		t.Errorf("the operator counts %v subscriptions, there are a caller's and a server's", n)
	}

	operator.end(t)
	for range 100 {
		if err := call(); err != nil {
			t.Fatalf("a call without the operator: %v", err)
		}
	}
}
