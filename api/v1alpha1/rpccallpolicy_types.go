// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FailMode says what a client does after an attempt has failed.
//
// +kubebuilder:validation:Enum=Failfast;Failover
type FailMode string

const (
	// Failfast makes one attempt and hands its error to the caller.
	Failfast FailMode = "Failfast"
	// Failover makes up to retry.attempts attempts, each on an endpoint not yet tried, with a pause of random length between.
	Failover FailMode = "Failover"
)

// LoadBalancerType names the way in which a client chooses an endpoint for an attempt.
//
// +kubebuilder:validation:Enum=Random;RoundRobin;LeastRequest
type LoadBalancerType string

const (
	// LoadBalancerRandom takes any endpoint, all with the same chance.
	LoadBalancerRandom LoadBalancerType = "Random"
	// LoadBalancerRoundRobin takes one endpoint after the other.
	LoadBalancerRoundRobin LoadBalancerType = "RoundRobin"
	// LoadBalancerLeastRequest draws two endpoints and takes the one with fewer calls of this client in flight.
	LoadBalancerLeastRequest LoadBalancerType = "LeastRequest"
)

// Backoff bounds the pause before an attempt after the first. Policies never mix: the whole of one policy's backoff
// applies.
//
// +kubebuilder:validation:XValidation:rule="!self.base.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || !self.max.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || duration(self.base) <= duration(self.max)",message="base must not be longer than max",fieldPath=".base"
type Backoff struct {
	// base is the upper bound of the first pause, from 1ms to 1m. It doubles with every further attempt, up to max; each
	// pause is drawn evenly between zero and its bound.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || (duration(self) >= duration('1ms') && duration(self) <= duration('1m'))",message="must be from 1ms to 1m"
	Base Duration `json:"base"`

	// max is the upper bound of every pause, from 1ms to 1m, and not less than base.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || (duration(self) >= duration('1ms') && duration(self) <= duration('1m'))",message="must be from 1ms to 1m"
	Max Duration `json:"max"`
}

// RetryBudget bounds the share of attempts that are not the first of their call. Policies never mix: the whole of one
// policy's budget applies.
type RetryBudget struct {
	// percent is the number of further attempts per 100 calls in the interval, from 0 to 100. With 0 only minRetryRate
	// allows further attempts.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent int32 `json:"percent"`

	// interval is the time over which calls are counted, from 1s to 1h.
	//
	// +required
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || (duration(self) >= duration('1s') && duration(self) <= duration('1h'))",message="must be from 1s to 1h"
	Interval Duration `json:"interval"`
}

// RetryPolicy says how often, and how soon, a call may be attempted again. An attempt after the first also needs safety
// (the call certainly did not run, or its method is idempotent), budget, and time left until the deadline.
//
// +kubebuilder:validation:MinProperties=1
type RetryPolicy struct {
	// attempts is the highest number of attempts of one call, the first included, from 1 to 10. Failfast makes one,
	// whatever stands here. Absent means 2.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	Attempts *int32 `json:"attempts,omitempty"`

	// perTryTimeout bounds one attempt, from 1ms to 1h, and not longer than timeout. It binds only an attempt after which
	// another is possible; the last one has all the time that is left. Absent means that only timeout binds.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || (duration(self) >= duration('1ms') && duration(self) <= duration('1h'))",message="must be from 1ms to 1h"
	PerTryTimeout *Duration `json:"perTryTimeout,omitempty"`

	// backoff bounds the pause before an attempt after the first. Absent means base 10ms and max 1s.
	//
	// +optional
	Backoff *Backoff `json:"backoff,omitempty"`

	// budget bounds further attempts as a share of calls, per client process and target. Absent means 20 percent of the calls
	// of the last 10s.
	//
	// +optional
	Budget *RetryBudget `json:"budget,omitempty"`

	// minRetryRate is what a client may send again whatever the budget says, so that a client with few calls can retry at
	// all. Policies never mix: the whole of one policy's minRetryRate applies. A count of 0 leaves only the budget. Absent
	// means 10 per 1s.
	//
	// +optional
	MinRetryRate *Rate `json:"minRetryRate,omitempty"`
}

// LoadBalancer says how a client chooses among the endpoints.
//
// +kubebuilder:validation:MinProperties=1
type LoadBalancer struct {
	// type is Random, RoundRobin or LeastRequest (of two endpoints drawn at random, the one with fewer calls of this client
	// in flight). Absent means LeastRequest.
	//
	// +optional
	Type *LoadBalancerType `json:"type,omitempty"`
}

// CallOverrides are fields of a call policy that win over those of callers. Where several policies override a field, the
// wider one wins: a namespace over its services, a service over its methods.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!has(self.timeout) || !has(self.retry) || !has(self.retry.perTryTimeout) || !self.timeout.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || !self.retry.perTryTimeout.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || duration(self.retry.perTryTimeout) <= duration(self.timeout)",message="perTryTimeout must not be longer than timeout",fieldPath=".retry.perTryTimeout"
type CallOverrides struct {
	// timeout as in spec, whatever callers say.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || (duration(self) >= duration('1ms') && duration(self) <= duration('1h'))",message="must be from 1ms to 1h"
	Timeout *Duration `json:"timeout,omitempty"`

	// failMode as in spec, whatever callers say.
	//
	// +optional
	FailMode *FailMode `json:"failMode,omitempty"`

	// retry as in spec, whatever callers say. Fields of it that are absent here stay free.
	//
	// +optional
	Retry *RetryPolicy `json:"retry,omitempty"`

	// loadBalancer as in spec, whatever callers say.
	//
	// +optional
	LoadBalancer *LoadBalancer `json:"loadBalancer,omitempty"`
}

// RPCCallPolicySpec says how calls to the targets are made. Policies for the same target merge field by field. A caller's
// policy wins over an owner's, and an owner's overrides over both; on either side a method wins over its service and a
// service over its namespace, in overrides the other way round; among equals the older policy wins.
//
// +kubebuilder:validation:XValidation:rule="has(self.timeout) || has(self.failMode) || has(self.retry) || has(self.loadBalancer) || has(self.overrides)",message="at least one of timeout, failMode, retry, loadBalancer and overrides must be set"
// +kubebuilder:validation:XValidation:rule="!has(self.timeout) || !has(self.retry) || !has(self.retry.perTryTimeout) || !self.timeout.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || !self.retry.perTryTimeout.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || duration(self.retry.perTryTimeout) <= duration(self.timeout)",message="perTryTimeout must not be longer than timeout",fieldPath=".retry.perTryTimeout"
// +kubebuilder:validation:XValidation:rule="!has(self.overrides) || !self.targetRefs.exists(t, has(t.__namespace__) || (has(t.appliesTo) && t.appliesTo == 'Callers'))",message="overrides are the owner's: they may be set only if no target reference has a namespace or appliesTo: Callers",fieldPath=".overrides",reason=FieldValueForbidden
type RPCCallPolicySpec struct {
	// targetRefs are 1 to 16 RPCServices, methods of them, or the policy's own Namespace. Two references to the same
	// RPCService need different sectionNames, two to the Namespace different appliesTo.
	//
	// +required
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(a, has(a.sectionName) || a.kind == 'Namespace' || self.exists_one(b, b.kind != 'Namespace' && a.name == b.name && has(a.__namespace__) == has(b.__namespace__) && (!has(a.__namespace__) || a.__namespace__ == b.__namespace__)))",message="two references to one RPCService must both have a sectionName"
	// +kubebuilder:validation:XValidation:rule="self.all(a, !has(a.sectionName) || self.exists_one(b, a.name == b.name && has(a.__namespace__) == has(b.__namespace__) && (!has(a.__namespace__) || a.__namespace__ == b.__namespace__) && has(b.sectionName) && a.sectionName == b.sectionName))",message="two references to one RPCService must have different sectionNames"
	// +kubebuilder:validation:XValidation:rule="self.all(a, a.kind != 'Namespace' || !has(a.appliesTo) || self.exists_one(b, b.kind == 'Namespace' && has(b.appliesTo) && a.appliesTo == b.appliesTo))",message="two references to the Namespace must have different appliesTo"
	TargetRefs []CallTargetRef `json:"targetRefs"`

	// timeout is the time that a call may take with all its attempts, from 1ms to 1h. A shorter deadline of the caller wins.
	// Absent means 10s.
	//
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') || (duration(self) >= duration('1ms') && duration(self) <= duration('1h'))",message="must be from 1ms to 1h"
	Timeout *Duration `json:"timeout,omitempty"`

	// failMode is Failfast (one attempt) or Failover (up to retry.attempts, each on an endpoint not yet tried). Absent means
	// Failover.
	//
	// +optional
	FailMode *FailMode `json:"failMode,omitempty"`

	// retry says how often, and how soon, a call may be attempted again.
	//
	// +optional
	Retry *RetryPolicy `json:"retry,omitempty"`

	// loadBalancer says how a client chooses among the endpoints.
	//
	// +optional
	LoadBalancer *LoadBalancer `json:"loadBalancer,omitempty"`

	// overrides are fields that win over what callers say for themselves. Only the owner of the targets may set them.
	//
	// +optional
	Overrides *CallOverrides `json:"overrides,omitempty"`
}

// RPCCallPolicy says how calls are made: timeout, fail mode, retry, load balancing. In the namespace of the service its
// owner writes it for all callers; in another namespace a team writes it for its own callers.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=rpccallpolicies,singular=rpccallpolicy,scope=Namespaced,shortName=rpccall,categories=rpc
// +kubebuilder:metadata:labels="gateway.networking.k8s.io/policy=Inherited"
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description="Accepted, resolved and served for every target"
// +kubebuilder:printcolumn:name="Targets",type=string,JSONPath=".status.summary.targets",description="Attached targets out of all"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=".status.conditions[?(@.type==\"Programmed\")].reason",priority=1,description="Whether this is compiled and served, and whether all of it won"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=".metadata.creationTimestamp"
type RPCCallPolicy struct {
	metav1.TypeMeta `json:",inline"`

	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`

	// spec is what the owner, or a caller's team, says.
	//
	// +required
	Spec RPCCallPolicySpec `json:"spec"`

	// status is what the operator says. Nothing reads it to make a decision.
	//
	// +optional
	Status PolicyStatus `json:"status,omitzero"`
}

// RPCCallPolicyList is a list of RPCCallPolicies.
//
// +kubebuilder:object:root=true
type RPCCallPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []RPCCallPolicy `json:"items"`
}
