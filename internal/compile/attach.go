// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"errors"
	"slices"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Target is one thing that one policy is about: a service, a method of it, or
// the policy's own namespace. References that mean the same thing are one
// Target.
type Target struct {
	// Kind is that of the policy.
	Kind   string
	Policy Key
	// AppliesTo is set when the target is the policy's namespace.
	AppliesTo v1alpha1.AppliesTo
	// Service is the one that is targeted. For a namespace it is zero in what a
	// policy says, and in reports one of the services that it reaches.
	Service Key
	// Section is the method; empty for the whole service.
	Section string
}

func compareTargets(a, b Target) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind),
		compareKeys(a.Policy, b.Policy),
		cmp.Compare(a.AppliesTo, b.AppliesTo),
		compareKeys(a.Service, b.Service),
		cmp.Compare(a.Section, b.Section),
	)
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// attachment is a Target on the way through compilation. Each of the verdicts
// stands when the one before it is True.
type attachment struct {
	target     Target
	generation int64
	accepted   verdict
	resolved   verdict
	programmed verdict
	// attached says whether the policy has an effect on the target.
	attached bool
	// layers are those of a call policy, limits those of a limit policy; of use
	// only when attached.
	layers []policy.Layer
	limits []policy.Limit
	// missing are methods that are named and not declared, fields what became of
	// those of the layers.
	missing []string
	fields  []FieldReport
}

// scene is what attachments are judged against.
type scene struct {
	in *ServiceInput
	// methods and consumers are the service's.
	methods   policy.Methods
	consumers []string
	accepted  verdict
}

// attachAll gives the attachments of all policies that target the service,
// sorted.
func (s *scene) attachAll() []attachment {
	var all []attachment
	for _, p := range s.in.CallPolicies {
		for _, t := range s.reached(callTargets(p)) {
			a := attachment{target: t, generation: p.Generation}
			var err error
			a.layers, err = layersFrom(p, t)
			all = append(all, a.judge(s, err))
		}
	}
	for _, p := range s.in.LimitPolicies {
		for _, t := range s.reached(limitTargets(p)) {
			a := attachment{target: t, generation: p.Generation}
			var err error
			a.limits, err = limitsOf(p, t.Section)
			all = append(all, a.judge(s, err))
		}
	}
	slices.SortFunc(all, func(a, b attachment) int { return compareTargets(a.target, b.target) })
	return all
}

// reached keeps the targets that mean this service; those that mean it with its
// namespace, or with all others, name it then.
func (s *scene) reached(targets []Target) []Target {
	var out []Target
	for _, t := range targets {
		switch t.AppliesTo {
		case v1alpha1.AppliesToServices:
			if s.in.RPCService == nil || t.Policy.Namespace != s.in.Key.Namespace {
				continue
			}
			t.Service = s.in.Key
		case v1alpha1.AppliesToCallers:
			// Callers that may not subscribe are out of the policy's reach.
			if s.in.RPCService == nil || !admits(s.consumers, t.Policy.Namespace) {
				continue
			}
			t.Service = s.in.Key
		}
		if t.Service == s.in.Key {
			out = append(out, t)
		}
	}
	return out
}

// judge says what the policy's target comes to, as far as that does not depend
// on other policies; invalid is what is wrong with the policy itself.
func (a attachment) judge(s *scene, invalid error) attachment {
	a.accepted = yes(v1alpha1.ReasonAccepted, "attached to RPCService %s", s.in.Key)
	a.resolved = yes(v1alpha1.ReasonResolvedRefs, "everything that is named exists")
	a.programmed = yes(v1alpha1.ReasonProgrammed, "compiled and served")
	switch {
	case s.in.RPCService == nil:
		a.accepted = no(v1alpha1.ReasonTargetNotFound, "RPCService %s does not exist", s.in.Key)
		a.resolved = a.accepted
		a.programmed = no(v1alpha1.ReasonNotAccepted, "%s", a.accepted.message)
		return a
	case invalid != nil:
		a.accepted = no(v1alpha1.ReasonInvalid, "%v", invalid)
		a.programmed = no(v1alpha1.ReasonNotAccepted, "%v", invalid)
		return a
	case !admits(s.consumers, a.target.Policy.Namespace):
		a.resolved = no(v1alpha1.ReasonRefNotPermitted, "RPCService %s does not let callers in %s subscribe: see its spec.consumers",
			s.in.Key, a.target.Policy.Namespace)
		a.programmed = no(v1alpha1.ReasonUnresolvedRefs, "%s", a.resolved.message)
		return a
	}
	if a.missing = a.undeclared(&s.methods); len(a.missing) > 0 {
		declared := make([]string, len(s.methods.Declared))
		for i, m := range s.methods.Declared {
			declared[i] = m.Name
		}
		a.resolved = no(v1alpha1.ReasonMethodNotDeclared, "RPCService %s does not declare %s; it declares %s",
			s.in.Key, listed(a.missing), cmp.Or(listed(declared), "no method"))
		if a.target.Section != "" {
			a.programmed = no(v1alpha1.ReasonUnresolvedRefs, "%s", a.resolved.message)
			return a
		}
	}
	a.attached = true
	if s.accepted.reason != v1alpha1.ReasonAccepted {
		a.programmed = no(v1alpha1.ReasonNotAccepted, "RPCService %s is not accepted: %s", s.in.Key, s.accepted.message)
	}
	return a
}

// undeclared gives the methods that the target or a limit names and the service
// does not declare, sorted.
func (a *attachment) undeclared(methods *policy.Methods) []string {
	var named []string
	if a.target.Section != "" {
		named = append(named, a.target.Section)
	}
	for i := range a.limits {
		named = append(named, a.limits[i].Methods...)
	}
	slices.Sort(named)
	return slices.DeleteFunc(slices.Compact(named), func(name string) bool {
		_, found := methods.Lookup(name)
		return found
	})
}

var errOverridesOfCaller = errors.New("spec.overrides: only the owner of a service may override what callers say, " +
	"in a policy whose targets are its own")

// layersFrom gives what a call policy says at one of its targets: at most a
// layer, and one of overrides.
func layersFrom(p *v1alpha1.RPCCallPolicy, t Target) (layers []policy.Layer, err error) {
	fields, overrides, err := fieldsOf(&p.Spec)
	if err != nil {
		return nil, err
	}
	step := stepOf(t)
	if step.Caller() && p.Spec.Overrides != nil {
		return nil, errOverridesOfCaller
	}
	for _, l := range []policy.Layer{{Step: step, Fields: fields}, {Step: overrideOf(step), Fields: overrides}} {
		if l.Fields.Empty() {
			continue
		}
		l.Method, l.Source = t.Section, sourceOf(KindRPCCallPolicy, p)
		if err := l.Validate(); err != nil {
			return nil, err
		}
		layers = append(layers, l)
	}
	return layers, nil
}

// callTargets gives what a call policy targets, without repetition. A reference
// that gives the policy's own namespace means the same as one without.
func callTargets(p *v1alpha1.RPCCallPolicy) []Target {
	var targets []Target
	for _, ref := range p.Spec.TargetRefs {
		targets = addTarget(targets, KindRPCCallPolicy, KeyOf(p), deref(ref.Namespace), &ref.TargetRef)
	}
	return targets
}

func limitTargets(p *v1alpha1.RPCLimitPolicy) []Target {
	var targets []Target
	for _, ref := range p.Spec.TargetRefs {
		targets = addTarget(targets, KindRPCLimitPolicy, KeyOf(p), "", &ref)
	}
	return targets
}

func addTarget(to []Target, kind string, of Key, namespace string, ref *v1alpha1.TargetRef) []Target {
	t := targetOf(kind, of, namespace, ref)
	if unsupported(kind, of, ref) != "" || slices.Contains(to, t) {
		return to
	}
	return append(to, t)
}

func targetOf(kind string, of Key, namespace string, ref *v1alpha1.TargetRef) Target {
	if ref.Kind == v1alpha1.KindNamespace {
		return Target{Kind: kind, Policy: of, AppliesTo: deref(ref.AppliesTo)}
	}
	return Target{
		Kind:    kind,
		Policy:  of,
		Service: Key{Namespace: cmp.Or(namespace, of.Namespace), Name: ref.Name},
		Section: string(deref(ref.SectionName)),
	}
}

// CallTarget gives what a reference of a call policy means.
func CallTarget(of Key, ref *v1alpha1.CallTargetRef) Target {
	return targetOf(KindRPCCallPolicy, of, deref(ref.Namespace), &ref.TargetRef)
}

// LimitTarget gives what a reference of a limit policy means.
func LimitTarget(of Key, ref *v1alpha1.TargetRef) Target {
	return targetOf(KindRPCLimitPolicy, of, "", ref)
}

// stepOf gives the place of a call policy in the order of merging: whose it is,
// then what it targets.
func stepOf(t Target) policy.Step {
	owner := t.Policy.Namespace == t.Service.Namespace
	switch {
	case t.AppliesTo == v1alpha1.AppliesToServices:
		return policy.StepOwnerNamespace
	case t.AppliesTo == v1alpha1.AppliesToCallers:
		return policy.StepCallerNamespace
	case owner && t.Section == "":
		return policy.StepOwnerService
	case owner:
		return policy.StepOwnerMethod
	case t.Section == "":
		return policy.StepCallerService
	default:
		return policy.StepCallerMethod
	}
}

// overrideOf gives the place of the overrides of a policy that has that place.
func overrideOf(step policy.Step) policy.Step {
	switch step {
	case policy.StepOwnerNamespace:
		return policy.StepOverrideNamespace
	case policy.StepOwnerService:
		return policy.StepOverrideService
	default:
		return policy.StepOverrideMethod
	}
}
