// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestAddresses has replicas in every state: one that is not ready may have
// clients, too.
func TestAddresses(t *testing.T) {
	o := NewObjects(Mode{})
	slice := func(name, service string, kind discoveryv1.AddressType, port string, endpoints ...discoveryv1.Endpoint) {
		number, other := int32(7443), int32(8080)
		mustSet(t, o, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "system", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: kind, Endpoints: endpoints,
			Ports: []discoveryv1.EndpointPort{{Name: new("metrics"), Port: &other}, {Name: &port, Port: &number}},
		})
	}
	at := func(uid, address string, ready bool) discoveryv1.Endpoint {
		e := discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
		if uid != "" {
			e.TargetRef = &corev1.ObjectReference{Kind: "Pod", UID: types.UID(uid)}
		}
		return e
	}
	slice("v6", "registry", discoveryv1.AddressTypeIPv6, "registry", at("one", "fd00::1", true))
	slice("v4", "registry", discoveryv1.AddressTypeIPv4, "registry", at("one", "10.0.0.1", true), at("two", "10.0.0.2", false), at("", "10.0.0.3", true))
	slice("names", "registry", discoveryv1.AddressTypeFQDN, "registry", at("four", "registry.example.com", true))
	slice("other-port", "registry", discoveryv1.AddressTypeIPv4, "web", at("five", "10.0.0.5", true))
	slice("other", "shop", discoveryv1.AddressTypeIPv4, "registry", at("six", "10.0.0.6", true))
	want := []string{"10.0.0.1:7443", "10.0.0.2:7443", "10.0.0.3:7443"}
	if got := o.Addresses(Key{Namespace: "system", Name: "registry"}, "registry"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := o.Addresses(Key{Namespace: "system", Name: "nothing"}, "registry"); got != nil {
		t.Errorf("got %q of a Service without slices", got)
	}
}
