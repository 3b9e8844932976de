// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Reports finds what the compilation of a target's service said of it; false
// when it has not been compiled yet.
type Reports func(Target) (TargetReport, bool)

// CallPolicyStatus puts the status of a policy together out of the reports on
// its targets.
func CallPolicyStatus(p *v1alpha1.RPCCallPolicy, reports Reports) v1alpha1.PolicyStatus {
	b := statusBuilder{generation: p.Generation, reports: reports}
	for i := range p.Spec.TargetRefs {
		ref := &p.Spec.TargetRefs[i]
		b.add(targetOf(KindRPCCallPolicy, KeyOf(p), deref(ref.Namespace), &ref.TargetRef), &ref.TargetRef)
	}
	return b.status()
}

// LimitPolicyStatus puts the status of a policy together out of the reports on
// its targets.
func LimitPolicyStatus(p *v1alpha1.RPCLimitPolicy, reports Reports) v1alpha1.PolicyStatus {
	b := statusBuilder{generation: p.Generation, reports: reports}
	for i := range p.Spec.TargetRefs {
		ref := &p.Spec.TargetRefs[i]
		b.add(targetOf(KindRPCLimitPolicy, KeyOf(p), "", ref), ref)
	}
	return b.status()
}

type statusBuilder struct {
	generation int64
	reports    Reports
	targets    []Target
	attached   int
	ancestors  []v1alpha1.PolicyAncestorStatus
}

func (b *statusBuilder) add(t Target, ref *v1alpha1.TargetRef) {
	report, found := b.reports(t)
	switch {
	case !supported(ref):
		a := attachment{target: t, generation: b.generation}
		a.accepted = no(v1alpha1.ReasonInvalid, "targets of kind %s.%s are not known to this version", ref.Kind, ref.Group)
		a.resolved = yes(v1alpha1.ReasonResolvedRefs, "nothing that is named is missing")
		a.programmed = no(v1alpha1.ReasonNotAccepted, "%s", a.accepted.message)
		report = a.report()
	case !found:
		unknown := verdict{metav1.ConditionUnknown, v1alpha1.ReasonReconciling, "there is no verdict yet"}
		report = TargetReport{Target: t, Conditions: []metav1.Condition{
			yes(v1alpha1.ReasonAccepted, "taken up").condition(v1alpha1.ConditionAccepted, b.generation),
			yes(v1alpha1.ReasonResolvedRefs, "nothing that is named is missing").condition(v1alpha1.ConditionResolvedRefs, b.generation),
			unknown.condition(v1alpha1.ConditionProgrammed, b.generation),
		}}
	}
	if report.Attached {
		b.attached++
	}
	b.targets = append(b.targets, t)
	b.ancestors = append(b.ancestors, v1alpha1.PolicyAncestorStatus{
		AncestorRef: v1alpha1.AncestorReference{
			Group: ref.Group, Kind: ref.Kind, Namespace: &t.Service.Namespace, Name: t.Service.Name, SectionName: ref.SectionName,
		},
		ControllerName: v1alpha1.ControllerName,
		Conditions:     report.Conditions,
	})
}

func (b *statusBuilder) status() v1alpha1.PolicyStatus {
	var conditions []metav1.Condition
	for _, kind := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionResolvedRefs, v1alpha1.ConditionProgrammed} {
		conditions = append(conditions, b.worst(kind))
	}
	return v1alpha1.PolicyStatus{
		ObservedGeneration: b.generation,
		Conditions:         append(conditions, ready(conditions).condition(v1alpha1.ConditionReady, b.generation)),
		Summary:            &v1alpha1.PolicySummary{Targets: fmt.Sprintf("%d/%d", b.attached, len(b.ancestors))},
		Ancestors:          b.ancestors,
	}
}

// worst gives the worst of the targets' conditions of a type; where there are
// several targets the message says which one it is about.
func (b *statusBuilder) worst(kind string) metav1.Condition {
	var worst metav1.Condition
	of, severity := 0, -1
	for i := range b.ancestors {
		for _, c := range b.ancestors[i].Conditions {
			if c.Type == kind && severityOf(c) > severity {
				worst, of, severity = c, i, severityOf(c)
			}
		}
	}
	if severity > 0 && len(b.targets) > 1 {
		name := b.targets[of].Service.String()
		if section := b.targets[of].Section; section != "" {
			name += " " + section
		}
		worst.Message = name + ": " + worst.Message
	}
	worst.ObservedGeneration = b.generation
	return worst
}

// severityOf ranks conditions: False, Unknown, True but not wholly, True.
func severityOf(c metav1.Condition) int {
	switch {
	case c.Status == metav1.ConditionFalse:
		return 3
	case c.Status == metav1.ConditionUnknown:
		return 2
	case c.Reason == v1alpha1.ReasonPartiallyProgrammed:
		return 1
	default:
		return 0
	}
}

// ready sums up Accepted, ResolvedRefs and Programmed, in this order.
func ready(conditions []metav1.Condition) verdict {
	reasons := []string{v1alpha1.ReasonNotAccepted, v1alpha1.ReasonUnresolvedRefs, v1alpha1.ReasonNotProgrammed}
	for i, c := range conditions {
		if c.Status == metav1.ConditionFalse {
			return no(reasons[i], "%s", c.Message)
		}
	}
	for _, c := range conditions {
		if c.Status != metav1.ConditionTrue {
			return verdict{metav1.ConditionUnknown, v1alpha1.ReasonReconciling, c.Message}
		}
	}
	return yes(v1alpha1.ReasonReady, "accepted, resolved and served")
}
