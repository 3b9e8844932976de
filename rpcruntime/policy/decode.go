// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
)

// The schemas are read-only.
var (
	endpointSchema = schemaOf(reflect.TypeFor[Endpoint]())
	methodsSchema  = schemaOf(reflect.TypeFor[Methods]())
	layerSchema    = schemaOf(reflect.TypeFor[Layer]())
	limitSchema    = schemaOf(reflect.TypeFor[Limit]())
)

// Decode reads the parts that a subscriber holds of a service. Epoch and AsOf
// are the caller's to fill in. It does not look at the parts' digests: Verify
// does.
//
// Decode is strict about structure: a missing part, an id that does not fit its
// item, a wrong type, a length without bytes are errors, and then nothing of
// the parts is to be used. What a newer registry says and this runtime does not
// know is left out and named in UnknownFields; if it is marked as critical, the
// error is a *CriticalFieldError.
func Decode(service string, role Role, parts []Part) (*Snapshot, error) {
	d := decoder{role: role, snapshot: &Snapshot{Service: service, Role: role}}
	return d.decode(parts)
}

func (d *decoder) decode(parts []Part) (*Snapshot, error) {
	service := d.snapshot.Service
	if err := ValidateServiceName(service); err != nil {
		return nil, err
	}
	for i := range parts {
		p := &parts[i]
		if d.has(p.Name) {
			return nil, fmt.Errorf("service %s: part %.100q stands twice", service, p.Name)
		}
		d.snapshot.Parts = append(d.snapshot.Parts, PartDigest{Name: p.Name, Digest: p.Digest})
		if err := d.part(p); err != nil {
			return nil, fmt.Errorf("service %s: %w", service, err)
		}
	}
	if err := d.complete(); err != nil {
		return nil, fmt.Errorf("service %s: %w", service, err)
	}
	return d.finish(), nil
}

type decoder struct {
	role     Role
	snapshot *Snapshot
	overlay  string
	former   *Snapshot // what was decoded before; may be nil
	patched  bool      // the endpoints are former's, edited, and so in order
}

func (d *decoder) has(part string) bool {
	return slices.ContainsFunc(d.snapshot.Parts, func(p PartDigest) bool { return p.Name == part })
}

// complete checks that everything has come that the role needs.
func (d *decoder) complete() error {
	var needs []string
	switch d.role {
	case Caller:
		needs = []string{PartEndpoints, PartOwner}
	case Server:
		needs = []string{PartLimits}
	default:
		return fmt.Errorf("role %.80q is neither %s nor %s", d.role, Caller, Server)
	}
	for _, name := range needs {
		if !d.has(name) {
			return fmt.Errorf("part %q is missing for a %s", name, d.role)
		}
	}
	return nil
}

// finish puts everything in order, so that equal contents give equal snapshots.
func (d *decoder) finish() *Snapshot {
	s := d.snapshot
	slices.SortFunc(s.Parts, func(a, b PartDigest) int { return strings.Compare(a.Name, b.Name) })
	s.Digest = ServiceDigest(s.Parts)
	if !d.patched {
		slices.SortFunc(s.Endpoints, func(a, b Endpoint) int { return strings.Compare(a.ID, b.ID) })
	}
	slices.SortFunc(s.Layers, func(a, b Layer) int { return compareLayers(&a, &b) })
	slices.SortFunc(s.Limits, func(a, b Limit) int { return cmp.Compare(a.ID(), b.ID()) })
	slices.Sort(s.UnknownFields)
	return s
}

func (d *decoder) part(p *Part) error {
	var decode func(*Part, *Item) error
	switch namespace, overlay := strings.CutPrefix(p.Name, overlayPrefix); {
	case p.Name == PartEndpoints && d.role == Caller:
		if done, err := d.patchEndpoints(p); done {
			return err
		}
		decode = d.endpoint
	case p.Name == PartOwner && d.role == Caller:
		decode = d.ownerItem
	case overlay && d.role == Caller:
		if d.overlay != "" || !isName(namespace) {
			return fmt.Errorf("part %.100q: a caller has one overlay, that of its namespace", p.Name)
		}
		d.overlay = p.Name
		decode = d.overlayItem
	case p.Name == PartLimits && d.role == Server:
		decode = d.limitsItem
	case strings.HasPrefix(p.Name, criticalMark):
		return &CriticalFieldError{Part: p.Name}
	default:
		d.unknown("part " + p.Name)
		return nil
	}
	return d.items(p, decode)
}

func (d *decoder) items(p *Part, decode func(*Part, *Item) error) error {
	seen := make(map[string]struct{}, len(p.Items))
	for i := range p.Items {
		item := &p.Items[i]
		if _, twice := seen[item.ID]; twice {
			return &ItemError{Part: p.Name, Item: item.ID, Err: errTwice}
		}
		seen[item.ID] = struct{}{}
		if len(item.Bytes) > MaxItemBytes || len(item.ID) > maxText {
			return &ItemError{Part: p.Name, Item: item.ID, Err: errTooLarge}
		}
		if err := decode(p, item); err != nil {
			var critical *CriticalFieldError
			if errors.As(err, &critical) {
				return err
			}
			return &ItemError{Part: p.Name, Item: item.ID, Err: err}
		}
	}
	if _, found := seen[itemMethods]; !found && (p.Name == PartOwner || p.Name == PartLimits) {
		return fmt.Errorf("part %q has no item %q", p.Name, itemMethods)
	}
	return nil
}

// unknown names something once.
func (d *decoder) unknown(name string) {
	s := d.snapshot
	if len(s.UnknownFields) < maxUnknown && !slices.Contains(s.UnknownFields, name) {
		s.UnknownFields = append(s.UnknownFields, name)
	}
}

// unmarshal reads an item into a value of the schema's type.
func (d *decoder) unmarshal(p *Part, item *Item, what string, sch *schema, into any) error {
	scan := scanner{rest: item.Bytes}
	if err := scan.scan(sch); err != nil {
		return err
	}
	if scan.critical != "" {
		return &CriticalFieldError{Part: p.Name, Item: item.ID, Field: scan.critical}
	}
	for _, name := range scan.unknown {
		d.unknown(what + "." + name)
	}
	return msgpack.Unmarshal(item.Bytes, into)
}

func (d *decoder) endpoint(p *Part, item *Item) error {
	var e Endpoint
	if err := d.unmarshal(p, item, "endpoint", endpointSchema, &e); err != nil {
		return err
	}
	if e.State > Suspect {
		d.unknown(fmt.Sprintf("endpoint.state %d", e.State))
		return nil
	}
	if err := e.Validate(); err != nil {
		return err
	}
	if e.ID != item.ID {
		return fmt.Errorf("holds endpoint %.100q", e.ID)
	}
	d.snapshot.Endpoints = append(d.snapshot.Endpoints, e)
	return nil
}

func (d *decoder) ownerItem(p *Part, item *Item) error {
	if item.ID == itemMethods {
		return d.methods(p, item)
	}
	return d.overlayItem(p, item)
}

func (d *decoder) methods(p *Part, item *Item) error {
	if err := d.unmarshal(p, item, "methods", methodsSchema, &d.snapshot.Methods); err != nil {
		return err
	}
	return d.snapshot.Methods.Validate()
}

func (d *decoder) overlayItem(p *Part, item *Item) error {
	if !strings.HasPrefix(item.ID, itemLayer) {
		return d.unknownItem(p, item)
	}
	var l Layer
	if err := d.unmarshal(p, item, "layer", layerSchema, &l); err != nil {
		return err
	}
	if err := l.Validate(); err != nil {
		return err
	}
	if id := layerID(&l); id != item.ID {
		return fmt.Errorf("holds %.100q", id)
	}
	d.snapshot.Layers = append(d.snapshot.Layers, l)
	return nil
}

func (d *decoder) limitsItem(p *Part, item *Item) error {
	if item.ID == itemMethods {
		return d.methods(p, item)
	}
	if !strings.HasPrefix(item.ID, itemLimit) {
		return d.unknownItem(p, item)
	}
	var l Limit
	if err := d.unmarshal(p, item, "limit", limitSchema, &l); err != nil {
		return err
	}
	// A subject that this runtime cannot count by: the limit is left out, and
	// named, rather than counting all callers together.
	for _, r := range []string{
		wrongWord("by", cmp.Or(l.By, ByAll), ByAll, ByCaller),
		wrongWord("callerNames", cmp.Or(l.CallerNames, Proven), Proven, Declared),
	} {
		if r != "" {
			d.unknown("limit." + r)
			return nil
		}
	}
	if err := l.Validate(); err != nil {
		return err
	}
	if id := l.ID(); id != item.ID {
		return fmt.Errorf("holds %.100q", id)
	}
	d.snapshot.Limits = append(d.snapshot.Limits, l)
	return nil
}

func (d *decoder) unknownItem(p *Part, item *Item) error {
	if strings.HasPrefix(item.ID, criticalMark) {
		return &CriticalFieldError{Part: p.Name, Item: item.ID}
	}
	kind, _, _ := strings.Cut(item.ID, "/")
	d.unknown("item " + kind + " in part " + p.Name)
	return nil
}
