// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ControllerName stands in status.ancestors[].controllerName of the entries that the operator writes.
const ControllerName = "rpc.fairlead.dev/operator"

// The condition types. Catalogue says which kind has which, and what each reason means.
const (
	// ConditionAccepted says whether the control plane takes the object up at all.
	ConditionAccepted = "Accepted"
	// ConditionResolvedRefs says whether everything that the object names exists and fits.
	ConditionResolvedRefs = "ResolvedRefs"
	// ConditionProgrammed says whether the object is compiled and served. It never depends on clients.
	ConditionProgrammed = "Programmed"
	// ConditionReady sums up Accepted, ResolvedRefs and Programmed.
	ConditionReady = "Ready"
	// ConditionEndpointsAvailable says whether an RPCService has a ready endpoint. Ready ignores it.
	ConditionEndpointsAvailable = "EndpointsAvailable"
	// ConditionDegraded says that something is wrong that the control plane tolerates. True is the bad state.
	ConditionDegraded = "Degraded"
	// ConditionHonoured says whether the clients that are bound can do what is asked of them. Ready ignores it.
	ConditionHonoured = "Honoured"
)

// The reasons. Each stands in Catalogue, with the type and status that it goes with.
const (
	// ReasonAccepted: the object is taken up.
	ReasonAccepted = "Accepted"
	// ReasonInvalid: the object breaks a rule that was not yet in force when it was stored.
	ReasonInvalid = "Invalid"
	// ReasonUnsupportedSource: this control plane does not offer the source.type of the RPCService.
	ReasonUnsupportedSource = "UnsupportedSource"
	// ReasonTargetNotFound: a target of the policy does not exist.
	ReasonTargetNotFound = "TargetNotFound"

	// ReasonResolvedRefs: everything that is named exists and fits.
	ReasonResolvedRefs = "ResolvedRefs"
	// ReasonMethodNotDeclared: a sectionName, or a limit, names a method that the RPCService does not declare.
	ReasonMethodNotDeclared = "MethodNotDeclared"
	// ReasonRefNotPermitted: the RPCService does not let callers of the policy's namespace subscribe.
	ReasonRefNotPermitted = "RefNotPermitted"
	// ReasonServiceNotFound: the Service of the RPCService does not exist.
	ReasonServiceNotFound = "ServiceNotFound"
	// ReasonUnsupportedServiceType: the Service is of a type that has no endpoints, which is ExternalName.
	ReasonUnsupportedServiceType = "UnsupportedServiceType"
	// ReasonPortNotFound: the Service has no TCP port of that name, or no TCP port at all.
	ReasonPortNotFound = "PortNotFound"
	// ReasonPortAmbiguous: source.service.port is absent and the Service has more than one TCP port.
	ReasonPortAmbiguous = "PortAmbiguous"

	// ReasonProgrammed: all of the object is compiled and served.
	ReasonProgrammed = "Programmed"
	// ReasonPartiallyProgrammed: some fields of the policy lost against another policy, or do not fit with it.
	ReasonPartiallyProgrammed = "PartiallyProgrammed"
	// ReasonOverridden: every field of the policy lost against other policies.
	ReasonOverridden = "Overridden"
	// ReasonReconciling: the control plane has not come to a verdict yet.
	ReasonReconciling = "Reconciling"

	// ReasonReady: Accepted, ResolvedRefs and Programmed are all True.
	ReasonReady = "Ready"
	// ReasonNotAccepted: Accepted is False.
	ReasonNotAccepted = "NotAccepted"
	// ReasonUnresolvedRefs: ResolvedRefs is False.
	ReasonUnresolvedRefs = "UnresolvedRefs"
	// ReasonNotProgrammed: Programmed is False.
	ReasonNotProgrammed = "NotProgrammed"

	// ReasonEndpointsReady: at least one endpoint is ready.
	ReasonEndpointsReady = "EndpointsReady"
	// ReasonNoEndpoints: there is no endpoint.
	ReasonNoEndpoints = "NoEndpoints"
	// ReasonNoReadyEndpoints: there are endpoints, but none is ready.
	ReasonNoReadyEndpoints = "NoReadyEndpoints"

	// ReasonMassEndpointLoss: more than half of the endpoints that are not terminating are suspect, as when nodes are lost.
	ReasonMassEndpointLoss = "MassEndpointLoss"
	// ReasonAsExpected: nothing is out of order.
	ReasonAsExpected = "AsExpected"

	// ReasonAllClients: every client that is bound honours all of it.
	ReasonAllClients = "AllClients"
	// ReasonClientsTooOld: clients are bound whose runtime does not honour all of it.
	ReasonClientsTooOld = "ClientsTooOld"
	// ReasonNoClients: nobody subscribes.
	ReasonNoClients = "NoClients"
)

// ReasonSpec is one verdict that a condition can carry.
type ReasonSpec struct {
	Status metav1.ConditionStatus
	Reason string
	// Kinds that can carry this verdict, a part of the condition's Kinds.
	Kinds   []string
	Meaning string
}

// ConditionSpec says what a condition type means and where it stands. The condition is there from the first visit of the
// control plane on, and stays.
type ConditionSpec struct {
	Type string
	// Kinds whose status.conditions have this condition.
	Kinds []string
	// Good is the status of a healthy object: True, or False for a condition that reports trouble.
	Good metav1.ConditionStatus
	// PerTarget says that the entries of a policy's status.ancestors have it, too. The one in status.conditions is then the
	// worst of them: False before Unknown before True.
	PerTarget bool
	Meaning   string
	Reasons   []ReasonSpec
}

// Catalogue returns every condition that the control plane writes, in the order in which it writes them. The result is the
// caller's own.
func Catalogue() []ConditionSpec {
	return []ConditionSpec{
		acceptedSpec(), resolvedRefsSpec(), programmedSpec(), readySpec(), endpointsAvailableSpec(), degradedSpec(), honouredSpec(),
	}
}

func allKinds() []string {
	return []string{KindRPCService, KindRPCCallPolicy, KindRPCLimitPolicy}
}

func serviceKinds() []string {
	return []string{KindRPCService}
}

func policyKinds() []string {
	return []string{KindRPCCallPolicy, KindRPCLimitPolicy}
}

func acceptedSpec() ConditionSpec {
	return ConditionSpec{
		Type: ConditionAccepted, Kinds: allKinds(), Good: metav1.ConditionTrue, PerTarget: true,
		Meaning: "the control plane takes the object up",
		Reasons: []ReasonSpec{
			{metav1.ConditionTrue, ReasonAccepted, allKinds(), "the object is taken up"},
			{metav1.ConditionFalse, ReasonInvalid, allKinds(), "the object breaks a rule that was not yet in force when it was stored; the message names the field"},
			{metav1.ConditionFalse, ReasonUnsupportedSource, serviceKinds(), "this control plane does not offer that source.type"},
			{metav1.ConditionFalse, ReasonTargetNotFound, policyKinds(), "the RPCService that a target names does not exist"},
		},
	}
}

func resolvedRefsSpec() ConditionSpec {
	return ConditionSpec{
		Type: ConditionResolvedRefs, Kinds: allKinds(), Good: metav1.ConditionTrue, PerTarget: true,
		Meaning: "everything that the object names exists and fits",
		Reasons: []ReasonSpec{
			{metav1.ConditionTrue, ReasonResolvedRefs, allKinds(), "everything exists and fits"},
			{metav1.ConditionFalse, ReasonTargetNotFound, policyKinds(), "the RPCService that a target names does not exist"},
			{metav1.ConditionFalse, ReasonMethodNotDeclared, policyKinds(), "a sectionName names a method that the RPCService does not declare, and has no effect; or a limit does, and applies all the same"},
			{metav1.ConditionFalse, ReasonRefNotPermitted, []string{KindRPCCallPolicy}, "a caller's policy names an RPCService whose spec.consumers leaves the policy's namespace out"},
			{metav1.ConditionFalse, ReasonServiceNotFound, serviceKinds(), "the Service does not exist"},
			{metav1.ConditionFalse, ReasonUnsupportedServiceType, serviceKinds(), "the Service is of type ExternalName, which has no endpoints"},
			{metav1.ConditionFalse, ReasonPortNotFound, serviceKinds(), "the Service has no TCP port of that name, or no TCP port at all"},
			{metav1.ConditionFalse, ReasonPortAmbiguous, serviceKinds(), "no port is named and the Service has more than one TCP port"},
		},
	}
}

func programmedSpec() ConditionSpec {
	return ConditionSpec{
		Type: ConditionProgrammed, Kinds: allKinds(), Good: metav1.ConditionTrue, PerTarget: true,
		Meaning: "the object is compiled and served; clients have no part in it",
		Reasons: []ReasonSpec{
			{metav1.ConditionTrue, ReasonProgrammed, allKinds(), "all of it is compiled and served"},
			{metav1.ConditionTrue, ReasonPartiallyProgrammed, []string{KindRPCCallPolicy}, "some fields lost against another policy, or do not fit with it; the message names each field and the winner"},
			{metav1.ConditionFalse, ReasonOverridden, []string{KindRPCCallPolicy}, "every field lost against other policies; the message names them"},
			{metav1.ConditionFalse, ReasonNotAccepted, allKinds(), "nothing is served, because Accepted is False"},
			{metav1.ConditionFalse, ReasonUnresolvedRefs, policyKinds(), "nothing is served, because the sectionName is not declared, or the RPCService leaves the policy's namespace out"},
			{metav1.ConditionUnknown, ReasonReconciling, allKinds(), "there is no verdict yet"},
		},
	}
}

func readySpec() ConditionSpec {
	return ConditionSpec{
		Type: ConditionReady, Kinds: allKinds(), Good: metav1.ConditionTrue,
		Meaning: "Accepted, ResolvedRefs and Programmed in one",
		Reasons: []ReasonSpec{
			{metav1.ConditionTrue, ReasonReady, allKinds(), "all three are True"},
			{metav1.ConditionFalse, ReasonNotAccepted, allKinds(), "Accepted is False"},
			{metav1.ConditionFalse, ReasonUnresolvedRefs, allKinds(), "Accepted is True, ResolvedRefs is False"},
			{metav1.ConditionFalse, ReasonNotProgrammed, allKinds(), "only Programmed is False"},
			{metav1.ConditionUnknown, ReasonReconciling, allKinds(), "none is False, but there is no verdict yet"},
		},
	}
}

func endpointsAvailableSpec() ConditionSpec {
	return ConditionSpec{
		Type: ConditionEndpointsAvailable, Kinds: serviceKinds(), Good: metav1.ConditionTrue,
		Meaning: "the service has a ready endpoint; Ready ignores it",
		Reasons: []ReasonSpec{
			{metav1.ConditionTrue, ReasonEndpointsReady, serviceKinds(), "at least one endpoint is ready"},
			{metav1.ConditionFalse, ReasonNoEndpoints, serviceKinds(), "there is no endpoint"},
			{metav1.ConditionFalse, ReasonNoReadyEndpoints, serviceKinds(), "there are endpoints, but none is ready"},
		},
	}
}

func degradedSpec() ConditionSpec {
	return ConditionSpec{
		Type: ConditionDegraded, Kinds: serviceKinds(), Good: metav1.ConditionFalse,
		Meaning: "something is wrong that calls survive for now",
		Reasons: []ReasonSpec{
			{metav1.ConditionFalse, ReasonAsExpected, serviceKinds(), "nothing is out of order"},
			{metav1.ConditionTrue, ReasonMassEndpointLoss, serviceKinds(), "for 5s more than half of the endpoints that are not terminating have been suspect, as when nodes are lost"},
		},
	}
}

func honouredSpec() ConditionSpec {
	return ConditionSpec{
		Type: ConditionHonoured, Kinds: allKinds(), Good: metav1.ConditionTrue,
		Meaning: "the clients that are bound can do what is asked of them; Ready ignores it",
		Reasons: []ReasonSpec{
			{metav1.ConditionTrue, ReasonAllClients, allKinds(), "every client that is bound honours all of it"},
			{metav1.ConditionFalse, ReasonClientsTooOld, allKinds(), "the runtime of some clients does not honour a field, or refused the newest change; the message names the field, their number and versions"},
			{metav1.ConditionUnknown, ReasonNoClients, allKinds(), "nobody subscribes"},
			{metav1.ConditionUnknown, ReasonReconciling, allKinds(), "clients have not been counted yet"},
		},
	}
}
