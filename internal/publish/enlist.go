// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"cmp"
	"net"
	"slices"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// added gives the endpoints that are new in a change, or other than before.
func added(before *policy.Part, parts []policy.Part) (fresh []policy.Endpoint) {
	i := slices.IndexFunc(parts, func(p policy.Part) bool { return p.Name == policy.PartEndpoints })
	if before != nil && before.Digest == parts[i].Digest {
		return nil
	}
	known := make(map[string]string)
	if before != nil {
		for i := range before.Items {
			known[before.Items[i].ID] = string(before.Items[i].Bytes)
		}
	}
	for _, item := range parts[i].Items {
		if old, found := known[item.ID]; found && old == string(item.Bytes) {
			continue
		}
		var e policy.Endpoint
		if err := msgpack.Unmarshal(item.Bytes, &e); err == nil { // else it is not an endpoint, and nobody's
			fresh = append(fresh, e)
		}
	}
	return fresh
}

// roll finds out which endpoints a subscriber is.
type roll struct {
	// What follows are the ports at which a Pod, an address with its port, or an
	// address alone is reached; bare has addresses of endpoints that name no Pod.
	pods, addresses, bare map[string][]string
}

func newRoll(endpoints []policy.Endpoint) roll {
	r := roll{pods: make(map[string][]string), addresses: make(map[string][]string), bare: make(map[string][]string)}
	for i := range endpoints {
		for _, address := range endpoints[i].Addresses {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				continue
			}
			if uid := endpoints[i].PodUID; uid != "" {
				r.pods[uid] = append(r.pods[uid], port)
			} else {
				r.bare[address] = append(r.bare[address], port)
				r.bare[host] = append(r.bare[host], port)
			}
			r.addresses[address] = append(r.addresses[address], port)
			r.addresses[host] = append(r.addresses[host], port)
		}
	}
	return r
}

// ports gives those at which a subscriber is reached; the Pod counts before
// addresses, where an endpoint names one.
func (r roll) ports(who *registry.Identity) (ports []string) {
	byAddress := r.addresses
	if who.PodUID != "" {
		ports, byAddress = slices.Clone(r.pods[who.PodUID]), r.bare
	}
	for _, address := range who.Addresses {
		ports = append(ports, byAddress[address]...)
	}
	return ports
}

// enlist tells subscribers that are among the endpoints that they serve the
// service. It only adds: what has gone is for RefreshSelf, which comes after.
//
// It asks nobody and takes no lock that is held during a call, so that whoever
// publishes may be who answers SelfOf. Without a match it costs a look into a map
// for each subscriber.
func (s *Service) enlist(service string, fresh []policy.Endpoint) {
	r := newRoll(fresh)
	for _, sub := range s.all() {
		sub.enlist(service, r)
	}
}

func (s *subscriber) enlist(service string, r roll) {
	s.mu.Lock()
	ports := r.ports(&s.identity)
	if s.over || !s.hasSelf || len(ports) == 0 {
		s.mu.Unlock()
		return
	}
	serves, news := s.self.Serves, false
	for _, port := range ports {
		next := registry.Serving{Service: service, Port: port}
		at, found := slices.BinarySearchFunc(serves, next, compareServing)
		if !found {
			serves, news = slices.Insert(slices.Clone(serves), at, next), true
		}
	}
	s.self.Serves = serves
	s.selfDue = s.selfDue || news
	s.mu.Unlock()
	if news {
		s.conn.Wake()
	}
}

// compareServing orders as compilation does, by service and number of the port,
// so that what SelfOf says later is the same, and is not sent again.
func compareServing(a, b registry.Serving) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(len(a.Port), len(b.Port)), cmp.Compare(a.Port, b.Port))
}
