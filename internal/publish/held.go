// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/transport"
)

// maxHeld bounds the subscriptions that one report lists. What is left out is
// counted.
const maxHeld = 20_000

// maxDeclared bounds what is repeated of a text that a client made up.
const maxDeclared = 256

// HeldQuery says which subscriptions are asked for. The zero value means all.
type HeldQuery struct {
	// Services, if there are any, are the only ones.
	Services []string
	// Namespace, if not empty, is that of the services.
	Namespace string
}

// Held is what each client of this replica holds, and what it is served.
type Held struct {
	// Replica says which one it is, as in summaries.
	Replica string `json:"replica"`
	// At is when it was so.
	At time.Time `json:"at"`
	// Served and Clients are sorted.
	Served  []Served     `json:"served"`
	Clients []HeldClient `json:"clients"`
	// LeftOut is how many subscriptions are not listed because there are too many.
	LeftOut int `json:"leftOut,omitempty"`
}

// Served is what subscribers of one namespace are served of a service.
type Served struct {
	Service string      `json:"service"`
	Role    policy.Role `json:"role"`
	// Namespace is that of callers; empty for instances.
	Namespace string `json:"namespace,omitempty"`
	// Digest is of everything, Policy of all parts but the endpoints; both empty
	// when there is no such service.
	Digest string `json:"digest,omitempty"`
	Policy string `json:"policy,omitempty"`
}

// HeldClient is a connection, with who is at its other end: what it has proven,
// and otherwise what it declares.
type HeldClient struct {
	Namespace      string `json:"namespace,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"`
	Pod            string `json:"pod,omitempty"`
	PodUID         string `json:"podUID,omitempty"`
	// App, Version and Instance are declared. Instance is the same on each
	// connection of one client; empty for an older one.
	App      string `json:"app,omitempty"`
	Version  string `json:"version,omitempty"`
	Instance string `json:"instance,omitempty"`
	// Address is the connection's.
	Address string `json:"address"`
	// Proven says that Namespace, ServiceAccount and Pod are.
	Proven bool `json:"proven"`
	// Since is when it came to this replica.
	Since time.Time `json:"since"`
	// Holds has one entry for each subscription that was asked for.
	Holds []Holding `json:"holds"`
}

// Holding is what a client says that it holds of a service.
type Holding struct {
	Service string      `json:"service"`
	Role    policy.Role `json:"role"`
	// Digest is of everything; empty when it holds nothing. Policy is of all parts
	// but the endpoints, as far as it is known: for a moment, while endpoints
	// change, it may be an older one.
	Digest string `json:"digest,omitempty"`
	Policy string `json:"policy,omitempty"`
	// Since is when it said so first, or subscribed if it has not said anything.
	Since time.Time `json:"since"`
	// Current says that it is what the client is served now.
	Current bool `json:"current"`
	// Rejected is what the client says of the newest change, if it did not take it.
	Rejected string `json:"rejected,omitempty"`
}

// PolicyDigest is the digest of those parts that are no endpoints. It stays the
// same while endpoints come and go.
func PolicyDigest(parts []policy.PartDigest) policy.Digest {
	return policy.ServiceDigest(slices.DeleteFunc(slices.Clone(parts), func(p policy.PartDigest) bool {
		return p.Name == policy.PartEndpoints
	}))
}

// Held says what the clients of this replica hold. It names services and clients
// of all namespaces, so it is for administrators.
func (s *Service) Held(q HeldQuery) Held { return s.heldUpTo(q, maxHeld) }

func (s *Service) heldUpTo(q HeldQuery, most int) Held {
	out := Held{Replica: s.cfg.Replica, At: time.Now(), Served: []Served{}, Clients: []HeldClient{}}
	views := map[Served]Served{} // by all but the digests
	listed := 0
	for conn, sub := range s.connections() {
		client := sub.held(conn, q)
		if room := most - listed; len(client.Holds) > room {
			out.LeftOut += len(client.Holds) - room
			client.Holds = client.Holds[:room]
		}
		if len(client.Holds) == 0 {
			continue
		}
		listed += len(client.Holds)
		for i := range client.Holds {
			s.compare(views, client.Namespace, &client.Holds[i])
		}
		out.Clients = append(out.Clients, client)
	}
	for _, v := range views {
		out.Served = append(out.Served, v)
	}
	slices.SortFunc(out.Served, func(a, b Served) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Namespace, b.Namespace))
	})
	slices.SortFunc(out.Clients, func(a, b HeldClient) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Address, b.Address))
	})
	return out
}

// compare notes whether a holding is current, and what is served in its place.
func (s *Service) compare(views map[Served]Served, namespace string, h *Holding) {
	key := Served{Service: h.Service, Role: h.Role}
	if h.Role == policy.Caller {
		key.Namespace = namespace
	}
	v, known := views[key]
	if !known {
		v = key
		if names := s.cfg.Store.parts(key.Service, key.Role, key.Namespace); names != nil {
			v.Digest, v.Policy = policy.ServiceDigest(names).String(), PolicyDigest(names).String()
		}
		views[key] = v
	}
	h.Current = h.Digest != "" && h.Digest == v.Digest
}

// connections gives the subscribers as they are now.
func (s *Service) connections() map[*transport.ServerConn]*subscriber {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[*transport.ServerConn]*subscriber, len(s.subscribers))
	for conn, sub := range s.subscribers {
		all[conn] = sub
	}
	return all
}

// held says who a subscriber is and what it holds, sorted by service.
func (s *subscriber) held(conn *transport.ServerConn, q HeldQuery) HeldClient {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := HeldClient{
		Namespace: subscriberNamespace(&s.identity), Pod: cut(s.identity.Pod), PodUID: cut(s.identity.PodUID),
		App: cut(s.identity.App), Version: cut(s.version), Instance: cut(s.identity.Instance), Address: conn.RemoteAddr().String(), Since: s.since,
	}
	if p := s.principal.Load(); p != nil {
		c.ServiceAccount, c.Proven = p.ServiceAccount, true
	}
	for key, sub := range s.subs {
		if !sub.admitted || !q.asks(key) {
			continue // one that is not admitted is refused, and no client
		}
		h := Holding{Service: key.Service, Role: key.Role, Since: sub.ackedAt, Rejected: cut(sub.rejected)}
		if !sub.acked.IsZero() {
			h.Digest = sub.acked.String()
		}
		if !sub.ackedPolicy.IsZero() {
			h.Policy = sub.ackedPolicy.String()
		}
		c.Holds = append(c.Holds, h)
	}
	slices.SortFunc(c.Holds, func(a, b Holding) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Role, b.Role))
	})
	return c
}

func (q *HeldQuery) asks(key registry.ServiceRole) bool {
	namespace, _, _ := strings.Cut(key.Service, "/")
	return (q.Namespace == "" || q.Namespace == namespace) && (len(q.Services) == 0 || slices.Contains(q.Services, key.Service))
}

func cut(text string) string {
	if len(text) <= maxDeclared {
		return text
	}
	return strings.ToValidUTF8(text[:maxDeclared], "") + "..."
}

// hold notes what the subscriber says that it holds, with the parts of it where
// they are known. REQUIRES: owner.mu is held.
func (sub *subscription) hold(digest policy.Digest, parts []policy.PartDigest) {
	if digest != sub.acked {
		sub.acked, sub.ackedAt = digest, time.Now()
	}
	switch {
	case digest.IsZero():
		sub.ackedPolicy = policy.Digest{}
	case digest == policy.ServiceDigest(parts):
		sub.ackedPolicy = PolicyDigest(parts)
	}
}
