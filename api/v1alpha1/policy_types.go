// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TargetRef names what a policy is about: an RPCService in the policy's own namespace, or one of its methods.
type TargetRef struct {
	// group of the target, always rpc.fairlead.dev.
	//
	// +required
	// +kubebuilder:validation:Enum=rpc.fairlead.dev
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group"`

	// kind of the target, always RPCService.
	//
	// +required
	// +kubebuilder:validation:Enum=RPCService
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`

	// name of the RPCService.
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
}

// CallTargetRef is a TargetRef that may point into another namespace, because callers may say how they call a service
// that is not theirs.
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
	// group of the object.
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

	// namespace of the object.
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
}

// PolicyAncestorStatus says what became of a policy for one of its targets.
type PolicyAncestorStatus struct {
	// ancestorRef is the target, as the policy's targetRefs name it, always with its namespace.
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

// PolicyStatus is what the operator says about a policy, whatever its kind.
type PolicyStatus struct {
	// observedGeneration is the metadata.generation that this status speaks about.
	//
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// conditions are Accepted, ResolvedRefs, Programmed and Ready, over all targets: each is the worst that stands in
	// ancestors. Ready sums up the others.
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
