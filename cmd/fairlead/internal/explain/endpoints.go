// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// The states of an endpoint. The last two are of entries in slices that no
// caller is told of.
const (
	StateReady    = "Ready"
	StateDraining = "Draining"
	StateSuspect  = "Suspect"
	StateOut      = "Out"
	StateSkipped  = "Skipped"
)

// Endpoints is what callers are told of a service's endpoints, as JSON.
// docs/cli.md
type Endpoints struct {
	Service string `json:"service"`
	// Digest is of all that a caller gets: the one that asked the registry, or one
	// in the service's own namespace.
	Digest string `json:"digest,omitempty"`
	// Registry is the address that answered; empty when API objects did.
	Registry  string     `json:"registry,omitempty"`
	AsOf      []Kind     `json:"asOf"`
	Endpoints []Endpoint `json:"endpoints"`
	NotRead   []NotRead  `json:"notRead,omitempty"`

	at      time.Time
	offline bool
}

// Kind is how new something is, for a kind of objects.
type Kind struct {
	Kind    string `json:"kind"`
	Changed uint64 `json:"changed"`
	Seen    uint64 `json:"seen"`
}

// Endpoint is one instance.
type Endpoint struct {
	// ID is empty for what callers are not told of.
	ID        string   `json:"id,omitempty"`
	Addresses []string `json:"addresses"`
	State     string   `json:"state"`
	Zone      string   `json:"zone,omitempty"`
	// Pod is the Pod's UID, and PodName its name; API objects say that.
	Pod     string `json:"pod,omitempty"`
	PodName string `json:"podName,omitempty"`
	// Why says why it is not used, or not as others are.
	Why string `json:"why,omitempty"`
}

// EndpointsOf says what a registry at an address told a caller.
func EndpointsOf(s *policy.Snapshot, registry string, at time.Time) *Endpoints {
	e := &Endpoints{Service: s.Service, Digest: s.Digest.Short(), Registry: registry, AsOf: []Kind{}, Endpoints: []Endpoint{}, at: at}
	for _, k := range s.AsOf {
		e.AsOf = append(e.AsOf, Kind{k.Kind, k.Changed, k.Seen})
	}
	e.add(s.Endpoints)
	return e
}

// Endpoints says what callers are told of a service, and what of its slices they
// are not told, and why.
func (w *World) Endpoints(service Key, at time.Time) (*Endpoints, error) {
	if _, err := w.service(service); err != nil {
		return nil, err
	}
	out, err := w.served(service)
	if err != nil {
		return nil, err
	}
	e := &Endpoints{
		Service: service.String(), Digest: w.digest(out), AsOf: []Kind{}, Endpoints: []Endpoint{}, NotRead: w.notRead,
		at: at, offline: w.offline,
	}
	e.add(out.Endpoints)
	in := w.objects.Input(service)
	names := map[string]string{}
	for _, slice := range in.Slices {
		for i := range slice.Endpoints {
			if ref := slice.Endpoints[i].TargetRef; ref != nil && ref.Kind == "Pod" {
				names[string(ref.UID)] = ref.Name
			}
		}
	}
	for i := range e.Endpoints {
		e.Endpoints[i].PodName = names[e.Endpoints[i].Pod]
	}
	e.Endpoints = append(e.Endpoints, unused(in, out.Endpoints)...)
	return e, nil
}

// digest is what callers in the service's own namespace are served.
func (w *World) digest(out compile.ServiceOutput) string {
	if w.noDigest {
		return ""
	}
	var parts []policy.PartDigest
	for _, p := range out.PartsFor(policy.Caller, out.Key.Namespace) {
		parts = append(parts, policy.PartDigest{Name: p.Name, Digest: p.Digest})
	}
	return policy.ServiceDigest(parts).Short()
}

func (e *Endpoints) add(endpoints []policy.Endpoint) {
	ready := slices.ContainsFunc(endpoints, func(x policy.Endpoint) bool { return x.State == policy.Ready })
	lost := policy.MassLoss(endpoints)
	for i := range endpoints {
		x := &endpoints[i]
		state, why := standing(x.State, ready, lost)
		e.Endpoints = append(e.Endpoints, Endpoint{
			ID: x.ID, Addresses: x.Addresses, State: state, Zone: x.Zone, Pod: x.PodUID, Why: why,
		})
	}
}

// standing says what a state means while others are ready or most are lost.
func standing(s policy.EndpointState, ready, lost bool) (state, why string) {
	switch {
	case s == policy.Draining && ready:
		return StateDraining, "terminating: not used while others are ready"
	case s == policy.Draining:
		return StateDraining, "terminating, and used because none is ready"
	case s == policy.Suspect && lost:
		return StateSuspect, "not ready, as most are: used over connections on which it still answers"
	case s == policy.Suspect:
		return StateSuspect, "not ready: used only when nothing else is left"
	default:
		return StateReady, ""
	}
}

// unused gives the entries of slices that no endpoint was made of. Each is
// compiled alone, so that what compilation counts is said of one.
func unused(in compile.ServiceInput, used []policy.Endpoint) (found []Endpoint) {
	in.CallPolicies, in.LimitPolicies = nil, nil
	for _, slice := range in.Slices {
		for i := range slice.Endpoints {
			entry := slice.Endpoints[i : i+1 : i+1]
			if isUsed(&entry[0], used) {
				continue
			}
			alone := *slice
			alone.Endpoints = entry
			single := in
			single.Slices = []*discoveryv1.EndpointSlice{&alone}
			if state, why := leftOut(compile.Service(single).Counts); why != "" {
				found = append(found, entryOf(&entry[0], state, why+" (EndpointSlice "+slice.Name+")"))
			}
		}
	}
	return found
}

// isUsed says whether an endpoint was made of this entry, or of another one of
// the same Pod or address.
func isUsed(entry *discoveryv1.Endpoint, used []policy.Endpoint) bool {
	return slices.ContainsFunc(used, func(e policy.Endpoint) bool {
		if entry.TargetRef != nil && entry.TargetRef.UID != "" && e.PodUID != "" {
			return string(entry.TargetRef.UID) == e.PodUID
		}
		return len(entry.Addresses) > 0 && slices.ContainsFunc(e.Addresses, func(a string) bool {
			return strings.HasPrefix(a, entry.Addresses[0]+":") || strings.HasPrefix(a, "["+entry.Addresses[0]+"]:")
		})
	})
}

func leftOut(c compile.Counts) (state, why string) {
	switch {
	case c.Out > 0:
		return StateOut, "terminating, and no longer serving"
	case c.SkippedFQDN > 0:
		return StateSkipped, "a DNS name instead of an address"
	case c.SkippedPortless > 0:
		return StateSkipped, "without the port that the RPCService names"
	case c.SkippedProtocol > 0:
		return StateSkipped, "its port is not TCP"
	case c.SkippedOwner > 0:
		return StateSkipped, "of an earlier Service of the same name"
	case c.SkippedAddress > 0:
		return StateSkipped, "without a usable address"
	default:
		return "", ""
	}
}

func entryOf(e *discoveryv1.Endpoint, state, why string) Endpoint {
	out := Endpoint{Addresses: listOf(e.Addresses), State: state, Why: why}
	if e.Zone != nil {
		out.Zone = *e.Zone
	}
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		out.Pod, out.PodName = string(e.TargetRef.UID), e.TargetRef.Name
	}
	return out
}

// WriteText writes it for people.
func (e *Endpoints) WriteText(to io.Writer) error {
	p := &printer{to: to}
	from := "registry " + e.Registry
	switch {
	case e.Registry != "":
	case e.offline:
		from = "from manifests"
	default:
		from = "from API objects"
	}
	p.linef("%s  digest %s  %s (as of %s)", e.Service, cmp.Or(e.Digest, "not known"), from, e.at.Format(time.TimeOnly))
	if len(e.Endpoints) == 0 {
		p.linef("the service is known, and has no endpoints")
	}
	var rows []string
	for _, x := range e.Endpoints {
		rows = append(rows, row(cmp.Or(strings.Join(x.Addresses, ","), "-"), x.State, cmp.Or(x.Zone, "-"),
			cmp.Or(x.PodName, x.Pod, "-"), cmp.Or(x.Why, "-")))
	}
	p.table(2, row("ADDRESS", "STATE", "ZONE", "POD", "NOTE"), rows...)
	p.notRead(e.NotRead)
	return p.err
}

// Count says how many are ready, of those that are not terminating.
func (e *Endpoints) Count() string {
	ready, total := 0, 0
	for _, x := range e.Endpoints {
		switch x.State {
		case StateReady:
			ready++
			total++
		case StateSuspect:
			total++
		}
	}
	return fmt.Sprintf("%d/%d", ready, total)
}
