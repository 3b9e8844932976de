// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AppliesTo says which side a policy that targets its own namespace is about.
//
// +kubebuilder:validation:Enum=Services;Callers
type AppliesTo string

const (
	// AppliesToServices means every RPCService of the namespace, for all its callers.
	AppliesToServices AppliesTo = "Services"
	// AppliesToCallers means every caller in the namespace, whatever service it calls.
	AppliesToCallers AppliesTo = "Callers"
)

// KindNamespace is the kind of a target that is the policy's own namespace. Its group is empty.
const KindNamespace = "Namespace"

// TargetRef names what a policy is about: an RPCService in the policy's own namespace, one of its methods, or that
// namespace as a whole.
//
// +kubebuilder:validation:XValidation:rule="(self.kind == 'Namespace') == (self.group != 'rpc.fairlead.dev')",message="group must be rpc.fairlead.dev for an RPCService, and \"\" for a Namespace",fieldPath=".group"
// +kubebuilder:validation:XValidation:rule="self.kind != 'Namespace' || has(self.appliesTo)",message="appliesTo is required when kind is Namespace: Services or Callers",fieldPath=".appliesTo",reason=FieldValueRequired
// +kubebuilder:validation:XValidation:rule="self.kind == 'Namespace' || !has(self.appliesTo)",message="appliesTo may be set only when kind is Namespace",fieldPath=".appliesTo",reason=FieldValueForbidden
// +kubebuilder:validation:XValidation:rule="self.kind != 'Namespace' || !has(self.sectionName)",message="sectionName may be set only when kind is RPCService",fieldPath=".sectionName",reason=FieldValueForbidden
type TargetRef struct {
	// group of the target: rpc.fairlead.dev for an RPCService, "" for a Namespace.
	//
	// +required
	// +kubebuilder:validation:Enum=rpc.fairlead.dev;""
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`

	// kind of the target: RPCService, or Namespace for the policy's own.
	//
	// +required
	// +kubebuilder:validation:Enum=RPCService;Namespace
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// name of the RPCService; for a Namespace the policy's own, or the policy is not accepted.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
	Name string `json:"name"`

	// sectionName is the name of one method that the RPCService declares. Absent means all methods. A name that is not
	// declared leaves this reference without effect, and ResolvedRefs says so.
	//
	// +optional
	SectionName *MethodName `json:"sectionName,omitempty"`

	// appliesTo is Services (every RPCService of the namespace) or Callers (every caller in the namespace, whatever it
	// calls). Required when kind is Namespace, and only then allowed.
	//
	// +optional
	AppliesTo *AppliesTo `json:"appliesTo,omitempty"`
}

// CallTargetRef is a TargetRef that may point into another namespace, because callers may say how they call a service
// that is not theirs.
//
// +kubebuilder:validation:XValidation:rule="self.kind != 'Namespace' || !has(self.__namespace__)",message="namespace may be set only when kind is RPCService",fieldPath=".namespace",reason=FieldValueForbidden
type CallTargetRef struct {
	TargetRef `json:",inline"`

	// namespace of the RPCService. Absent, or the policy's own namespace, makes this an owner's policy: it binds all callers
	// of the service. Another namespace makes this a caller's policy: it binds only callers in the policy's own namespace,
	// and there it wins over the owner's.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Namespace *string `json:"namespace,omitempty"`
}

// AncestorReference names the object that a part of a policy's status is about.
type AncestorReference struct {
	// group of the object; "" for a Namespace.
	//
	// +required
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`

	// kind of the object.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// namespace of the object; absent for a Namespace.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace *string `json:"namespace,omitempty"`

	// name of the object.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// sectionName is the method, if the policy targets one.
	//
	// +optional
	SectionName *MethodName `json:"sectionName,omitempty"`

	// appliesTo is that of the target, if it is a Namespace.
	//
	// +optional
	AppliesTo *AppliesTo `json:"appliesTo,omitempty"`
}

// PolicyAncestorStatus says what became of a policy for one of its targets.
type PolicyAncestorStatus struct {
	// ancestorRef is the target, as the policy's targetRefs name it, an RPCService always with its namespace.
	//
	// +required
	AncestorRef AncestorReference `json:"ancestorRef"`

	// controllerName says who wrote this entry: rpc.fairlead.dev/operator. Entries of others are left alone.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9/._~%!$&'()*+,;=:@-]+$"
	ControllerName string `json:"controllerName"`

	// conditions are Accepted, ResolvedRefs and Programmed, for this target.
	//
	// +required
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions"`
}

// PolicySummary holds numbers for people and printed columns.
type PolicySummary struct {
	// targets is ATTACHED/TOTAL: the targetRefs that this policy is attached to, out of all. Example: 1/1.
	//
	// +optional
	// +kubebuilder:validation:MaxLength=24
	// +kubebuilder:validation:Pattern="^[0-9]+/[0-9]+$"
	Targets string `json:"targets,omitempty"`
}

// ClientCount counts processes that subscribe, over all replicas of the operator. It follows with a delay of some seconds.
type ClientCount struct {
	// current is how many say that they hold what is served now.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Current int32 `json:"current"`

	// total is how many subscribe.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=2147483647
	Total int32 `json:"total"`
}

// PolicyStatus is what the operator says about a policy, whatever its kind.
type PolicyStatus struct {
	// observedGeneration is the metadata.generation that this status speaks about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Accepted, ResolvedRefs and Programmed over all targets, each the worst that stands in ancestors; Ready,
	// which sums up these three; and Honoured.
	//
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// summary holds numbers for people and printed columns.
	//
	// +optional
	Summary *PolicySummary `json:"summary,omitempty"`

	// clients counts the processes that the policy binds. Absent while the number is not known, because a replica of the
	// operator cannot be reached.
	//
	// +optional
	Clients *ClientCount `json:"clients,omitempty"`

	// ancestors has one entry per target, in the order of targetRefs.
	//
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Ancestors []PolicyAncestorStatus `json:"ancestors,omitempty"`
}

// Rate is a number of events in an interval.
type Rate struct {
	// count is the number of events per interval, from 0 to 1000000.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Count int32 `json:"count"`

	// interval is the time in which count events may happen, from 1s to 1h.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || (duration(self) >= duration('1s') && duration(self) <= duration('1h'))",message="must be from 1s to 1h"
	Interval Duration `json:"interval"`
}
