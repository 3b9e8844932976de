// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
)

// The names of parts. A Caller gets endpoints, owner and, when its namespace
// has policies for the service, its overlay; a Server gets limits.
const (
	PartEndpoints = "endpoints"
	PartOwner     = "owner"
	PartLimits    = "limits"

	overlayPrefix = "overlay/"
)

// The ids of items, or how they begin. An item of the endpoints has the
// endpoint's id.
const (
	itemMethods = "methods"
	itemLayer   = "layer/"
	itemLimit   = "limit/"
)

// OverlayPart gives the name of the part with the policies of a namespace's
// callers.
func OverlayPart(namespace string) string { return overlayPrefix + namespace }

// Item is the unit of deltas: an endpoint, the methods, a layer, a limit.
type Item struct {
	// ID is unique within its part and stable over updates.
	ID string `msgpack:"n"`
	// Bytes is the encoding, kept as it came.
	Bytes []byte `msgpack:"b"`
}

// Digest of the item.
func (i *Item) Digest() Digest { return ItemDigest(i.ID, i.Bytes) }

// Part is one separately encoded piece of a service. It is immutable and
// shared by everyone who gets it.
type Part struct {
	Name string `msgpack:"n"`
	// Items are in any order; those of the Encode functions are sorted by ID.
	Items []Item `msgpack:"i"`
	// Invariant: Digest is the sum of the items' digests mod 2^128.
	Digest Digest `msgpack:"d"`

	sorted bool       // Items are sorted by ID
	delta  *partDelta // how the part came from another; nil if not known
}

// NewPart sorts the items and adds up their digests. The items must differ in
// their ids.
func NewPart(name string, items []Item) (Part, error) {
	p := Part{Name: name, Items: slices.Clone(items), sorted: true}
	slices.SortFunc(p.Items, func(a, b Item) int { return strings.Compare(a.ID, b.ID) })
	for i := range p.Items {
		if i > 0 && p.Items[i-1].ID == p.Items[i].ID {
			return Part{}, &ItemError{Part: name, Item: p.Items[i].ID, Err: errTwice}
		}
		p.Digest = p.Digest.Add(p.Items[i].Digest())
	}
	return p, nil
}

// Verify checks that the digest covers the items: that nothing was lost or
// changed on the way.
func (p *Part) Verify() error {
	var sum Digest
	for i := range p.Items {
		sum = sum.Add(p.Items[i].Digest())
	}
	if sum != p.Digest {
		return fmt.Errorf("part %q: its items have digest %s, and not %s as it says", p.Name, sum.Short(), p.Digest.Short())
	}
	return nil
}

// EncodeEndpoints makes the part that all callers share.
func EncodeEndpoints(endpoints []Endpoint) (Part, error) {
	items := make([]Item, len(endpoints))
	for i := range endpoints {
		if err := endpoints[i].Validate(); err != nil {
			return Part{}, &ItemError{Part: PartEndpoints, Item: endpoints[i].ID, Err: err}
		}
		var err error
		if items[i], err = encodeItem(PartEndpoints, endpoints[i].ID, &endpoints[i]); err != nil {
			return Part{}, err
		}
	}
	return NewPart(PartEndpoints, items)
}

// EncodeOwner makes the part with what the service's owner says to callers.
func EncodeOwner(methods Methods, layers []Layer) (Part, error) {
	return encodeLayers(PartOwner, &methods, layers)
}

// EncodeOverlay makes the part with the policies of a namespace's callers.
func EncodeOverlay(namespace string, layers []Layer) (Part, error) {
	return encodeLayers(OverlayPart(namespace), nil, layers)
}

func encodeLayers(part string, methods *Methods, layers []Layer) (Part, error) {
	items := make([]Item, 0, len(layers)+1)
	if methods != nil {
		item, err := encodeMethods(part, methods)
		if err != nil {
			return Part{}, err
		}
		items = append(items, item)
	}
	for i := range layers {
		id := layerID(&layers[i])
		if err := layers[i].Validate(); err != nil {
			return Part{}, &ItemError{Part: part, Item: id, Err: err}
		}
		item, err := encodeItem(part, id, &layers[i])
		if err != nil {
			return Part{}, err
		}
		items = append(items, item)
	}
	return NewPart(part, items)
}

// EncodeLimits makes the part that the service's instances get.
func EncodeLimits(methods Methods, limits []Limit) (Part, error) {
	item, err := encodeMethods(PartLimits, &methods)
	if err != nil {
		return Part{}, err
	}
	items := append(make([]Item, 0, len(limits)+1), item)
	for i := range limits {
		id := limits[i].ID()
		if err := limits[i].Validate(); err != nil {
			return Part{}, &ItemError{Part: PartLimits, Item: id, Err: err}
		}
		item, err := encodeItem(PartLimits, id, &limits[i])
		if err != nil {
			return Part{}, err
		}
		items = append(items, item)
	}
	return NewPart(PartLimits, items)
}

// layerID is unique: of the fields only the method may hold a slash.
func layerID(l *Layer) string {
	return fmt.Sprintf("%s%d/%s/%s/%s", itemLayer, l.Step, l.Method, l.Source.Namespace, l.Source.Name)
}

// ID is stable over updates and unique within a service: what counts for a
// limit is kept by it. Only the section, which is last, may hold a slash.
func (l *Limit) ID() string {
	id := itemLimit + l.Source.Namespace + "/" + l.Source.Name + "/" + l.Name
	if l.Section != "" {
		id += "/" + l.Section
	}
	return id
}

// encodeMethods encodes a sorted copy.
func encodeMethods(part string, methods *Methods) (Item, error) {
	sorted := *methods
	sorted.Declared = slices.Clone(methods.Declared)
	slices.SortFunc(sorted.Declared, func(a, b Method) int { return strings.Compare(a.Name, b.Name) })
	if err := sorted.Validate(); err != nil {
		return Item{}, &ItemError{Part: part, Item: itemMethods, Err: err}
	}
	return encodeItem(part, itemMethods, &sorted)
}

// encodeItem gives the same bytes for the same value: fields in the order of
// the type, each number in its shortest form, and no maps.
func encodeItem(part, id string, value any) (Item, error) {
	var b bytes.Buffer
	enc := msgpack.NewEncoder(&b)
	enc.UseCompactInts(true)
	if err := enc.Encode(value); err != nil {
		return Item{}, &ItemError{Part: part, Item: id, Err: err}
	}
	if b.Len() > MaxItemBytes || len(id) > maxText {
		return Item{}, &ItemError{Part: part, Item: id, Err: errTooLarge}
	}
	return Item{ID: id, Bytes: b.Bytes()}, nil
}
