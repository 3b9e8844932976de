// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Counts says what became of the entries of a service's slices.
type Counts struct {
	// Ready, Draining and Suspect are the endpoints that are published.
	Ready, Draining, Suspect int
	// Out are terminating and no longer serving.
	Out int
	// The rest are entries that no endpoint was made of: of slices with DNS names
	// instead of addresses, without the port, with a port that is not TCP, of a
	// Service of the same name that is gone, and without a usable address.
	SkippedFQDN, SkippedPortless, SkippedProtocol, SkippedOwner, SkippedAddress int
}

// total counts the published endpoints that are not terminating.
func (c Counts) total() int { return c.Ready + c.Suspect }

// stateOut is the state of an entry that is terminating and not serving. It
// takes part in choosing among duplicates and is never published.
const stateOut = policy.Suspect + 1

// entry is one endpoint of one slice.
type entry struct {
	id      string
	address netip.AddrPort
	family  corev1.IPFamily
	podUID  string
	pod     Key
	zone    string
	hints   []string
	state   policy.EndpointState
	// revision is that of the slice, and slice its name: the order of duplicates.
	revision string
	slice    string
}

// entriesOf reads a slice. Nothing else is known of entries that it skips but
// their number.
func entriesOf(slice *discoveryv1.EndpointSlice, service *corev1.Service, port string, counts *Counts) []entry {
	n := len(slice.Endpoints)
	if ownedByAnother(slice, service) {
		counts.SkippedOwner += n
		return nil
	}
	var family corev1.IPFamily
	switch slice.AddressType {
	case discoveryv1.AddressTypeIPv4:
		family = corev1.IPv4Protocol
	case discoveryv1.AddressTypeIPv6:
		family = corev1.IPv6Protocol
	default:
		counts.SkippedFQDN += n
		return nil
	}
	number, protocol := portOf(slice, port)
	switch {
	case protocol != corev1.ProtocolTCP:
		counts.SkippedProtocol += n
		return nil
	case number == 0:
		counts.SkippedPortless += n
		return nil
	}
	entries := make([]entry, 0, n)
	for i := range slice.Endpoints {
		e, ok := entryOf(&slice.Endpoints[i], service, number)
		if !ok || e.address.Addr().Is4() != (family == corev1.IPv4Protocol) {
			counts.SkippedAddress++
			continue
		}
		e.family, e.revision, e.slice = family, slice.ResourceVersion, slice.Name
		entries = append(entries, e)
	}
	return entries
}

// ownedByAnother says whether a Service owns the slice that is not the current
// one: it was deleted, and one of the same name was made. Slices that mirror an
// Endpoints object are owned by that one, and hand-made ones by nobody.
func ownedByAnother(slice *discoveryv1.EndpointSlice, service *corev1.Service) bool {
	for _, owner := range slice.OwnerReferences {
		if owner.Kind == KindService && owner.UID != service.UID {
			return true
		}
	}
	return false
}

// portOf finds the port of that name; 0 when the slice has none.
func portOf(slice *discoveryv1.EndpointSlice, name string) (uint16, corev1.Protocol) {
	for _, p := range slice.Ports {
		if deref(p.Name) != name {
			continue
		}
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil && *p.Protocol != "" {
			protocol = *p.Protocol
		}
		if number := deref(p.Port); number > 0 && number < 1<<16 {
			return uint16(number), protocol
		}
		return 0, protocol
	}
	return 0, corev1.ProtocolTCP
}

// entryOf reads one endpoint of a slice. Only the first address counts: no
// meaning is defined for more.
func entryOf(e *discoveryv1.Endpoint, service *corev1.Service, port uint16) (entry, bool) {
	if len(e.Addresses) == 0 {
		return entry{}, false
	}
	ip, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || ip.IsUnspecified() {
		return entry{}, false
	}
	out := entry{address: netip.AddrPortFrom(ip, port), zone: deref(e.Zone), state: stateOf(e.Conditions, service)}
	out.id = out.address.String()
	if ref := e.TargetRef; ref != nil && ref.UID != "" {
		out.id = string(ref.UID) + ":" + strconv.Itoa(int(port))
		if ref.Kind == "Pod" {
			out.podUID = string(ref.UID)
			out.pod = Key{Namespace: ref.Namespace, Name: ref.Name}
		}
	}
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			out.hints = append(out.hints, z.Name)
		}
		slices.Sort(out.hints)
	}
	return out, true
}

// stateOf looks at terminating first. Absent conditions read as ready, serving
// and not terminating.
func stateOf(c discoveryv1.EndpointConditions, service *corev1.Service) policy.EndpointState {
	isTrue := func(b *bool) bool { return b == nil || *b }
	switch {
	case deref(c.Terminating) && isTrue(c.Serving):
		return policy.Draining
	case deref(c.Terminating):
		return stateOut
	case isTrue(c.Ready), service.Spec.PublishNotReadyAddresses:
		return policy.Ready
	default:
		return policy.Suspect
	}
}

// endpointsOf makes the endpoints of a Service out of its slices, sorted by id.
func endpointsOf(service *corev1.Service, port string, in []*discoveryv1.EndpointSlice, counts *Counts) []policy.Endpoint {
	var entries []entry
	for _, slice := range in {
		entries = append(entries, entriesOf(slice, service, port, counts)...)
	}
	// Stable, so that of duplicates within a slice the first stays first.
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(
			cmp.Compare(a.id, b.id),
			-compareRevisions(a.revision, b.revision),
			cmp.Compare(a.slice, b.slice),
		)
	})
	var endpoints []policy.Endpoint
	for len(entries) > 0 {
		n := 1
		for n < len(entries) && entries[n].id == entries[0].id {
			n++
		}
		switch e := merged(entries[:n], service); e.State {
		case stateOut:
			counts.Out++
		default:
			counts.add(e.State)
			endpoints = append(endpoints, e)
		}
		entries = entries[n:]
	}
	return endpoints
}

func (c *Counts) add(s policy.EndpointState) {
	switch s {
	case policy.Draining:
		c.Draining++
	case policy.Suspect:
		c.Suspect++
	default:
		c.Ready++
	}
}

// merged makes one endpoint out of all entries of one id, newest first. The
// newest says how it is; each family adds its newest address.
func merged(entries []entry, service *corev1.Service) policy.Endpoint {
	newest := &entries[0]
	e := policy.Endpoint{ID: newest.id, State: newest.state, PodUID: newest.podUID, Zone: newest.zone, ZoneHints: newest.hints}
	for _, family := range familiesOf(service) {
		for i := range entries {
			if entries[i].family == family {
				e.Addresses = append(e.Addresses, entries[i].address.String())
				break
			}
		}
	}
	return e
}

// familiesOf gives both families, those of the Service first.
func familiesOf(service *corev1.Service) []corev1.IPFamily {
	families := slices.Clone(service.Spec.IPFamilies)
	for _, f := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
		if !slices.Contains(families, f) {
			families = append(families, f)
		}
	}
	return families
}

// compareRevisions orders resourceVersions, which are decimal numbers.
func compareRevisions(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

// registeredEndpoints makes endpoints out of instances that registered, sorted
// by id.
func registeredEndpoints(service Key, instances []*Instance, counts *Counts) []policy.Endpoint {
	own := slices.DeleteFunc(slices.Clone(instances), func(i *Instance) bool { return i.Service != service })
	slices.SortFunc(own, func(a, b *Instance) int {
		return cmp.Or(cmp.Compare(a.Key().Name, b.Key().Name), cmp.Compare(a.Address, b.Address))
	})
	own = slices.CompactFunc(own, func(a, b *Instance) bool { return a.Key() == b.Key() })
	endpoints := make([]policy.Endpoint, 0, len(own))
	for _, i := range own {
		e := policy.Endpoint{ID: i.Key().Name, Addresses: []string{canonical(i.Address)}, Zone: i.Metadata["zone"]}
		if !i.Ready {
			e.State = policy.Suspect
		}
		if e.Validate() != nil {
			counts.SkippedAddress++
			continue
		}
		counts.add(e.State)
		endpoints = append(endpoints, e)
	}
	return endpoints
}

// canonical writes an IP address in its one form, so that equal ones compare
// equal; a name stays as it is.
func canonical(address string) string {
	if ap, err := netip.ParseAddrPort(address); err == nil {
		return ap.String()
	}
	if host, port, err := net.SplitHostPort(address); err == nil {
		return net.JoinHostPort(host, port)
	}
	return address
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// ownSlices gives the slices that belong to the Service by their label.
func ownSlices(in *ServiceInput) []*discoveryv1.EndpointSlice {
	name := KeyOf(in.Service)
	return slices.DeleteFunc(slices.Clone(in.Slices), func(s *discoveryv1.EndpointSlice) bool { return serviceOf(s) != name })
}

// serviceOf gives the Service that a slice belongs to; the name is empty when
// it belongs to none.
func serviceOf(s *discoveryv1.EndpointSlice) Key {
	return Key{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}
