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

// FromNamespaces says which namespaces are meant.
//
// +kubebuilder:validation:Enum=All;Same;Selector
type FromNamespaces string

const (
	// FromAll means all namespaces.
	FromAll FromNamespaces = "All"
	// FromSame means the namespace of the RPCService.
	FromSame FromNamespaces = "Same"
	// FromSelector means the namespaces that a selector selects, and the RPCService's own.
	FromSelector FromNamespaces = "Selector"
)

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern="^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
type LabelValue string

// SelectorOperator relates a label to values.
//
// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
type SelectorOperator string

const (
	// SelectorIn: the label has one of the values.
	SelectorIn SelectorOperator = "In"
	// SelectorNotIn: the label has none of the values, or is not there.
	SelectorNotIn SelectorOperator = "NotIn"
	// SelectorExists: the label is there.
	SelectorExists SelectorOperator = "Exists"
	// SelectorDoesNotExist: the label is not there.
	SelectorDoesNotExist SelectorOperator = "DoesNotExist"
)

// LabelRequirement is one thing that a selector wants of labels.
//
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == has(self.values)",message="values must be set for In and NotIn, and only for them",fieldPath=".values"
type LabelRequirement struct {
	// key is the label's.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
	Key string `json:"key"`

	// operator is In, NotIn, Exists or DoesNotExist.
	//
	// +required
	Operator SelectorOperator `json:"operator"`

	// values are up to 64 of the label's. Required with In and NotIn, and only then allowed.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Values []LabelValue `json:"values,omitempty"`
}

// NamespaceSelector selects namespaces by their labels: those that meet all of it. Every namespace has the label
// kubernetes.io/metadata.name.
//
// +kubebuilder:validation:MinProperties=1
type NamespaceSelector struct {
	// matchLabels are up to 16 labels that a namespace must have, with their values.
	//
	// +optional
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=16
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// matchExpressions are up to 16 requirements that the labels of a namespace must meet.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	MatchExpressions []LabelRequirement `json:"matchExpressions,omitempty"`
}

// ConsumerNamespaces says from which namespaces callers may subscribe.
//
// +kubebuilder:validation:XValidation:rule="self.from != 'Selector' || has(self.selector)",message="selector is required when from is Selector",fieldPath=".selector",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="self.from == 'Selector' || !has(self.selector)",message="selector may be set only when from is Selector",fieldPath=".selector",reason=FieldValueForbidden
type ConsumerNamespaces struct {
	// from is All, Same (the namespace of the RPCService) or Selector (those that selector selects, and the RPCService's
	// own).
	//
	// +required
	From FromNamespaces `json:"from"`

	// selector selects namespaces by their labels. Required when from is Selector, and only then allowed.
	//
	// +optional
	Selector *NamespaceSelector `json:"selector,omitempty"`
}

// Consumers says who may see the service.
type Consumers struct {
	// namespaces says from which namespaces callers may subscribe. Others are refused, with the reason.
	//
	// +required
	Namespaces ConsumerNamespaces `json:"namespaces"`
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

	// consumers says who may subscribe to the service, and so learn its endpoints and policies. It does not keep anybody who
	// knows an address from calling. Absent means everybody.
	//
	// +optional
	Consumers *Consumers `json:"consumers,omitempty"`
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

	// conditions are Accepted, ResolvedRefs, Programmed, Ready, EndpointsAvailable, Degraded and Honoured. Ready sums up the
	// first three.
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

	// clients counts the processes that subscribe to the service, callers and instances. Absent while the number is not
	// known, because a replica of the operator cannot be reached.
	//
	// +optional
	Clients *ClientCount `json:"clients,omitempty"`
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
