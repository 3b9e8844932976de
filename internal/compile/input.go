// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Key names an object by its namespace and name.
type Key = types.NamespacedName

// The kinds of objects, which are the kinds of asOf too.
const (
	KindRPCService     = v1alpha1.KindRPCService
	KindRPCCallPolicy  = v1alpha1.KindRPCCallPolicy
	KindRPCLimitPolicy = v1alpha1.KindRPCLimitPolicy
	KindService        = "Service"
	KindEndpointSlice  = "EndpointSlice"
	KindNamespace      = v1alpha1.KindNamespace
	KindInstance       = "Instance"
)

// Mode says what the control plane offers.
type Mode struct {
	// Registered: instances may register themselves (source.type Registered).
	// Only the standalone control plane offers it.
	Registered bool
}

// Instance is one that registered itself with the standalone control plane.
type Instance struct {
	// Service is the RPCService that it is an instance of.
	Service Key
	// ID is stable while it is registered; the address when empty.
	ID string
	// Address is host:port.
	Address string
	// Metadata is what it says of itself; "zone" is used.
	Metadata map[string]string
	// Ready is false while its connection is lost and its lease still runs.
	Ready bool
}

// Key names the instance among all of them.
func (i *Instance) Key() Key {
	return Key{Namespace: i.Service.String(), Name: cmp.Or(i.ID, canonical(i.Address))}
}

// ServiceInput has the objects that concern one service, in any order. Objects
// that concern others are ignored.
type ServiceInput struct {
	Key  Key
	Mode Mode
	// RPCService is nil when it does not exist; policies may name it all the same.
	RPCService    *v1alpha1.RPCService
	CallPolicies  []*v1alpha1.RPCCallPolicy
	LimitPolicies []*v1alpha1.RPCLimitPolicy
	// Service is the one that RPCService names; nil when it does not exist.
	Service   *corev1.Service
	Slices    []*discoveryv1.EndpointSlice
	Instances []*Instance
	// Namespaces are those of the cluster, needed when the RPCService selects
	// consumers by their labels.
	Namespaces []*metav1.PartialObjectMetadata
}

// ServiceOutput is all that follows from a ServiceInput.
type ServiceOutput struct {
	Key Key
	// Published says whether the service can be served: it exists and is accepted.
	Published bool
	// Parts are sorted by name: endpoints, limits, an overlay for each namespace
	// of callers that has policies, owner. Nil when not Published.
	Parts []policy.Part
	// Endpoints are what the part of that name holds.
	Endpoints []policy.Endpoint
	Counts    Counts
	// Consumers are the namespaces whose callers may subscribe, sorted; nil for
	// all.
	Consumers []string
	// Report is nil when the RPCService does not exist.
	Report *ServiceReport
	// Targets has a report for each reference to this service, sorted.
	Targets []TargetReport
}

// Part gives the part of that name.
func (o *ServiceOutput) Part(name string) (policy.Part, bool) {
	for _, p := range o.Parts {
		if p.Name == name {
			return p, true
		}
	}
	return policy.Part{}, false
}

// PartsFor gives what a subscriber gets, sorted by name. The namespace matters
// only for a Caller.
func (o *ServiceOutput) PartsFor(role policy.Role, callerNamespace string) []policy.Part {
	names := []string{policy.PartEndpoints, policy.OverlayPart(callerNamespace), policy.PartOwner}
	if role == policy.Server {
		names = []string{policy.PartLimits}
	}
	var parts []policy.Part
	for _, name := range names {
		if p, found := o.Part(name); found {
			parts = append(parts, p)
		}
	}
	return parts
}
