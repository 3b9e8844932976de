// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"net"
	"slices"
	"strconv"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// Addresses gives where the endpoints of a Service are, host:port and sorted,
// one for each Pod and in whatever state it is. Port is the name of the slices'
// port.
func (o *Objects) Addresses(service Key, port string) []string {
	of := map[string]string{}
	for _, k := range o.slicesOf.get(service) {
		slice := o.slices[k]
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		i := slices.IndexFunc(slice.Ports, func(p discoveryv1.EndpointPort) bool { return deref(p.Name) == port && p.Port != nil })
		if i < 0 {
			continue
		}
		for j := range slice.Endpoints {
			e := &slice.Endpoints[j]
			if len(e.Addresses) == 0 {
				continue
			}
			address := net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*slice.Ports[i].Port)))
			who := address
			if e.TargetRef != nil && e.TargetRef.UID != "" {
				who = string(e.TargetRef.UID) // its other addresses are the same Pod
			}
			if before, found := of[who]; !found || cmp.Less(address, before) {
				of[who] = address
			}
		}
	}
	var addresses []string
	for _, a := range of {
		addresses = append(addresses, a)
	}
	slices.Sort(addresses)
	return addresses
}
