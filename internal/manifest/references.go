// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

// references warns of what resolves to nothing. Whether it does is not decided here but by compile, so that lint and the
// conditions in the cluster never disagree; what is added is the place in the file, and words for somebody who has only
// these manifests.
func (l *linter) references() (findings []Finding, err error) {
	objects := compile.NewObjects(compile.Mode{Registered: true})
	for _, o := range l.objects {
		if _, err := objects.Set(o.typed, 0); err != nil {
			return nil, fmt.Errorf("resolve references: %w", err)
		}
	}
	var book compile.Book
	each(l, v1alpha1.KindRPCService, func(o *object, s *v1alpha1.RPCService) {
		out := compile.Service(objects.Input(compile.KeyOf(s)))
		book.Set(nil, out.Targets)
		if out.Report == nil {
			return
		}
		findings = append(findings, l.source(o, s, out.Report.Conditions)...)
		findings = append(findings, consumers(o, s, out.Report.Conditions)...)
	})
	each(l, v1alpha1.KindRPCCallPolicy, func(o *object, p *v1alpha1.RPCCallPolicy) {
		status := compile.CallPolicyStatus(p, book.Reports)
		for i, ref := range p.Spec.TargetRefs {
			if ref.Kind == v1alpha1.KindNamespace {
				findings = append(findings, o.namespace(i, status.Ancestors[i].Conditions)...)
				continue
			}
			findings = append(findings, l.target(o, i, compile.CallTarget(compile.KeyOf(p), &ref), ref.TargetRef, objects, nil)...)
		}
	})
	each(l, v1alpha1.KindRPCLimitPolicy, func(o *object, p *v1alpha1.RPCLimitPolicy) {
		status := compile.LimitPolicyStatus(p, book.Reports)
		for i, ref := range p.Spec.TargetRefs {
			if ref.Kind == v1alpha1.KindNamespace {
				findings = append(findings, o.namespace(i, status.Ancestors[i].Conditions)...)
				continue
			}
			findings = append(findings, l.target(o, i, compile.LimitTarget(compile.KeyOf(p), &ref), ref, objects, p.Spec.Limits)...)
		}
	})
	return findings, nil
}

// namespace warns of the i-th target, a Namespace, if the policy can mean nothing by it.
func (o *object) namespace(i int, conditions []metav1.Condition) []Finding {
	path := fmt.Sprintf("spec.targetRefs[%d]", i)
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionAccepted); c != nil && c.Status == metav1.ConditionFalse {
		return []Finding{o.source.finding(Warning, path+".name", c.Message)}
	}
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionResolvedRefs); c != nil && c.Status == metav1.ConditionFalse {
		return []Finding{o.source.finding(Warning, path, c.Message)}
	}
	return nil
}

// consumers warns of a selector that selects nothing because it cannot be understood.
func consumers(o *object, s *v1alpha1.RPCService, conditions []metav1.Condition) []Finding {
	accepted := meta.FindStatusCondition(conditions, v1alpha1.ConditionAccepted)
	if s.Spec.Consumers == nil || accepted == nil || accepted.Reason != v1alpha1.ReasonInvalid ||
		!strings.HasPrefix(accepted.Message, "spec.consumers") {
		return nil
	}
	return []Finding{o.source.finding(Warning, "spec.consumers.namespaces", accepted.Message)}
}

// source warns of a Service, or a port of it, that an RPCService names in vain.
func (l *linter) source(o *object, s *v1alpha1.RPCService, conditions []metav1.Condition) []Finding {
	resolved := meta.FindStatusCondition(conditions, v1alpha1.ConditionResolvedRefs)
	if resolved == nil || resolved.Status != metav1.ConditionFalse || s.Spec.Source.Service == nil {
		return nil
	}
	const at = "spec.source.service"
	switch resolved.Reason {
	case v1alpha1.ReasonServiceNotFound:
		id := identity{compile.KindService, s.Namespace, s.Spec.Source.Service.Name}
		if l.broken[id] {
			return nil
		}
		return []Finding{o.source.finding(Warning, at+".name", l.absent(id))}
	case v1alpha1.ReasonPortNotFound, v1alpha1.ReasonPortAmbiguous:
		return []Finding{o.source.finding(Warning, at+".port", resolved.Message)}
	default:
		return []Finding{o.source.finding(Warning, at+".name", resolved.Message)}
	}
}

// target warns of the i-th target of a policy, if it is not there or does not declare a method that the policy names.
func (l *linter) target(o *object, i int, t compile.Target, ref v1alpha1.TargetRef, objects *compile.Objects, limits []v1alpha1.Limit) []Finding {
	out := compile.Service(objects.Input(t.Service))
	at := slices.IndexFunc(out.Targets, func(r compile.TargetReport) bool { return r.Target == t })
	if at < 0 {
		return nil
	}
	path := fmt.Sprintf("spec.targetRefs[%d]", i)
	conditions := out.Targets[at].Conditions
	if c := meta.FindStatusCondition(conditions, v1alpha1.ConditionAccepted); c != nil && c.Status == metav1.ConditionFalse {
		id := identity{v1alpha1.KindRPCService, t.Service.Namespace, t.Service.Name}
		switch {
		case c.Reason != v1alpha1.ReasonTargetNotFound:
			return []Finding{o.source.finding(Warning, path, c.Message)}
		case l.broken[id]:
			return nil
		}
		return []Finding{o.source.finding(Warning, path+".name", l.absent(id))}
	}
	c := meta.FindStatusCondition(conditions, v1alpha1.ConditionResolvedRefs)
	switch {
	case c == nil || c.Status != metav1.ConditionFalse:
		return nil
	case c.Reason == v1alpha1.ReasonRefNotPermitted:
		// Which namespaces a selector selects is not known here.
		if from := objects.RPCService(t.Service).Spec.Consumers.Namespaces.From; from == v1alpha1.FromSelector {
			return nil
		}
		return []Finding{o.source.finding(Warning, path+".namespace", c.Message+"; this reference has no effect")}
	case ref.SectionName != nil:
		return []Finding{o.source.finding(Warning, path+".sectionName", c.Message+"; this reference has no effect")}
	}
	return undeclared(o, limits, objects.RPCService(t.Service), c.Message)
}

// undeclared warns at each method of a limit that the service does not declare.
func undeclared(o *object, limits []v1alpha1.Limit, s *v1alpha1.RPCService, message string) (findings []Finding) {
	if s == nil {
		return nil
	}
	for i := range limits {
		for j, name := range limits[i].Methods {
			declared := slices.ContainsFunc(s.Spec.Methods, func(m v1alpha1.RPCMethod) bool { return m.Name == name })
			if !declared {
				path := fmt.Sprintf("spec.limits[%d].methods[%d]", i, j)
				findings = append(findings, o.source.finding(Warning, path, message+"; the limit applies all the same"))
			}
		}
	}
	return findings
}

// absent says that something named is not among these manifests, and what was perhaps meant.
func (l *linter) absent(id identity) string {
	var names []string
	elsewhere := ""
	for other := range l.objects {
		switch {
		case other.kind == id.kind && other.namespace == id.namespace:
			names = append(names, other.name)
		case other.kind == id.kind && other.name == id.name && (elsewhere == "" || other.namespace < elsewhere):
			elsewhere = other.namespace
		}
	}
	slices.Sort(names)
	message := fmt.Sprintf("there is no %s in these manifests", id)
	if near := nearest(id.name, names); near != "" {
		message += fmt.Sprintf("; did you mean %s?", near)
	} else if elsewhere != "" {
		message += fmt.Sprintf("; there is one in namespace %s", elsewhere)
	}
	return message
}
