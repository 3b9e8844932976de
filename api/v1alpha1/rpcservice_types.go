// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SourceType names a place that endpoints come from.
//
// +kubebuilder:validation:Enum=Service;Registered
type SourceType string

const (
	// SourceService takes the endpoints from the EndpointSlices of a Service.
	SourceService SourceType = "Service"
	// SourceRegistered takes the instances that register themselves. Only the standalone control plane offers it.
	SourceRegistered SourceType = "Registered"
)

// Idempotency says whether running a call twice does the same as running it once.
//
// +kubebuilder:validation:Enum=Idempotent;NotIdempotent
type Idempotency string

const (
	// Idempotent calls may be sent again when nobody knows whether they ran.
	Idempotent Idempotency = "Idempotent"
	// NotIdempotent calls are sent again only if it is certain that they did not run.
	NotIdempotent Idempotency = "NotIdempotent"
)

// UndeclaredMethods says what happens to a call of a method that the RPCService does not list.
//
// +kubebuilder:validation:Enum=Allow;Refuse
type UndeclaredMethods string

const (
	// UndeclaredMethodsAllow lets such calls through. They count as not idempotent.
	UndeclaredMethodsAllow UndeclaredMethods = "Allow"
	// UndeclaredMethodsRefuse ends such calls with Unimplemented before they run.
	UndeclaredMethodsRefuse UndeclaredMethods = "Refuse"
)

// MethodName is the name of a method as callers use it, PATH.METHOD, split at the last dot. Example: Arith.Mul.
//
// +kubebuilder:validation:Pattern="^[A-Za-z_][A-Za-z0-9_./-]{0,252}$"
// +kubebuilder:validation:MaxLength=253
type MethodName string

// ServiceReference names a Service in the namespace of the RPCService.
type ServiceReference struct {
	// name of the Service. Its type must not be ExternalName.
	//
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Name string `json:"name"`

	// port is the name of the Service's port, not its number. Only TCP ports count. It may be left out if the Service has
	// exactly one TCP port; otherwise ResolvedRefs is False with the reason PortAmbiguous.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Port *string `json:"port,omitempty"`
}

// ServiceSource says where the endpoints of an RPCService come from: type says which one it is, and the member of that
// name has the details.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'Service' || has(self.service)",message="service is required when type is Service",fieldPath=".service",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="self.type == 'Service' || !has(self.service)",message="service may be set only when type is Service",fieldPath=".service",reason=FieldValueForbidden
type ServiceSource struct {
	// type is Service (the EndpointSlices of a Service in the same namespace) or Registered (instances that register
	// themselves, which only the standalone control plane offers; the operator answers Accepted=False with the reason
	// UnsupportedSource).
	//
	// +required
	Type SourceType `json:"type"`

	// service names the Service and its port. Required when type is Service, and only then allowed.
	//
	// +optional
	Service *ServiceReference `json:"service,omitempty"`
}

// RPCMethod says what callers and servers need to know about one method.
type RPCMethod struct {
	// name of the method as callers use it, PATH.METHOD, split at the last dot. Example: Arith.Mul.
	//
	// +required
	Name MethodName `json:"name"`

	// idempotency says whether running a call twice does the same as running it once. It decides whether a call may be sent
	// again when nobody knows whether it ran. Absent means NotIdempotent.
	//
	// +optional
	Idempotency *Idempotency `json:"idempotency,omitempty"`
}

// RPCServiceSpec is what the team that owns a service says about it.
type RPCServiceSpec struct {
	// source says where the endpoints come from.
	//
	// +required
	Source ServiceSource `json:"source"`

	// methods refines single methods. The list need not be complete, unless undeclaredMethods is Refuse. A policy can target
	// only a method that stands here.
	//
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=512
	Methods []RPCMethod `json:"methods,omitempty"`

	// undeclaredMethods says what happens to calls of methods that do not stand in methods. Allow lets them through as not
	// idempotent. Refuse makes the client, and a server that knows its service, end them with Unimplemented before they run.
	// Absent means Allow.
	//
	// +optional
	UndeclaredMethods *UndeclaredMethods `json:"undeclaredMethods,omitempty"`
}

// RPCServiceSummary holds numbers for people and printed columns. It follows with a delay of some seconds.
type RPCServiceSummary struct {
	// endpoints is READY/TOTAL: the endpoints that are ready, out of all that are not terminating. Example: 3/3.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:Pattern="^[0-9]+/[0-9]+$"
	Endpoints string `json:"endpoints,omitempty"`
}

// RPCServiceStatus is what the operator says about an RPCService.
type RPCServiceStatus struct {
	// observedGeneration is the metadata.generation that this status speaks about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Accepted, ResolvedRefs, Programmed, Ready, EndpointsAvailable and Degraded. Ready sums up the first
	// three.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// summary holds numbers for people and printed columns.
	//
	// +optional
	Summary *RPCServiceSummary `json:"summary,omitempty"`
}

// RPCService says where the instances of a service come from, which methods it has, and which of them are idempotent. The
// team that owns the service writes it. Callers name it NAMESPACE/NAME.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=rpcservices,singular=rpcservice,scope=Namespaced,shortName=rpcsvc,categories=rpc
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Accepted, resolved and served"
// +kubebuilder:printcolumn:name="Endpoints",type=string,JSONPath=".status.summary.endpoints",description="Ready endpoints out of all that are not terminating"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=".status.conditions[?(@.type==\"Programmed\")].reason",priority=1,description="Whether this is compiled and served"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
type RPCService struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the owner says.
	//
	// +required
	Spec RPCServiceSpec `json:"spec"`

	// status is what the operator says. Nothing reads it to make a decision.
	//
	// +optional
	Status RPCServiceStatus `json:"status,omitzero"`
}

// RPCServiceList is a list of RPCServices.
//
// +kubebuilder:object:root=true
type RPCServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []RPCService `json:"items"`
}
