// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"cmp"
	"maps"
	"slices"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// ClientCount is how many connections to this replica subscribe to a service.
type ClientCount struct {
	Service string
	Role    policy.Role
	Clients int
}

// AckCount is how many of them say that they hold the same, and can do the same.
type AckCount struct {
	Service string      `msgpack:"s"`
	Role    policy.Role `msgpack:"r"`
	// Namespace is that of callers; empty for instances.
	Namespace string `msgpack:"ns,omitempty"`
	// Digest is zero for those that hold nothing.
	Digest policy.Digest `msgpack:"d"`
	// Features is the sorted list, joined by commas.
	Features string `msgpack:"f,omitempty"`
	// Version is the runtime's.
	Version string `msgpack:"v,omitempty"`
	// Rejected counts those that did not take the newest change.
	Clients  int `msgpack:"n"`
	Rejected int `msgpack:"x,omitempty"`
}

// Clients counts subscribers by service and role, sorted. It counts what stands:
// nothing is kept that a client could make grow.
func (s *Service) Clients() []ClientCount {
	byKey := make(map[ClientCount]int)
	for _, a := range s.Acks() {
		byKey[ClientCount{Service: a.Service, Role: a.Role}] += a.Clients
	}
	counts := make([]ClientCount, 0, len(byKey))
	for key, n := range byKey {
		key.Clients = n
		counts = append(counts, key)
	}
	slices.SortFunc(counts, func(a, b ClientCount) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Role, b.Role))
	})
	return counts
}

// Connections counts connections that subscribe to something, each once.
func (s *Service) Connections() (n int) {
	for _, subscriber := range s.all() {
		if subscriber.subscribes() {
			n++
		}
	}
	return n
}

// subscribes says whether a connection subscribes to something.
func (s *subscriber) subscribes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subs) > 0
}

// all gives the subscribers as they are now.
func (s *Service) all() []*subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.subscribers))
}

// Acks counts subscribers by what they say that they hold, sorted.
func (s *Service) Acks() []AckCount {
	byKey := make(map[AckCount]AckCount)
	for _, subscriber := range s.all() {
		subscriber.count(byKey)
	}
	counts := make([]AckCount, 0, len(byKey))
	for key, n := range byKey {
		key.Clients, key.Rejected = n.Clients, n.Rejected
		counts = append(counts, key)
	}
	slices.SortFunc(counts, func(a, b AckCount) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Role, b.Role),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Digest.String(), b.Digest.String()),
			cmp.Compare(a.Features, b.Features), cmp.Compare(a.Version, b.Version))
	})
	return counts
}

func (s *subscriber) count(byKey map[AckCount]AckCount) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, sub := range s.subs {
		if !sub.admitted {
			continue // it is refused, and no client
		}
		k := AckCount{Service: key.Service, Role: key.Role, Digest: sub.acked, Features: s.features, Version: s.version}
		if key.Role == policy.Caller {
			k.Namespace = subscriberNamespace(&s.identity)
		}
		n := byKey[k]
		n.Clients++
		if sub.rejected != "" {
			n.Rejected++
		}
		byKey[k] = n
	}
}
