// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Reports finds what compilation said of a target: one report for a service,
// none when it has not been compiled yet; for a namespace one for each service
// that is reached, sorted, with the Service filled in.
type Reports func(Target) []TargetReport

// CallPolicyStatus puts the status of a policy together out of the reports on
// its targets.
func CallPolicyStatus(p *v1alpha1.RPCCallPolicy, reports Reports) v1alpha1.PolicyStatus {
	b := statusBuilder{kind: KindRPCCallPolicy, policy: KeyOf(p), generation: p.Generation, reports: reports}
	for i := range p.Spec.TargetRefs {
		ref := &p.Spec.TargetRefs[i]
		t := CallTarget(KeyOf(p), ref)
		_, err := layersFrom(p, t)
		b.add(t, &ref.TargetRef, err)
	}
	return b.status()
}

// LimitPolicyStatus puts the status of a policy together out of the reports on
// its targets.
func LimitPolicyStatus(p *v1alpha1.RPCLimitPolicy, reports Reports) v1alpha1.PolicyStatus {
	b := statusBuilder{kind: KindRPCLimitPolicy, policy: KeyOf(p), generation: p.Generation, reports: reports}
	for i := range p.Spec.TargetRefs {
		ref := &p.Spec.TargetRefs[i]
		t := LimitTarget(KeyOf(p), ref)
		_, err := limitsOf(p, t.Section)
		b.add(t, ref, err)
	}
	return b.status()
}

// unsupported says why a reference means nothing here, whatever exists; empty if
// it means something.
func unsupported(kind string, of Key, ref *v1alpha1.TargetRef) string {
	switch {
	case ref.Group == v1alpha1.GroupName && ref.Kind == v1alpha1.KindRPCService:
		return ""
	case ref.Group != "" || ref.Kind != v1alpha1.KindNamespace:
		return fmt.Sprintf("targets of kind %s.%s are not known to this version", ref.Kind, ref.Group)
	case ref.Name != of.Namespace:
		return fmt.Sprintf("a policy can target no other Namespace than its own, which is %s and not %s", of.Namespace, ref.Name)
	}
	switch applies := deref(ref.AppliesTo); {
	case applies == v1alpha1.AppliesToServices, applies == v1alpha1.AppliesToCallers && kind == KindRPCCallPolicy:
		return ""
	default:
		return fmt.Sprintf("appliesTo %q is not known to this version for an %s", applies, kind)
	}
}

type statusBuilder struct {
	kind       string
	policy     Key
	generation int64
	reports    Reports
	names      []string
	attached   int
	ancestors  []v1alpha1.PolicyAncestorStatus
}

// add adds a target; invalid is what is wrong with the policy there, whatever it
// reaches.
func (b *statusBuilder) add(t Target, ref *v1alpha1.TargetRef, invalid error) {
	report := TargetReport{Target: t}
	wrong := unsupported(b.kind, b.policy, ref)
	switch reports := b.reports(t); {
	case wrong != "":
		report.Conditions = b.refused(wrong)
	case t.AppliesTo != "" && invalid != nil:
		report.Conditions = b.refused(invalid.Error())
	case t.AppliesTo != "":
		report = b.namespace(t, reports)
	case len(reports) > 0:
		report = reports[0]
	default:
		unknown := verdict{metav1.ConditionUnknown, v1alpha1.ReasonReconciling, "there is no verdict yet"}
		report.Conditions = b.conditions(yes(v1alpha1.ReasonAccepted, "taken up"),
			yes(v1alpha1.ReasonResolvedRefs, "nothing that is named is missing"), unknown)
	}
	if report.Attached {
		b.attached++
	}
	name := t.Service.String()
	of := v1alpha1.AncestorReference{Group: ref.Group, Kind: ref.Kind, Name: ref.Name, SectionName: ref.SectionName, AppliesTo: ref.AppliesTo}
	switch {
	case ref.Kind == v1alpha1.KindNamespace:
		name = fmt.Sprintf("%s of Namespace %s", deref(ref.AppliesTo), ref.Name)
	case t.Section != "":
		name += " " + t.Section
		fallthrough
	default:
		of.Namespace = &t.Service.Namespace
	}
	b.names = append(b.names, name)
	b.ancestors = append(b.ancestors, v1alpha1.PolicyAncestorStatus{
		AncestorRef: of, ControllerName: v1alpha1.ControllerName, Conditions: report.Conditions,
	})
}

func (b *statusBuilder) conditions(accepted, resolved, programmed verdict) []metav1.Condition {
	return []metav1.Condition{
		accepted.condition(v1alpha1.ConditionAccepted, b.generation),
		resolved.condition(v1alpha1.ConditionResolvedRefs, b.generation),
		programmed.condition(v1alpha1.ConditionProgrammed, b.generation),
	}
}

func (b *statusBuilder) refused(why string) []metav1.Condition {
	return b.conditions(no(v1alpha1.ReasonInvalid, "%s", why), yes(v1alpha1.ReasonResolvedRefs, "nothing that is named is missing"),
		no(v1alpha1.ReasonNotAccepted, "%s", why))
}

// namespace adds up the reports on the services that a namespace means. What is
// wrong with one of them only, say that it does not declare a method, is nothing
// that a policy for many has to answer for.
func (b *statusBuilder) namespace(t Target, reports []TargetReport) TargetReport {
	total := TargetReport{Target: t, Attached: true}
	served := slices.DeleteFunc(slices.Clone(reports), func(r TargetReport) bool { return !r.served() })
	resolved := yes(v1alpha1.ReasonResolvedRefs, "everything that is named exists")
	if missing := declaredNowhere(served); len(missing) > 0 {
		resolved = no(v1alpha1.ReasonMethodNotDeclared, "no RPCService that it reaches declares %s", listed(missing))
	}
	outcome := programmed(together(served))
	if len(served) == 0 {
		outcome = yes(v1alpha1.ReasonProgrammed, "there is no RPCService to apply it to yet")
	}
	total.Conditions = b.conditions(yes(v1alpha1.ReasonAccepted, "attached to Namespace %s", b.policy.Namespace), resolved, outcome)
	return total
}

// served says whether the report is about a service that is compiled and served.
func (r *TargetReport) served() bool {
	return r.Attached && !slices.ContainsFunc(r.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionProgrammed && c.Reason == v1alpha1.ReasonNotAccepted
	})
}

// declaredNowhere gives the methods that no service declares.
func declaredNowhere(reports []TargetReport) []string {
	if len(reports) == 0 {
		return nil
	}
	missing := slices.Clone(reports[0].Undeclared)
	for _, r := range reports[1:] {
		missing = slices.DeleteFunc(missing, func(m string) bool { return !slices.Contains(r.Undeclared, m) })
	}
	return missing
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
	if severity > 0 && len(b.ancestors) > 1 {
		worst.Message = b.names[of] + ": " + worst.Message
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
