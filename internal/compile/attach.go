// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"slices"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Target is one thing that one policy is about: a service, or a method of it.
// References that mean the same thing are one Target.
type Target struct {
	// Kind is that of the policy.
	Kind    string
	Policy  Key
	Service Key
	// Section is the method; empty for the whole service.
	Section string
}

func compareTargets(a, b Target) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind),
		compareKeys(a.Policy, b.Policy),
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
	// layer is that of a call policy, limits are those of a limit policy; of
	// use only when attached.
	layer  policy.Layer
	limits []policy.Limit
}

// attachAll gives the attachments of all policies that target the service,
// sorted.
func attachAll(in *ServiceInput, methods *policy.Methods, acceptedService verdict) []attachment {
	var all []attachment
	for _, p := range in.CallPolicies {
		fields, err := fieldsOf(&p.Spec)
		for _, t := range callTargets(p) {
			a := attachment{target: t, generation: p.Generation}
			a.layer = policy.Layer{Step: stepOf(t), Method: t.Section, Source: sourceOf(KindRPCCallPolicy, p), Fields: fields}
			if err == nil {
				err = a.layer.Validate()
			}
			all = append(all, a.judge(in, methods, acceptedService, err))
		}
	}
	for _, p := range in.LimitPolicies {
		for _, t := range limitTargets(p) {
			a := attachment{target: t, generation: p.Generation}
			var err error
			a.limits, err = limitsOf(p, t.Section)
			all = append(all, a.judge(in, methods, acceptedService, err))
		}
	}
	all = slices.DeleteFunc(all, func(a attachment) bool { return a.target.Service != in.Key })
	slices.SortFunc(all, func(a, b attachment) int { return compareTargets(a.target, b.target) })
	return all
}

// judge says what the policy's target comes to, as far as that does not depend
// on other policies; invalid is what is wrong with the policy itself.
func (a attachment) judge(in *ServiceInput, methods *policy.Methods, acceptedService verdict, invalid error) attachment {
	a.accepted = yes(v1alpha1.ReasonAccepted, "attached to RPCService %s", in.Key)
	a.resolved = yes(v1alpha1.ReasonResolvedRefs, "everything that is named exists")
	a.programmed = yes(v1alpha1.ReasonProgrammed, "compiled and served")
	switch {
	case in.RPCService == nil:
		a.accepted = no(v1alpha1.ReasonTargetNotFound, "RPCService %s does not exist", in.Key)
		a.resolved = a.accepted
		a.programmed = no(v1alpha1.ReasonNotAccepted, "%s", a.accepted.message)
		return a
	case invalid != nil:
		a.accepted = no(v1alpha1.ReasonInvalid, "%v", invalid)
		a.programmed = no(v1alpha1.ReasonNotAccepted, "%v", invalid)
		return a
	}
	if missing := a.undeclared(methods); len(missing) > 0 {
		declared := make([]string, len(methods.Declared))
		for i, m := range methods.Declared {
			declared[i] = m.Name
		}
		a.resolved = no(v1alpha1.ReasonMethodNotDeclared, "RPCService %s does not declare %s; it declares %s",
			in.Key, listed(missing), cmp.Or(listed(declared), "no method"))
		if a.target.Section != "" {
			a.programmed = no(v1alpha1.ReasonUnresolvedRefs, "%s", a.resolved.message)
			return a
		}
	}
	a.attached = true
	if acceptedService.reason != v1alpha1.ReasonAccepted {
		a.programmed = no(v1alpha1.ReasonNotAccepted, "RPCService %s is not accepted: %s", in.Key, acceptedService.message)
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
	if !supported(ref) || slices.Contains(to, t) {
		return to
	}
	return append(to, t)
}

func targetOf(kind string, of Key, namespace string, ref *v1alpha1.TargetRef) Target {
	return Target{
		Kind:    kind,
		Policy:  of,
		Service: Key{Namespace: cmp.Or(namespace, of.Namespace), Name: ref.Name},
		Section: string(deref(ref.SectionName)),
	}
}

// supported says whether this version knows the kind of target at all.
func supported(ref *v1alpha1.TargetRef) bool {
	return ref.Group == v1alpha1.GroupName && ref.Kind == v1alpha1.KindRPCService
}

// stepOf gives the place of a call policy in the order of merging: whose it is,
// then what it targets.
func stepOf(t Target) policy.Step {
	switch owner := t.Policy.Namespace == t.Service.Namespace; {
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
