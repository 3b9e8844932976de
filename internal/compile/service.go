// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// ServiceReport is what the status of an RPCService says.
type ServiceReport struct {
	// Conditions are Accepted, ResolvedRefs, Programmed, Ready and
	// EndpointsAvailable. Degraded takes time to tell: see MassLoss.
	Conditions []metav1.Condition
	Summary    v1alpha1.RPCServiceSummary
	// MassLoss says that suspects exceed half of the endpoints that are not
	// terminating, at this moment.
	MassLoss bool
}

// TargetReport is what the status of a policy says of one of its targets.
type TargetReport struct {
	Target
	// Attached: the policy has an effect on the target, or would have if the
	// RPCService were served.
	Attached bool
	// Conditions are Accepted, ResolvedRefs and Programmed.
	Conditions []metav1.Condition
	// Undeclared are the methods that are named and that the service does not
	// declare, sorted.
	Undeclared []string
	// Fields are those that a call policy sets and that were merged, by name.
	Fields []FieldReport
}

// Service compiles one service.
func Service(in ServiceInput) ServiceOutput {
	out := ServiceOutput{Key: in.Key}
	s := scene{in: &in}
	var resolved verdict
	if in.RPCService != nil {
		s.methods, s.consumers, s.accepted = accept(&in)
		out.Consumers = s.consumers
	}
	accepted := s.accepted
	attachments := s.attachAll()
	if accepted.reason == v1alpha1.ReasonAccepted {
		resolved = out.findEndpoints(&in)
		accepted = out.encode(s.methods, attachments, accepted)
	}
	if in.RPCService != nil {
		out.Report = report(&in, &out, accepted, resolved)
	}
	for i := range attachments {
		out.Targets = append(out.Targets, attachments[i].report())
	}
	return out
}

// findEndpoints fills in the endpoints and what became of the rest.
func (o *ServiceOutput) findEndpoints(in *ServiceInput) verdict {
	port, ok, resolved := resolve(in)
	switch {
	case !ok:
	case in.RPCService.Spec.Source.Type == v1alpha1.SourceRegistered:
		o.Endpoints = registeredEndpoints(in.Key, in.Instances, &o.Counts)
	default:
		o.Endpoints = endpointsOf(in.Service, port, ownSlices(in), &o.Counts)
	}
	return resolved
}

// encode makes the parts, and settles what became of each attached policy.
func (o *ServiceOutput) encode(methods policy.Methods, attachments []attachment, accepted verdict) verdict {
	layers := layersOf(attachments)
	fates := judgeLayers(o.Key, layers)
	var limits []policy.Limit
	for i := range attachments {
		a := &attachments[i]
		switch {
		case !a.attached:
		case a.target.Kind == KindRPCCallPolicy:
			a.fields = fates.reports(a.target)
			a.programmed = programmed(a.fields)
		default:
			limits = appendNew(limits, a.limits)
		}
	}
	parts, err := encodeParts(o.Endpoints, methods, layers, limits)
	if err != nil {
		// Every object was validated, so this takes an object larger than an
		// item may be.
		return no(v1alpha1.ReasonInvalid, "%v", err)
	}
	o.Parts, o.Published = parts, true
	return accepted
}

// appendNew leaves out limits that are there already: those of a policy that
// targets the service by name and with its namespace.
func appendNew(limits, more []policy.Limit) []policy.Limit {
	for _, l := range more {
		if !slices.ContainsFunc(limits, func(o policy.Limit) bool { return o.ID() == l.ID() }) {
			limits = append(limits, l)
		}
	}
	return limits
}

// encodeParts gives the parts sorted by name.
func encodeParts(endpoints []policy.Endpoint, methods policy.Methods, l layers, limits []policy.Limit) ([]policy.Part, error) {
	var parts []policy.Part
	var failed error
	add := func(p policy.Part, err error) {
		if err != nil && failed == nil {
			failed = err
		}
		parts = append(parts, p)
	}
	add(policy.EncodeEndpoints(endpoints))
	add(policy.EncodeLimits(methods, limits))
	for _, namespace := range l.namespaces() {
		add(policy.EncodeOverlay(namespace, l.overlays[namespace]))
	}
	add(policy.EncodeOwner(methods, l.owner))
	if failed != nil {
		return nil, failed
	}
	return parts, nil
}

func report(in *ServiceInput, out *ServiceOutput, accepted, resolved verdict) *ServiceReport {
	programmed := yes(v1alpha1.ReasonProgrammed, "compiled and served")
	if accepted.reason != v1alpha1.ReasonAccepted {
		programmed = no(v1alpha1.ReasonNotAccepted, "%s", accepted.message)
		// What it names was not looked at.
		resolved = verdict{metav1.ConditionTrue, v1alpha1.ReasonResolvedRefs, "nothing that is named is missing"}
	}
	generation := in.RPCService.Generation
	conditions := []metav1.Condition{
		accepted.condition(v1alpha1.ConditionAccepted, generation),
		resolved.condition(v1alpha1.ConditionResolvedRefs, generation),
		programmed.condition(v1alpha1.ConditionProgrammed, generation),
	}
	return &ServiceReport{
		Conditions: append(conditions,
			ready(conditions).condition(v1alpha1.ConditionReady, generation),
			available(out.Counts).condition(v1alpha1.ConditionEndpointsAvailable, generation)),
		Summary:  v1alpha1.RPCServiceSummary{Endpoints: fmt.Sprintf("%d/%d", out.Counts.Ready, out.Counts.total())},
		MassLoss: policy.MassLoss(out.Endpoints),
	}
}

func available(c Counts) verdict {
	switch {
	case c.Ready > 0:
		return yes(v1alpha1.ReasonEndpointsReady, "%d of %d endpoints are ready%s", c.Ready, c.total(), c.skipped())
	case c.Suspect+c.Draining > 0:
		return no(v1alpha1.ReasonNoReadyEndpoints, "no endpoint is ready: %d are not ready, %d are terminating%s",
			c.Suspect, c.Draining, c.skipped())
	default:
		return no(v1alpha1.ReasonNoEndpoints, "there is no endpoint%s", c.skipped())
	}
}

// skipped says what was left out and why, for the end of a message.
func (c Counts) skipped() string {
	var s string
	for _, kind := range []struct {
		n   int
		why string
	}{
		{c.SkippedFQDN, "with DNS names instead of addresses"},
		{c.SkippedPortless, "without that port"},
		{c.SkippedProtocol, "whose port is not TCP"},
		{c.SkippedOwner, "of an earlier Service of the same name"},
		{c.SkippedAddress, "without a usable address"},
	} {
		if kind.n > 0 {
			s += fmt.Sprintf("; %d left out %s", kind.n, kind.why)
		}
	}
	return s
}

// Degraded gives the condition of that name; massLoss is the report's predicate
// held for 5 s, which this package has no clock to tell.
func Degraded(generation int64, massLoss bool, c Counts) metav1.Condition {
	v := no(v1alpha1.ReasonAsExpected, "nothing is out of order")
	if massLoss {
		v = yes(v1alpha1.ReasonMassEndpointLoss,
			"%d of %d endpoints are neither ready nor told to go, as when nodes are lost; callers keep using those that still answer them",
			c.Suspect, c.total())
	}
	return v.condition(v1alpha1.ConditionDegraded, generation)
}

func (a *attachment) report() TargetReport {
	return TargetReport{
		Target: a.target, Attached: a.attached, Undeclared: a.missing, Fields: a.fields,
		Conditions: []metav1.Condition{
			a.accepted.condition(v1alpha1.ConditionAccepted, a.generation),
			a.resolved.condition(v1alpha1.ConditionResolvedRefs, a.generation),
			a.programmed.condition(v1alpha1.ConditionProgrammed, a.generation),
		},
	}
}
