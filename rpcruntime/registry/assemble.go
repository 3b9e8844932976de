// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// maxStaged bounds the bytes that one connection's parts and waiting pushes may
// take before a change uses them.
const maxStaged = 64 << 20

// staging holds the parts that came on one connection and that no change has
// named yet. It decides nothing about services.
//
// Invariant: bytes is the sum of the parts' bytes, and at most limit.
type staging struct {
	limit int
	bytes int
	parts map[partKey]*staged
}

type partKey struct{ service, part string }

// staged is a part on its way.
type staged struct {
	digest, base policy.Digest
	items        []policy.Item
	removed      []string
	next         uint32 // chunk
	complete     bool
	bytes        int
	// broken is a critical field that this runtime does not know.
	broken error
}

func (st *staged) spoilt() bool { return st != nil && st.broken != nil }

func newStaging(limit int) *staging {
	return &staging{limit: limit, parts: make(map[partKey]*staged)}
}

// itemOverhead is what an item takes beside its bytes.
const itemOverhead = 64

// add takes a frame. An error means that the frame cannot be right.
func (s *staging) add(f *PartFrame) error {
	if f.Service == "" || f.Part == "" {
		return errors.New("no service or part")
	}
	key := partKey{f.Service, f.Part}
	st := s.parts[key]
	if f.Chunk == 0 {
		s.drop(key)
		st = &staged{digest: f.Digest, base: f.Base}
		s.parts[key] = st
	}
	if st.spoilt() {
		return nil // the rest of what was not understood
	}
	if st == nil || st.complete || st.next != f.Chunk || st.digest != f.Digest || st.base != f.Base {
		return fmt.Errorf("chunk %d of part %.100q at %s does not follow what came before", f.Chunk, f.Part, f.Digest.Short())
	}
	size := 0
	for i := range f.Items {
		size += len(f.Items[i].ID) + len(f.Items[i].Bytes) + itemOverhead
	}
	for _, id := range f.Removed {
		size += len(id) + itemOverhead
	}
	if s.bytes+size > s.limit {
		return fmt.Errorf("more than %d bytes came before a change that uses them", s.limit)
	}
	s.bytes += size
	st.bytes += size
	st.items = append(st.items, f.Items...)
	st.removed = append(st.removed, f.Removed...)
	st.next++
	st.complete = f.Last
	return nil
}

// spoil notes that a part cannot be understood.
func (s *staging) spoil(service, part string, why error) {
	key := partKey{service, part}
	s.drop(key)
	s.parts[key] = &staged{broken: why}
}

func (s *staging) drop(key partKey) {
	if st := s.parts[key]; st != nil {
		s.bytes -= st.bytes
		delete(s.parts, key)
	}
}

// dropService forgets what was staged of a service.
func (s *staging) dropService(service string) {
	for key := range s.parts {
		if key.service == service {
			s.drop(key)
		}
	}
}

// errMissing is a change that names a part which is neither staged nor held.
var errMissing = errors.New("a part that a change names is neither here nor on its way")

// assemble gives the parts that a change names, out of what is staged and what
// is held, in the order of the change. It does not touch either.
//
// The error is errMissing, a *policy.CriticalFieldError, or else a broken part.
func (s *staging) assemble(f *ChangeFrame, held []policy.Part) ([]policy.Part, error) {
	parts := make([]policy.Part, 0, len(f.Parts))
	for _, want := range f.Parts {
		have := find(held, want.Name)
		st := s.parts[partKey{f.Service, want.Name}]
		switch {
		case have != nil && have.Digest == want.Digest:
			parts = append(parts, *have)
		case st != nil && st.complete && st.digest == want.Digest:
			p, err := st.part(want.Name, have)
			if err != nil {
				return nil, err
			}
			parts = append(parts, p)
		case st.spoilt():
			return nil, st.broken
		default:
			return nil, errMissing
		}
	}
	if sum := policy.ServiceDigest(f.Parts); sum != f.Digest {
		return nil, fmt.Errorf("the parts have digest %s, and not %s as it says", sum.Short(), f.Digest.Short())
	}
	return parts, nil
}

// part puts a part together and checks that it amounts to its digest.
func (st *staged) part(name string, held *policy.Part) (policy.Part, error) {
	var p policy.Part
	var err error
	if !st.base.IsZero() {
		if held == nil || held.Digest != st.base {
			return policy.Part{}, errMissing
		}
		p, err = held.Patched(st.items, st.removed)
	} else if len(st.removed) > 0 {
		return policy.Part{}, fmt.Errorf("part %.100q removes items and has no base", name)
	} else {
		p, err = policy.NewPart(name, st.items)
	}
	if err != nil {
		return policy.Part{}, err
	}
	if p.Digest != st.digest {
		return policy.Part{}, fmt.Errorf("part %.100q: its items have digest %s, and not %s as it says", name, p.Digest.Short(), st.digest.Short())
	}
	return p, nil
}

func find(parts []policy.Part, name string) *policy.Part {
	for i := range parts {
		if parts[i].Name == name {
			return &parts[i]
		}
	}
	return nil
}
