// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Objects is the set of objects that compilation reads, with the indexes that
// say which services an object concerns: one changed EndpointSlice recompiles
// one service, and no more.
//
// It is a plain set, fed by whoever watches: informers in the operator, files
// and registrations in the standalone control plane. Asking the informers'
// caches instead would tie compilation to one of the two, and would lose the old
// state of an object, which concerns services just as the new one does.
type Objects struct {
	mode          Mode
	rpcServices   map[Key]*v1alpha1.RPCService
	callPolicies  map[Key]*v1alpha1.RPCCallPolicy
	limitPolicies map[Key]*v1alpha1.RPCLimitPolicy
	services      map[Key]*corev1.Service
	slices        map[Key]*discoveryv1.EndpointSlice
	instances     map[Key]*Instance
	namespaces    map[Key]*metav1.PartialObjectMetadata

	// Invariant: each index holds exactly what the objects above say.

	// users are the RPCServices that name a Service.
	users index[Key]
	// slicesOf are the slices of a Service.
	slicesOf index[Key]
	// callsTo and limitsOn are the policies that target an RPCService.
	callsTo  index[Key]
	limitsOn index[Key]
	// servicesIn are the RPCServices of a namespace, and by the empty name all of
	// them; selecting, by the empty name, those that select their consumers.
	servicesIn, selecting index[string]
	// callsIn and limitsIn are the policies that target the services of a
	// namespace; callsFrom, by the empty name, those that target its callers.
	callsIn, limitsIn, callsFrom index[string]
	// instancesOf are the instances of an RPCService.
	instancesOf index[Key]
	// slicesWith are the slices that hold a Pod's UID, or an address.
	slicesWith index[string]

	// changed is the highest revision that concerned a service, by kind. An
	// entry stays for a while when its service goes, since clients that still
	// hold it must be able to compare.
	changed map[Key]map[string]uint64
	// Invariant: unused are the names in changed that no object refers to, the one
	// that changed last at the end, and at most maxUnused.
	unused *recent
}

// maxUnused bounds what is kept of names that nothing refers to any more. Names
// come from whoever may write objects, and one that comes and goes with each
// build must not stay for ever. Clients ask about those that went of late.
const maxUnused = 10_000

// NewObjects gives an empty set.
func NewObjects(mode Mode) *Objects {
	return &Objects{
		mode:          mode,
		rpcServices:   map[Key]*v1alpha1.RPCService{},
		callPolicies:  map[Key]*v1alpha1.RPCCallPolicy{},
		limitPolicies: map[Key]*v1alpha1.RPCLimitPolicy{},
		services:      map[Key]*corev1.Service{},
		slices:        map[Key]*discoveryv1.EndpointSlice{},
		instances:     map[Key]*Instance{},
		namespaces:    map[Key]*metav1.PartialObjectMetadata{},
		users:         index[Key]{},
		slicesOf:      index[Key]{},
		callsTo:       index[Key]{},
		limitsOn:      index[Key]{},
		servicesIn:    index[string]{},
		selecting:     index[string]{},
		callsIn:       index[string]{},
		limitsIn:      index[string]{},
		callsFrom:     index[string]{},
		instancesOf:   index[Key]{},
		slicesWith:    index[string]{},
		changed:       map[Key]map[string]uint64{},
		unused:        newRecent(),
	}
}

// index finds objects by something that they hold.
type index[K comparable] map[K]map[Key]struct{}

func (x index[K]) add(k K, of Key) {
	if x[k] == nil {
		x[k] = map[Key]struct{}{}
	}
	x[k][of] = struct{}{}
}

func (x index[K]) remove(k K, of Key) {
	delete(x[k], of)
	if len(x[k]) == 0 {
		delete(x, k)
	}
}

func (x index[K]) get(k K) []Key {
	return slices.SortedFunc(maps.Keys(x[k]), compareKeys)
}

// union gives what is in one of the sets, sorted.
func union(sets ...map[Key]struct{}) []Key {
	var all []Key
	for _, s := range sets {
		all = slices.AppendSeq(all, maps.Keys(s))
	}
	slices.SortFunc(all, compareKeys)
	return slices.Compact(all)
}

// Set adds an object or replaces the one of its kind and name. It gives the
// services whose output may have changed, sorted: those that the old state of
// the object concerned and those that the new one does. A service may be among
// them that does not exist, when a policy targets it. The revision is that of
// the change; 0 when unknown.
func (o *Objects) Set(object any, revision uint64) ([]Key, error) {
	var kind string
	var before, after []Key
	switch n := object.(type) {
	case *v1alpha1.RPCService:
		kind, before, after = KindRPCService, replace(o, o.rpcServices, KeyOf(n), n), []Key{KeyOf(n)}
	case *v1alpha1.RPCCallPolicy:
		kind, before, after = KindRPCCallPolicy, replace(o, o.callPolicies, KeyOf(n), n), o.concerned(n)
	case *v1alpha1.RPCLimitPolicy:
		kind, before, after = KindRPCLimitPolicy, replace(o, o.limitPolicies, KeyOf(n), n), o.concerned(n)
	case *corev1.Service:
		kind, before, after = KindService, replace(o, o.services, KeyOf(n), n), o.concerned(n)
	case *discoveryv1.EndpointSlice:
		kind, before, after = KindEndpointSlice, replace(o, o.slices, KeyOf(n), n), o.concerned(n)
	case *metav1.PartialObjectMetadata:
		// Only labels count, and a namespace changes often in other ways.
		if old := o.namespaces[KeyOf(n)]; old != nil && maps.Equal(old.Labels, n.Labels) {
			o.namespaces[KeyOf(n)] = n
			return nil, nil
		}
		kind, before, after = KindNamespace, replace(o, o.namespaces, KeyOf(n), n), o.concerned(n)
	case *Instance:
		kind, before, after = KindInstance, replace(o, o.instances, n.Key(), n), o.concerned(n)
	default:
		return nil, fmt.Errorf("an object of type %T has no part in compilation", object)
	}
	return o.mark(kind, revision, before, after), nil
}

// Delete removes an object by its kind and name; one that is not there concerns
// nobody.
func (o *Objects) Delete(kind string, key Key, revision uint64) []Key {
	var before []Key
	switch kind {
	case KindRPCService:
		before = remove(o, o.rpcServices, key)
	case KindRPCCallPolicy:
		before = remove(o, o.callPolicies, key)
	case KindRPCLimitPolicy:
		before = remove(o, o.limitPolicies, key)
	case KindService:
		before = remove(o, o.services, key)
	case KindEndpointSlice:
		before = remove(o, o.slices, key)
	case KindNamespace:
		before = remove(o, o.namespaces, key)
	case KindInstance:
		before = remove(o, o.instances, key)
	}
	return o.mark(kind, revision, before, nil)
}

func replace[T any](o *Objects, in map[Key]*T, key Key, object *T) []Key {
	before := remove(o, in, key)
	in[key] = object
	o.visit(object, index[Key].add, index[string].add)
	return before
}

func remove[T any](o *Objects, in map[Key]*T, key Key) []Key {
	old, found := in[key]
	if !found {
		return nil
	}
	before := o.concerned(old)
	o.visit(old, index[Key].remove, index[string].remove)
	delete(in, key)
	return before
}

// visit adds an object to the indexes, or removes it from them.
func (o *Objects) visit(object any, byKey func(index[Key], Key, Key), byText func(index[string], string, Key)) {
	switch n := object.(type) {
	case *v1alpha1.RPCService:
		byText(o.servicesIn, n.Namespace, KeyOf(n))
		byText(o.servicesIn, "", KeyOf(n))
		if s := n.Spec.Source.Service; s != nil {
			byKey(o.users, Key{Namespace: n.Namespace, Name: s.Name}, KeyOf(n))
		}
		if selects(n) {
			byText(o.selecting, "", KeyOf(n))
		}
	case *v1alpha1.RPCCallPolicy:
		for _, t := range callTargets(n) {
			switch t.AppliesTo {
			case v1alpha1.AppliesToServices:
				byText(o.callsIn, n.Namespace, KeyOf(n))
			case v1alpha1.AppliesToCallers:
				byText(o.callsFrom, "", KeyOf(n))
			default:
				byKey(o.callsTo, t.Service, KeyOf(n))
			}
		}
	case *v1alpha1.RPCLimitPolicy:
		for _, t := range limitTargets(n) {
			if t.AppliesTo != "" {
				byText(o.limitsIn, n.Namespace, KeyOf(n))
			} else {
				byKey(o.limitsOn, t.Service, KeyOf(n))
			}
		}
	case *discoveryv1.EndpointSlice:
		byKey(o.slicesOf, serviceOf(n), KeyOf(n))
		for i := range n.Endpoints {
			for _, text := range identities(&n.Endpoints[i]) {
				byText(o.slicesWith, text, KeyOf(n))
			}
		}
	case *Instance:
		byKey(o.instancesOf, n.Service, n.Key())
	}
}

// concerned gives the services that an object in one state has a part in.
func (o *Objects) concerned(object any) []Key {
	switch n := object.(type) {
	case *v1alpha1.RPCService:
		return []Key{KeyOf(n)}
	case *v1alpha1.RPCCallPolicy:
		return o.targeted(callTargets(n))
	case *v1alpha1.RPCLimitPolicy:
		return o.targeted(limitTargets(n))
	case *corev1.Service:
		return o.users.get(KeyOf(n))
	case *discoveryv1.EndpointSlice:
		return o.users.get(serviceOf(n))
	case *metav1.PartialObjectMetadata:
		return o.selecting.get("")
	case *Instance:
		return []Key{n.Service}
	default:
		return nil
	}
}

// targeted gives the services that targets mean.
func (o *Objects) targeted(targets []Target) []Key {
	var keys []Key
	for _, t := range targets {
		switch t.AppliesTo {
		case v1alpha1.AppliesToServices:
			keys = append(keys, o.servicesIn.get(t.Policy.Namespace)...)
		case v1alpha1.AppliesToCallers:
			keys = append(keys, o.servicesIn.get("")...)
		default:
			keys = append(keys, t.Service)
		}
	}
	return keys
}

// mark notes the revision for all services concerned, and gives them.
func (o *Objects) mark(kind string, revision uint64, before, after []Key) []Key {
	all := slices.Concat(before, after)
	slices.SortFunc(all, compareKeys)
	all = slices.Compact(all)
	for _, service := range all {
		if o.changed[service] == nil {
			o.changed[service] = map[string]uint64{}
		}
		o.changed[service][kind] = max(o.changed[service][kind], revision)
		if o.refersTo(service) {
			o.unused.remove(service)
			continue
		}
		o.unused.add(service)
		if o.unused.len() > maxUnused {
			delete(o.changed, o.unused.removeOldest())
		}
	}
	return all
}

// refersTo says whether any object is, targets or registers with a service.
func (o *Objects) refersTo(service Key) bool {
	return o.rpcServices[service] != nil || len(o.callsTo[service])+len(o.limitsOn[service])+len(o.instancesOf[service]) > 0
}

// Services gives the names of all RPCServices, sorted.
func (o *Objects) Services() []Key { return slices.SortedFunc(maps.Keys(o.rpcServices), compareKeys) }

// RPCService gives the one of that name, or nil.
func (o *Objects) RPCService(key Key) *v1alpha1.RPCService { return o.rpcServices[key] }

// CallPolicy gives the one of that name, or nil.
func (o *Objects) CallPolicy(key Key) *v1alpha1.RPCCallPolicy { return o.callPolicies[key] }

// LimitPolicy gives the one of that name, or nil.
func (o *Objects) LimitPolicy(key Key) *v1alpha1.RPCLimitPolicy { return o.limitPolicies[key] }

// CallPolicies gives the names of all of them, sorted.
func (o *Objects) CallPolicies() []Key {
	return slices.SortedFunc(maps.Keys(o.callPolicies), compareKeys)
}

// LimitPolicies gives the names of all of them, sorted.
func (o *Objects) LimitPolicies() []Key {
	return slices.SortedFunc(maps.Keys(o.limitPolicies), compareKeys)
}

// Input gathers what concerns one service.
func (o *Objects) Input(service Key) ServiceInput {
	in := ServiceInput{Key: service, Mode: o.mode, RPCService: o.rpcServices[service]}
	for _, k := range union(o.callsTo[service], o.callsIn[service.Namespace], o.callsFrom[""]) {
		in.CallPolicies = append(in.CallPolicies, o.callPolicies[k])
	}
	for _, k := range union(o.limitsOn[service], o.limitsIn[service.Namespace]) {
		in.LimitPolicies = append(in.LimitPolicies, o.limitPolicies[k])
	}
	for _, k := range o.instancesOf.get(service) {
		in.Instances = append(in.Instances, o.instances[k])
	}
	if in.RPCService != nil && selects(in.RPCService) {
		for _, namespace := range o.namespaces {
			in.Namespaces = append(in.Namespaces, namespace)
		}
	}
	if in.RPCService == nil || in.RPCService.Spec.Source.Service == nil {
		return in
	}
	name := Key{Namespace: service.Namespace, Name: in.RPCService.Spec.Source.Service.Name}
	in.Service = o.services[name]
	for _, k := range o.slicesOf.get(name) {
		in.Slices = append(in.Slices, o.slices[k])
	}
	return in
}

// AsOf says how new a service's output is: the highest revisions that concerned
// it, and for each kind the revision up to which its source has been seen.
func (o *Objects) AsOf(service Key, seen map[string]uint64) policy.AsOf {
	revisions := make([]policy.KindRevision, 0, len(seen))
	for kind, s := range seen {
		revisions = append(revisions, policy.KindRevision{Kind: kind, Seen: s})
	}
	for kind, changed := range o.changed[service] {
		revisions = append(revisions, policy.KindRevision{Kind: kind, Changed: changed})
	}
	return policy.NewAsOf(revisions...)
}
