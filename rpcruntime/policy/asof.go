// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
)

// NewAsOf gives the revisions sorted by kind; of two of the same kind the
// higher numbers stay.
func NewAsOf(revisions ...KindRevision) AsOf {
	sorted := slices.Clone(AsOf(revisions))
	slices.SortFunc(sorted, func(a, b KindRevision) int { return strings.Compare(a.Kind, b.Kind) })
	out := sorted[:0]
	for _, r := range sorted {
		if last := len(out) - 1; last >= 0 && out[last].Kind == r.Kind {
			out[last].Changed = max(out[last].Changed, r.Changed)
			out[last].Seen = max(out[last].Seen, r.Seen)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Get gives the revision of a kind; the zero revision when there is none.
func (a AsOf) Get(kind string) KindRevision {
	i, found := slices.BinarySearchFunc(a, kind, func(r KindRevision, kind string) int {
		return strings.Compare(r.Kind, kind)
	})
	if !found {
		return KindRevision{Kind: kind}
	}
	return a[i]
}

// Behind says whether a source at a has not seen everything that went into
// held: in some kind it has seen less than the highest change held. What it
// says then may be older than what is held.
func (a AsOf) Behind(held AsOf) bool {
	return slices.ContainsFunc(held, func(h KindRevision) bool { return a.Get(h.Kind).Seen < h.Changed })
}

// Max gives the higher numbers of both, by kind.
func (a AsOf) Max(other AsOf) AsOf {
	return NewAsOf(append(slices.Clone(a), other...)...)
}

// Validate checks an AsOf from the wire.
func (a AsOf) Validate() error {
	if len(a) > MaxKinds {
		return fmt.Errorf("asOf has %d kinds, more than %d", len(a), MaxKinds)
	}
	for i, r := range a {
		if r.Kind == "" || len(r.Kind) > maxWord {
			return fmt.Errorf("asOf: kind %.80q has %d bytes, not 1 to %d", r.Kind, len(r.Kind), maxWord)
		}
		if i > 0 && a[i-1].Kind >= r.Kind {
			return fmt.Errorf("asOf: kind %q after %q: not sorted, or twice", r.Kind, a[i-1].Kind)
		}
	}
	return nil
}
