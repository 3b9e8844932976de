// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LimitBy says who shares the count of a limit.
//
// +kubebuilder:validation:Enum=All;Caller
type LimitBy string

const (
	// LimitByAll counts all calls together.
	LimitByAll LimitBy = "All"
	// LimitByCaller counts the calls of each caller apart.
	LimitByCaller LimitBy = "Caller"
)

// CallerNames says which names a limit by Caller believes.
//
// +kubebuilder:validation:Enum=Proven;Declared
type CallerNames string

const (
	// CallerNamesProven believes only names that the connection has proven. All other callers share one count.
	CallerNamesProven CallerNames = "Proven"
	// CallerNamesDeclared believes what callers say about themselves, too. 1024 such names are told apart, the rest share one
	// count.
	CallerNamesDeclared CallerNames = "Declared"
)

// LimitRate bounds how many calls an instance admits in an interval.
type LimitRate struct {
	// count is the number of calls admitted per interval, from 1 to 1000000.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Count int32 `json:"count"`

	// interval is the time in which count calls are admitted, from 1s to 1h. Calls are let in evenly over it, except for
	// bursts.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || (duration(self) >= duration('1s') && duration(self) <= duration('1h'))",message="must be from 1s to 1h"
	Interval Duration `json:"interval"`

	// burst is the number of calls that may come at once after a quiet time, from 1 to 1000000. Absent means as many as
	// count.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Burst *int32 `json:"burst,omitempty"`
}

// ConcurrencyLimit bounds how many calls an instance runs at once.
//
// +kubebuilder:validation:XValidation:rule="has(self.max)",message="max must be set",fieldPath=".max",reason=FieldValueRequired
type ConcurrencyLimit struct {
	// max is the number of calls that may run at once, from 1 to 1000000.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Max *int32 `json:"max,omitempty"`
}

// Limit is one bound on what an instance of the service admits. A call that it does not admit is refused at once with
// ResourceExhausted, has certainly not run, and carries the delay after which another attempt makes sense.
//
// +kubebuilder:validation:XValidation:rule="has(self.rate) || has(self.concurrency)",message="at least one of rate and concurrency must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.callerNames) || (has(self.by) && self.by == 'Caller')",message="callerNames may be set only when by is Caller",fieldPath=".callerNames",reason=FieldValueForbidden
type Limit struct {
	// name of the limit, unique in the policy. Refusals and metrics carry it.
	//
	// +required
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
	Name string `json:"name"`

	// methods are up to 64 methods that the RPCService declares. They share this limit's count. A name that is not declared is
	// limited all the same, and ResolvedRefs says so. Absent means all methods.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Methods []MethodName `json:"methods,omitempty"`

	// by is All (all calls share one count) or Caller (each caller has its own). Absent means All.
	//
	// +optional
	By *LimitBy `json:"by,omitempty"`

	// callerNames is Proven (only names that the connection has proven; all other callers share one count) or Declared (also
	// what callers say about themselves; 1024 such names are told apart). Only with by: Caller. Absent means Proven.
	//
	// +optional
	CallerNames *CallerNames `json:"callerNames,omitempty"`

	// rate bounds the calls admitted in an interval.
	//
	// +optional
	Rate *LimitRate `json:"rate,omitempty"`

	// concurrency bounds the calls that run at once.
	//
	// +optional
	Concurrency *ConcurrencyLimit `json:"concurrency,omitempty"`
}

// RPCLimitPolicySpec says what an instance of the targets admits. Limits never merge: all limits of all policies apply,
// and each must admit.
//
// +kubebuilder:validation:XValidation:rule="!self.targetRefs.exists(t, has(t.sectionName)) || !self.limits.exists(l, has(l.methods))",message="limits may name methods only if no target reference has a sectionName",fieldPath=".limits",reason=FieldValueForbidden
type RPCLimitPolicySpec struct {
	// targetRefs are 1 to 16 RPCServices of the same namespace, methods of them, or that Namespace with appliesTo: Services,
	// which means each of its RPCServices. Two references to the same RPCService need different sectionNames. Each service
	// has its own counts; one that is targeted by name and with its namespace has them once.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, has(a.sectionName) || self.exists_one(b, a.kind == b.kind && a.name == b.name))",message="two references to one RPCService must both have a sectionName, and the Namespace may stand once"
	// +kubebuilder:validation:XValidation:rule="self.all(a, !has(a.sectionName) || self.exists_one(b, a.name == b.name && has(b.sectionName) && a.sectionName == b.sectionName))",message="two references to one RPCService must have different sectionNames"
	// +kubebuilder:validation:XValidation:rule="!self.exists(t, has(t.appliesTo) && t.appliesTo == 'Callers')",message="limits are the services' own: appliesTo must be Services"
	TargetRefs []TargetRef `json:"targetRefs"`

	// limits are 1 to 16 bounds. Every instance of the service counts for itself.
	//
	// +required
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Limits []Limit `json:"limits"`
}

// RPCLimitPolicy says what each instance of a service admits: rate and concurrency, by method and by caller. Only the
// owner of the service writes it, in the namespace of the service.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=rpclimitpolicies,singular=rpclimitpolicy,scope=Namespaced,shortName=rpclim,categories=rpc
// +kubebuilder:metadata:labels="gateway.networking.k8s.io/policy=Inherited"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Accepted, resolved and served for every target"
// +kubebuilder:printcolumn:name="Targets",type=string,JSONPath=".status.summary.targets",description="Attached targets out of all"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=".status.conditions[?(@.type==\"Programmed\")].reason",priority=1,description="Whether this is compiled and served"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
type RPCLimitPolicy struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the owner of the service says.
	//
	// +required
	Spec RPCLimitPolicySpec `json:"spec"`

	// status is what the operator says. Nothing reads it to make a decision.
	//
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// RPCLimitPolicyList is a list of RPCLimitPolicies.
//
// +kubebuilder:object:root=true
type RPCLimitPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []RPCLimitPolicy `json:"items"`
}
