// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// Identity is what a subscriber declares of itself.
type Identity struct {
	// Namespace is that of its workload; empty when it does not say.
	Namespace string
	// PodUID counts before addresses, where an endpoint names its Pod.
	PodUID string
	// Addresses are IP addresses, or with a port ip:port.
	Addresses []string
}

// Serve is one service that a subscriber is an instance of.
type Serve struct {
	// Service is namespace/name of the RPCService.
	Service string
	Port    uint16
}

// Self is what the control plane knows of a subscriber.
type Self struct {
	Namespace string
	// Pod is the name, and Zone that of the node; empty when unknown.
	Pod  string
	Zone string
	// Serves are sorted.
	Serves []Serve
}

// identities gives what an endpoint of a slice can be found by.
func identities(e *discoveryv1.Endpoint) []string {
	var ids []string
	if e.TargetRef != nil && e.TargetRef.UID != "" {
		ids = append(ids, "uid "+string(e.TargetRef.UID))
	}
	if len(e.Addresses) > 0 {
		if ip, err := netip.ParseAddr(e.Addresses[0]); err == nil {
			ids = append(ids, "ip "+ip.String())
		}
	}
	return ids
}

// Self finds out what a subscriber is, from the slices that hold it, in
// whatever state it is there: an instance that is not ready, or on its way out,
// has limits too.
func (o *Objects) Self(who Identity) Self {
	self := Self{Namespace: who.Namespace}
	for _, in := range o.holders(who) {
		service := o.services[serviceOf(in)]
		if service == nil {
			continue
		}
		for _, user := range o.users.get(KeyOf(service)) {
			self.addFrom(o.rpcServices[user], service, in, who)
		}
	}
	for _, i := range o.instances {
		rpc := o.rpcServices[i.Service]
		if rpc != nil && rpc.Spec.Source.Type == v1alpha1.SourceRegistered && o.mode.Registered {
			self.addInstance(i, who)
		}
	}
	slices.SortFunc(self.Serves, func(a, b Serve) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Port, b.Port))
	})
	self.Serves = slices.Compact(self.Serves)
	return self
}

// holders gives the slices that hold the subscriber, sorted.
func (o *Objects) holders(who Identity) []*discoveryv1.EndpointSlice {
	var keys []Key
	if who.PodUID != "" {
		keys = slices.Clone(o.slicesWith.get("uid " + who.PodUID))
	}
	for _, a := range who.Addresses {
		if ap, ok := parseAddress(a); ok {
			keys = append(keys, o.slicesWith.get("ip "+ap.Addr().String())...)
		}
	}
	slices.SortFunc(keys, compareKeys)
	found := make([]*discoveryv1.EndpointSlice, 0, len(keys))
	for _, k := range slices.Compact(keys) {
		found = append(found, o.slices[k])
	}
	return found
}

// addFrom adds what one slice says of the subscriber as an instance of one
// service.
func (s *Self) addFrom(rpc *v1alpha1.RPCService, service *corev1.Service, in *discoveryv1.EndpointSlice, who Identity) {
	if rpc.Spec.Source.Type != v1alpha1.SourceService {
		return
	}
	port, found := resolvePort(service, rpc.Spec.Source.Service.Port)
	if found.reason != v1alpha1.ReasonResolvedRefs {
		return
	}
	for _, e := range entriesOf(in, service, port, &Counts{}) {
		if !who.is(&e) {
			continue
		}
		s.Serves = append(s.Serves, Serve{Service: KeyOf(rpc).String(), Port: e.address.Port()})
		s.Zone = cmp.Or(s.Zone, e.zone)
		// What the cluster says of a Pod counts more than what it says itself.
		s.Pod, s.Namespace = cmp.Or(s.Pod, e.pod.Name), cmp.Or(e.pod.Namespace, s.Namespace)
	}
}

func (s *Self) addInstance(i *Instance, who Identity) {
	_, port, err := net.SplitHostPort(i.Address)
	if err != nil {
		return
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return
	}
	// The host may be a name; then it has to be declared as it was registered.
	if ap, ok := parseAddress(i.Address); !slices.Contains(who.Addresses, i.Address) && !(ok && who.hasAddress(ap)) {
		return
	}
	s.Serves = append(s.Serves, Serve{Service: i.Service.String(), Port: uint16(number)})
	s.Zone = cmp.Or(s.Zone, i.Metadata["zone"])
}

// is says whether the subscriber is an endpoint. Slices made by hand name no Pods:
// what they hold is found by address.
func (who *Identity) is(e *entry) bool {
	if who.PodUID != "" && e.podUID != "" {
		return e.podUID == who.PodUID
	}
	return who.hasAddress(e.address)
}

// hasAddress says whether one of the declared addresses is this one; a declared
// address without a port fits any.
func (who *Identity) hasAddress(address netip.AddrPort) bool {
	return slices.ContainsFunc(who.Addresses, func(declared string) bool {
		ap, ok := parseAddress(declared)
		return ok && ap.Addr() == address.Addr() && (ap.Port() == 0 || ap.Port() == address.Port())
	})
}

// parseAddress reads ip:port or ip; the port is 0 then.
func parseAddress(s string) (netip.AddrPort, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap, true
	}
	ip, err := netip.ParseAddr(s)
	return netip.AddrPortFrom(ip, 0), err == nil
}
