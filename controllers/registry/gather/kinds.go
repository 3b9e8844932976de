// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

// kind is one that is watched.
type kind struct {
	name     string
	group    schema.GroupVersion
	resource string
	example  client.Object
	// bare: only the metadata is watched.
	bare bool
}

// +kubebuilder:rbac:groups=rpc.fairlead.dev,resources=rpcservices;rpccallpolicies;rpclimitpolicies,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=services;namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=list;watch

// kinds are all that compilation reads. Their resources are named here, so that
// nothing has to be discovered before the first watch: an API server that does
// not have our definitions yet is one whose watch fails, and is tried again.
func kinds() []kind {
	return []kind{
		{compile.KindRPCService, v1alpha1.GroupVersion, v1alpha1.ResourceRPCServices, &v1alpha1.RPCService{}, false},
		{compile.KindRPCCallPolicy, v1alpha1.GroupVersion, v1alpha1.ResourceRPCCallPolicies, &v1alpha1.RPCCallPolicy{}, false},
		{compile.KindRPCLimitPolicy, v1alpha1.GroupVersion, v1alpha1.ResourceRPCLimitPolicies, &v1alpha1.RPCLimitPolicy{}, false},
		{compile.KindService, corev1.SchemeGroupVersion, "services", &corev1.Service{}, false},
		{compile.KindEndpointSlice, discoveryv1.SchemeGroupVersion, "endpointslices", &discoveryv1.EndpointSlice{}, false},
		{compile.KindNamespace, corev1.SchemeGroupVersion, "namespaces", bareNamespace(), true},
	}
}

func bareNamespace() client.Object {
	n := &metav1.PartialObjectMetadata{}
	n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(compile.KindNamespace))
	return n
}

// Kinds are the names of the kinds that are watched.
func Kinds() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

// trim takes away what nobody reads, for the objects stay in memory. The status
// of our own kinds is needed, to tell what has to be written.
func trim(object client.Object) {
	object.SetManagedFields(nil)
	object.SetAnnotations(nil)
	object.SetFinalizers(nil)
	switch o := object.(type) {
	case *corev1.Service:
		o.SetLabels(nil)
		o.Spec.Selector = nil
		o.Status = corev1.ServiceStatus{}
	case *discoveryv1.EndpointSlice:
		// Labels and owners say whose slice it is.
		for i := range o.Endpoints {
			o.Endpoints[i].DeprecatedTopology = nil
		}
	case *metav1.PartialObjectMetadata:
		// By the labels of namespaces services say who may see them.
		o.SetOwnerReferences(nil)
	default:
		o.SetLabels(nil)
		o.SetOwnerReferences(nil)
	}
}
