// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
)

// partDelta says how a part came from another: which items are new or have other
// bytes, and which are gone. It is immutable.
type partDelta struct {
	from    Digest
	changed []Item // sorted by id
	removed []string
}

// Patched gives the part with items added, replaced and removed; ids of removed
// that it does not have are passed over, and one that is in both lists stays. It
// costs a copy of the items, and not a hash of each as NewPart does, unless it is
// the first patch of a part that NewPart did not make.
func (p *Part) Patched(changed []Item, removed []string) (Part, error) {
	if !p.sorted {
		q, err := NewPart(p.Name, p.Items)
		if err != nil {
			return Part{}, err
		}
		p = &q
	}
	changed = slices.Clone(changed)
	slices.SortFunc(changed, compareItems)
	out := Part{Name: p.Name, Digest: p.Digest, sorted: true}
	out.delta = &partDelta{from: p.Digest, changed: changed}
	for i := range changed {
		if i > 0 && changed[i-1].ID == changed[i].ID {
			return Part{}, &ItemError{Part: p.Name, Item: changed[i].ID, Err: errTwice}
		}
		if old, found := p.find(changed[i].ID); found {
			out.Digest = out.Digest.Sub(p.Items[old].Digest())
		}
		out.Digest = out.Digest.Add(changed[i].Digest())
	}
	removed = slices.Compact(slices.Sorted(slices.Values(removed)))
	for _, id := range removed {
		old, found := p.find(id)
		if _, stays := slices.BinarySearchFunc(changed, id, itemID); !found || stays {
			continue
		}
		out.Digest = out.Digest.Sub(p.Items[old].Digest())
		out.delta.removed = append(out.delta.removed, id)
	}
	out.Items = edited(p.Items, changed, out.delta.removed, func(i *Item) string { return i.ID })
	return out, nil
}

func (p *Part) find(id string) (int, bool) { return slices.BinarySearchFunc(p.Items, id, itemID) }

func itemID(i Item, id string) int { return strings.Compare(i.ID, id) }
func compareItems(a, b Item) int   { return strings.Compare(a.ID, b.ID) }

// edited is a copy of a list that is sorted by id, with elements added or
// replaced, and removed; changed and removed are sorted and have no id in common.
func edited[E any](list, changed []E, removed []string, id func(*E) string) []E {
	out := make([]E, 0, len(list)+len(changed))
	for len(changed)+len(removed) > 0 {
		drop := len(changed) == 0 || len(removed) > 0 && removed[0] < id(&changed[0])
		var next string
		if drop {
			next = removed[0]
		} else {
			next = id(&changed[0])
		}
		at, found := slices.BinarySearchFunc(list, next, func(e E, next string) int { return strings.Compare(id(&e), next) })
		out = append(out, list[:at]...)
		if found {
			at++
		}
		list = list[at:]
		if drop {
			removed = removed[1:]
		} else {
			out, changed = append(out, changed[0]), changed[1:]
		}
	}
	return append(out, list...)
}

// snapshotDelta says how a snapshot's endpoints came from another's.
type snapshotDelta struct {
	from    Digest // the other's, of the part with the endpoints
	changed []Endpoint
	removed []string
}

// EndpointsSince gives the difference between the endpoints of a former snapshot
// of the service and these, where that is known without a look at all of them.
func (s *Snapshot) EndpointsSince(former *Snapshot) (changed []Endpoint, removed []string, known bool) {
	if former == nil || s.delta == nil || former.Service != s.Service || former.part(PartEndpoints) != s.delta.from {
		return nil, nil, false
	}
	return s.delta.changed, s.delta.removed, true
}

func (s *Snapshot) part(name string) Digest {
	for i := range s.Parts {
		if s.Parts[i].Name == name {
			return s.Parts[i].Digest
		}
	}
	return Digest{}
}

// DecodeAfter is Decode for a reader who has decoded a former state of the same
// service: of endpoints it decodes those that changed, where it can.
func DecodeAfter(former *Snapshot, service string, role Role, parts []Part) (*Snapshot, error) {
	d := decoder{role: role, snapshot: &Snapshot{Service: service, Role: role}, former: former}
	return d.decode(parts)
}

// patchEndpoints decodes the endpoints that differ from the former snapshot's,
// and reports whether it could.
func (d *decoder) patchEndpoints(p *Part) (bool, error) {
	f := d.former
	if f == nil || p.delta == nil || f.Service != d.snapshot.Service || f.Role != d.role ||
		f.part(PartEndpoints) != p.delta.from || len(f.UnknownFields) > 0 {
		return false, nil
	}
	unknown := slices.Clone(d.snapshot.UnknownFields)
	changed := Part{Name: p.Name, Items: p.delta.changed}
	if err := d.items(&changed, d.endpoint); err != nil {
		return true, err
	}
	fresh := d.snapshot.Endpoints
	if len(fresh) != len(changed.Items) { // some are of a state that is not known
		d.snapshot.Endpoints, d.snapshot.UnknownFields = nil, unknown
		return false, nil
	}
	d.snapshot.delta = &snapshotDelta{from: p.delta.from, changed: fresh, removed: p.delta.removed}
	d.snapshot.Endpoints = edited(f.Endpoints, fresh, p.delta.removed, func(e *Endpoint) string { return e.ID })
	d.patched = true
	return true, nil
}
