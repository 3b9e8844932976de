// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

// Set is every object of a folder, each list in the order of namespace and name.
//
// A Set and its objects are immutable: later Sets share the objects that did not change, and two objects of two Sets are
// the same object if and only if their pointers are equal.
//
// The objects are as an API server would hand them out, as far as anything here reads it: the namespace is "default" if
// the file names none; the UID is the file's, or made of kind, namespace and name; the generation begins with 1 and rises
// with every change of anything but metadata and status; the resourceVersion is the Revision at which the object last
// changed. Files have no time of creation, so creationTimestamp is zero, and names decide where time would.
type Set struct {
	RPCServices      []*v1alpha1.RPCService
	RPCCallPolicies  []*v1alpha1.RPCCallPolicy
	RPCLimitPolicies []*v1alpha1.RPCLimitPolicy
	Services         []*corev1.Service
	EndpointSlices   []*discoveryv1.EndpointSlice

	// Revision counts accepted changes. It rises by one from one Set of a Watch to the next that differs from it.
	Revision uint64
}

// newSet sorts objects into a Set.
func newSet(objects []metav1.Object, revision uint64) Set {
	slices.SortFunc(objects, func(a, b metav1.Object) int {
		return cmp.Or(strings.Compare(a.GetNamespace(), b.GetNamespace()), strings.Compare(a.GetName(), b.GetName()))
	})
	s := Set{Revision: revision}
	for _, o := range objects {
		switch o := o.(type) {
		case *v1alpha1.RPCService:
			s.RPCServices = append(s.RPCServices, o)
		case *v1alpha1.RPCCallPolicy:
			s.RPCCallPolicies = append(s.RPCCallPolicies, o)
		case *v1alpha1.RPCLimitPolicy:
			s.RPCLimitPolicies = append(s.RPCLimitPolicies, o)
		case *corev1.Service:
			s.Services = append(s.Services, o)
		case *discoveryv1.EndpointSlice:
			s.EndpointSlices = append(s.EndpointSlices, o)
		}
	}
	return s
}

// Len is the number of objects.
func (s *Set) Len() int {
	return len(s.RPCServices) + len(s.RPCCallPolicies) + len(s.RPCLimitPolicies) + len(s.Services) + len(s.EndpointSlices)
}

// all lists the objects with what they are.
func (s *Set) all() map[identity]metav1.Object {
	objects := make(map[identity]metav1.Object, s.Len())
	collect(objects, v1alpha1.KindRPCService, s.RPCServices)
	collect(objects, v1alpha1.KindRPCCallPolicy, s.RPCCallPolicies)
	collect(objects, v1alpha1.KindRPCLimitPolicy, s.RPCLimitPolicies)
	collect(objects, compile.KindService, s.Services)
	collect(objects, compile.KindEndpointSlice, s.EndpointSlices)
	return objects
}

func collect[T metav1.Object](into map[identity]metav1.Object, kind string, objects []T) {
	for _, o := range objects {
		into[identity{kind, o.GetNamespace(), o.GetName()}] = o
	}
}

// Deleted names an object that is no longer there.
type Deleted struct {
	Kind string
	types.NamespacedName
}

// Since returns what changed from an older Set of the same Watch to this one, in the order of kind, namespace and name.
// Since an empty Set, everything has changed.
func (s *Set) Since(older Set) (changed []metav1.Object, deleted []Deleted) {
	before, now := older.all(), s.all()
	var ids []identity
	for id, o := range now {
		if before[id] != o {
			ids = append(ids, id)
		}
	}
	for id := range before {
		if now[id] == nil {
			deleted = append(deleted, Deleted{Kind: id.kind, NamespacedName: types.NamespacedName{Namespace: id.namespace, Name: id.name}})
		}
	}
	slices.SortFunc(ids, identity.compare)
	for _, id := range ids {
		changed = append(changed, now[id])
	}
	slices.SortFunc(deleted, func(a, b Deleted) int {
		return identity{a.Kind, a.Namespace, a.Name}.compare(identity{b.Kind, b.Namespace, b.Name})
	})
	return changed, deleted
}

func (id identity) compare(other identity) int {
	return cmp.Or(
		strings.Compare(id.kind, other.kind),
		strings.Compare(id.namespace, other.namespace),
		strings.Compare(id.name, other.name),
	)
}
