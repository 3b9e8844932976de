// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// layers has the attached call policies of one service by who is bound by them.
type layers struct {
	owner []policy.Layer
	// overlays are by the namespace of the callers.
	overlays map[string][]policy.Layer
}

func layersOf(all []attachment) layers {
	l := layers{overlays: map[string][]policy.Layer{}}
	for i := range all {
		a := &all[i]
		if !a.attached {
			continue
		}
		for _, layer := range a.layers {
			if layer.Step.Caller() {
				l.overlays[a.target.Policy.Namespace] = append(l.overlays[a.target.Policy.Namespace], layer)
			} else {
				l.owner = append(l.owner, layer)
			}
		}
	}
	return l
}

// namespaces gives those of callers with policies of their own, sorted.
func (l *layers) namespaces() []string {
	names := make([]string, 0, len(l.overlays))
	for n := range l.overlays {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// FieldReport is what became of one field that a policy sets at a target.
type FieldReport struct {
	// Name is as users write it; "overrides.timeout" among overrides.
	Name string
	// InForce: some caller makes some call with it.
	InForce bool
	// Lost says what overrides it where the policy itself applies first; Fell
	// says where it first could not be used, and why.
	Lost, Fell string
}

// fates are by target and by the field's name.
type fates map[Target]map[string]*FieldReport

// of gives the report on a field that a layer of a step sets.
func (f fates) of(t Target, step policy.Step, field string) *FieldReport {
	field = fieldName(step, field)
	if f[t] == nil {
		f[t] = map[string]*FieldReport{}
	}
	if f[t][field] == nil {
		f[t][field] = &FieldReport{Name: field}
	}
	return f[t][field]
}

// reports gives those on a target's fields, sorted.
func (f fates) reports(t Target) []FieldReport {
	var all []FieldReport
	for _, r := range f[t] {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b FieldReport) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func fieldName(step policy.Step, field string) string {
	if step.Overrides() {
		return "overrides." + field
	}
	return field
}

// targetAt gives the target by which a layer came to its step.
func targetAt(service Key, step policy.Step, s policy.Source, method string) Target {
	t := Target{Kind: s.Kind, Policy: Key{Namespace: s.Namespace, Name: s.Name}, Service: service}
	switch step {
	case policy.StepOwnerMethod, policy.StepCallerMethod, policy.StepOverrideMethod:
		t.Section = method
	case policy.StepOwnerNamespace, policy.StepOverrideNamespace:
		t.AppliesTo = v1alpha1.AppliesToServices
	case policy.StepCallerNamespace:
		t.AppliesTo = v1alpha1.AppliesToCallers
	default:
	}
	return t
}

// judgeLayers merges as clients will: for callers without policies of their
// own and for each namespace that has some; for each method that a layer names
// and for all others together. A field has lost when it is in force nowhere: a
// policy that others refine for a method, or for some callers, has lost nothing.
func judgeLayers(service Key, l layers) fates {
	f := fates{}
	f.view(service, "", l.owner)
	for _, namespace := range l.namespaces() {
		f.view(service, namespace, slices.Concat(l.owner, l.overlays[namespace]))
	}
	return f
}

// view adds what callers of a namespace see; it is empty for those without
// policies of their own.
func (f fates) view(service Key, namespace string, layers []policy.Layer) {
	snapshot := policy.Snapshot{Layers: layers}
	for _, method := range append([]string{""}, snapshot.LayeredMethods()...) {
		e := snapshot.Effective(method)
		at := func(step policy.Step, s policy.Source, field string) *FieldReport {
			return f.of(targetAt(service, step, s, method), step, field)
		}
		for _, field := range e.Fields {
			if field.Step == policy.StepDefault {
				continue
			}
			at(field.Step, field.Source, field.Name).InForce = true
			for _, was := range field.InsteadOf {
				if was.Step == policy.StepDefault {
					continue
				}
				if r := at(was.Step, was.Source, field.Name); r.Lost == "" {
					r.Lost = fmt.Sprintf("%s %s is overridden by %s (%s)", r.Name, was.Value, winner(&field), field.Value)
				}
			}
		}
		for _, b := range e.Fallbacks {
			if r := at(b.Step, b.Source, b.Field); r.Fell == "" {
				r.Fell = fmt.Sprintf("%s %s is not in force%s: %s", r.Name, b.Value, where(method, namespace), b.Reason)
			}
		}
	}
}

func winner(f *policy.Field) string {
	name := fmt.Sprintf("%s %s/%s", f.Source.Kind, f.Source.Namespace, f.Source.Name)
	if f.Step.Overrides() {
		return "the overrides of " + name
	}
	return name
}

func where(method, namespace string) string {
	switch {
	case method == "" && namespace == "":
		return ""
	case method == "":
		return " for callers in " + namespace
	case namespace == "":
		return " for " + method
	default:
		return " for " + method + " called from " + namespace
	}
}

// together adds up what became of fields at several services. A field that is
// in force at one has not lost.
func together(reports []TargetReport) []FieldReport {
	byName := map[string]*FieldReport{}
	for i := range reports {
		for _, r := range reports[i].Fields {
			sum := byName[r.Name]
			if sum == nil {
				byName[r.Name] = &r
				continue
			}
			sum.InForce = sum.InForce || r.InForce
			sum.Lost, sum.Fell = cmp.Or(sum.Lost, r.Lost), cmp.Or(sum.Fell, r.Fell)
		}
	}
	return fates{Target{}: byName}.reports(Target{})
}

// programmed says what became of all fields of a target.
func programmed(fields []FieldReport) verdict {
	inForce := 0
	var trouble []string
	for _, f := range fields {
		switch {
		case f.InForce && f.Fell == "":
			inForce++
		case f.InForce:
			inForce++
			trouble = append(trouble, f.Fell)
		case f.Fell != "":
			trouble = append(trouble, f.Fell)
		default:
			trouble = append(trouble, f.Lost)
		}
	}
	message := strings.Join(trouble, "; ")
	switch {
	case len(trouble) == 0:
		return yes(v1alpha1.ReasonProgrammed, "compiled and served")
	case inForce == 0:
		return no(v1alpha1.ReasonOverridden, "%s", message)
	default:
		return yes(v1alpha1.ReasonPartiallyProgrammed, "%s", message)
	}
}
