// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of every kind in this package.
const GroupName = "rpc.fairlead.dev"

// The kinds of this package, as they stand in a manifest.
const (
	KindRPCService     = "RPCService"
	KindRPCCallPolicy  = "RPCCallPolicy"
	KindRPCLimitPolicy = "RPCLimitPolicy"
)

// The plural names of the kinds, as they stand in URLs and RBAC rules.
const (
	ResourceRPCServices      = "rpcservices"
	ResourceRPCCallPolicies  = "rpccallpolicies"
	ResourceRPCLimitPolicies = "rpclimitpolicies"
)

var (
	// GroupVersion is the group and version of every kind in this package. It is never changed.
	GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

	// SchemeBuilder collects what AddToScheme registers.
	SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

	// AddToScheme makes a scheme know the kinds of this package.
	AddToScheme = SchemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&RPCService{}, &RPCServiceList{},
		&RPCCallPolicy{}, &RPCCallPolicyList{},
		&RPCLimitPolicy{}, &RPCLimitPolicyList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
