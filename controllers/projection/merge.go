// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package projection

import (
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Change is what a new status changes, the more important the higher.
type Change uint8

const (
	// None: there is nothing to write.
	None Change = iota
	// Numbers: counts have moved.
	Numbers
	// Verdict: a condition has turned, has another reason, or follows a change
	// of the object.
	Verdict
)

// numeric are the conditions whose messages count things.
func numeric(condition string) bool {
	switch condition {
	case v1alpha1.ConditionEndpointsAvailable, v1alpha1.ConditionDegraded, v1alpha1.ConditionHonoured:
		return true
	default:
		return false
	}
}

// Conditions lays desired over observed: conditions of other types stay, as does
// the time of a condition whose status has not changed.
func Conditions(observed, desired []metav1.Condition, now metav1.Time) []metav1.Condition {
	merged := slices.Clone(observed)
	for _, c := range desired {
		c.LastTransitionTime = now
		i := slices.IndexFunc(merged, func(o metav1.Condition) bool { return o.Type == c.Type })
		if i < 0 {
			merged = append(merged, c)
			continue
		}
		if merged[i].Status == c.Status {
			c.LastTransitionTime = merged[i].LastTransitionTime
		}
		merged[i] = c
	}
	return merged
}

// Ancestors lays our entries over observed: those of other controllers stay,
// ours that are not desired any more go.
func Ancestors(observed, desired []v1alpha1.PolicyAncestorStatus, now metav1.Time) []v1alpha1.PolicyAncestorStatus {
	merged := slices.DeleteFunc(slices.Clone(observed), func(a v1alpha1.PolicyAncestorStatus) bool {
		return a.ControllerName == v1alpha1.ControllerName
	})
	for _, a := range desired {
		var before []metav1.Condition
		for _, o := range observed {
			if o.ControllerName == a.ControllerName && reflect.DeepEqual(o.AncestorRef, a.AncestorRef) {
				before = o.Conditions
			}
		}
		a.Conditions = Conditions(before, a.Conditions, now)
		merged = append(merged, a)
	}
	return merged
}

// Compare says what next changes in observed.
func Compare(observed, next []metav1.Condition) Change {
	change := None
	for _, c := range next {
		i := slices.IndexFunc(observed, func(o metav1.Condition) bool { return o.Type == c.Type })
		if i < 0 {
			return Verdict
		}
		o := observed[i]
		switch {
		case o.Status != c.Status, o.Reason != c.Reason, o.ObservedGeneration != c.ObservedGeneration:
			return Verdict
		case o.Message != c.Message && !numeric(c.Type):
			return Verdict
		case o.Message != c.Message:
			change = Numbers
		}
	}
	return change
}

// Policy lays the status that a policy should have over the one that it has, and
// says what that changes.
func Policy(observed, desired *v1alpha1.PolicyStatus, now metav1.Time) (v1alpha1.PolicyStatus, Change) {
	next := v1alpha1.PolicyStatus{
		ObservedGeneration: desired.ObservedGeneration,
		Conditions:         Conditions(observed.Conditions, desired.Conditions, now),
		Summary:            desired.Summary,
		Clients:            desired.Clients,
		Ancestors:          Ancestors(observed.Ancestors, desired.Ancestors, now),
	}
	change := Compare(observed.Conditions, next.Conditions)
	switch {
	case !reflect.DeepEqual(observed.Ancestors, next.Ancestors), observed.ObservedGeneration != next.ObservedGeneration:
		change = Verdict
	case !reflect.DeepEqual(observed.Summary, next.Summary), !reflect.DeepEqual(observed.Clients, next.Clients):
		change = max(change, Numbers)
	}
	return next, change
}

// Service lays the status that an RPCService should have over the one that it
// has, and says what that changes.
func Service(observed, desired *v1alpha1.RPCServiceStatus, now metav1.Time) (v1alpha1.RPCServiceStatus, Change) {
	next := v1alpha1.RPCServiceStatus{
		ObservedGeneration: desired.ObservedGeneration,
		Conditions:         Conditions(observed.Conditions, desired.Conditions, now),
		Summary:            desired.Summary,
		Clients:            desired.Clients,
	}
	change := Compare(observed.Conditions, next.Conditions)
	switch {
	case observed.ObservedGeneration != next.ObservedGeneration:
		change = Verdict
	case !reflect.DeepEqual(observed.Summary, next.Summary), !reflect.DeepEqual(observed.Clients, next.Clients):
		change = max(change, Numbers)
	}
	return next, change
}
