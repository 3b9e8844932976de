// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

func bloated(name, revision string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: "shop", ResourceVersion: revision, UID: "u", Generation: 3,
		Annotations: map[string]string{"a": "b"}, Labels: map[string]string{discoveryv1.LabelServiceName: "cart"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}, Finalizers: []string{"f"},
		OwnerReferences: []metav1.OwnerReference{{Kind: "Service", UID: "s"}},
	}
}

// TestSink holds events to the order and the revisions of what a watch says.
func TestSink(t *testing.T) {
	var got []Event
	s := &sink{kind: compile.KindEndpointSlice, emit: func(e Event) { got = append(got, e) }}
	one := func(revision string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: bloated("cart-1", revision)}
	}
	for _, err := range []error{
		s.Replace([]any{one("7")}, "9"), s.Add(one("10")), s.Update(one("11")), s.Bookmark("15"), s.Delete(one("16")), s.Resync(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want := []struct {
		op       Op
		revision uint64
	}{{List, 9}, {Set, 10}, {Set, 11}, {Mark, 15}, {Delete, 16}}
	if len(got) != len(want) {
		t.Fatalf("%d events, want %d", len(got), len(want))
	}
	for i, e := range got {
		if e.Op != want[i].op || e.Revision != want[i].revision || e.Kind != compile.KindEndpointSlice {
			t.Errorf("event %d is %+v, want %+v", i, e, want[i])
		}
	}
	if kept := got[0].Objects[0]; kept.GetAnnotations() != nil || kept.GetManagedFields() != nil || kept.GetLabels() == nil || kept.GetOwnerReferences() == nil {
		t.Errorf("a slice is kept as %+v", kept)
	}
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: bloated("shop", "17")}
	if err := s.Add(namespace); err != nil || len(namespace.Labels) == 0 || namespace.Annotations != nil || namespace.OwnerReferences != nil {
		t.Errorf("a namespace is kept as %+v, %v", namespace, err)
	}
	if err := s.Add("no object"); err == nil {
		t.Error("took what is no object")
	}
	if Revision("x") != 0 {
		t.Error("a revision that is no number has to be 0")
	}
}

// TestTrimKeepsWhatCompiles compares what is compiled from objects as they come
// and as they are kept.
func TestTrimKeepsWhatCompiles(t *testing.T) {
	port, tcp, number, yes := "rpc", corev1.ProtocolTCP, int32(80), true
	input := func() compile.ServiceInput {
		meta := bloated("cart", "1")
		return compile.ServiceInput{
			Key:        compile.Key{Namespace: "shop", Name: "cart"},
			RPCService: &v1alpha1.RPCService{ObjectMeta: meta, Spec: v1alpha1.RPCServiceSpec{Source: v1alpha1.ServiceSource{Type: v1alpha1.SourceService, Service: &v1alpha1.ServiceReference{Name: "cart"}}}},
			Service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "cart", Namespace: "shop", UID: "s", Labels: map[string]string{"x": "y"}}, Spec: corev1.ServiceSpec{
				Selector: map[string]string{"a": "b"}, Ports: []corev1.ServicePort{{Name: port, Port: number, Protocol: tcp}}}},
			Slices: []*discoveryv1.EndpointSlice{{ObjectMeta: bloated("cart-1", "2"), AddressType: discoveryv1.AddressTypeIPv4,
				Ports:     []discoveryv1.EndpointPort{{Name: &port, Port: &number, Protocol: &tcp}},
				Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &yes}}}}},
		}
	}
	whole, kept := input(), input()
	trim(kept.RPCService)
	trim(kept.Service)
	trim(kept.Slices[0])
	a, b := compile.Service(whole), compile.Service(kept)
	if !reflect.DeepEqual(a, b) {
		t.Errorf("trimmed objects compile to something else:\n%+v\n%+v", a, b)
	}
	if len(a.Endpoints) != 1 {
		t.Fatalf("%d endpoints", len(a.Endpoints))
	}
}
