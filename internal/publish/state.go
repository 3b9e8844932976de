// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"slices"
	"strings"
	"sync"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// state is what a service is at one time. It is immutable but for what is
// encoded on demand. One that says removed has no parts.
type state struct {
	service, epoch string
	// revision grows with each state of the store that differs from the one
	// before it.
	revision uint64
	asOf     policy.AsOf
	removed  bool
	parts    map[string]*encodedPart

	mu    sync.Mutex // guards views
	views map[viewKey]*view
}

// encodedPart is a part with its frames, shared by all states that it is in.
type encodedPart struct {
	part   policy.Part
	frames func() ([][]byte, error)
}

func newEncodedPart(service string, part policy.Part) *encodedPart {
	p := &encodedPart{part: part}
	p.frames = sync.OnceValues(func() ([][]byte, error) { return encodePart(service, &p.part) })
	return p
}

// itemOverhead is what an item takes in a frame beside its id and bytes, at most.
const itemOverhead = 16

// encodePart gives the frames of a part in full.
func encodePart(service string, p *policy.Part) ([][]byte, error) {
	var frames [][]byte
	items := p.Items
	for chunk := uint32(0); ; chunk++ {
		n, size := 0, 0
		for n < len(items) {
			size += len(items[n].ID) + len(items[n].Bytes) + itemOverhead
			if n > 0 && size > registry.ChunkBytes {
				break
			}
			n++
		}
		frame, err := registry.EncodePush(&registry.PartFrame{
			Service: service, Part: p.Name, Digest: p.Digest, Chunk: chunk, Last: n == len(items), Items: items[:n],
		})
		if err != nil {
			return nil, err
		}
		frames = append(frames, frame)
		if items = items[n:]; len(items) == 0 {
			return frames, nil
		}
	}
}

// viewKey says what a subscriber gets of a state. overlay is a part's name;
// empty for those that have none, whatever their namespace.
type viewKey struct {
	role    policy.Role
	overlay string
}

// view is what subscribers with the same key get.
type view struct {
	asOf  policy.AsOf // as encoded in change
	names []policy.PartDigest
	// digest covers names.
	digest policy.Digest
	change []byte
}

// key gives what a subscriber of a namespace gets.
func (st *state) key(role policy.Role, namespace string) viewKey {
	k := viewKey{role: role}
	if overlay := policy.OverlayPart(namespace); role == policy.Caller && st.parts[overlay] != nil {
		k.overlay = overlay
	}
	return k
}

// names gives the parts of a view, sorted by name.
func (st *state) names(k viewKey) []policy.PartDigest {
	wanted := []string{policy.PartLimits}
	if k.role == policy.Caller {
		wanted = []string{policy.PartEndpoints, policy.PartOwner}
		if k.overlay != "" {
			wanted = append(wanted, k.overlay)
		}
	}
	names := make([]policy.PartDigest, 0, len(wanted))
	for _, name := range wanted {
		names = append(names, policy.PartDigest{Name: name, Digest: st.parts[name].part.Digest})
	}
	slices.SortFunc(names, func(a, b policy.PartDigest) int { return strings.Compare(a.Name, b.Name) })
	return names
}

// view gives the view of a key, encoded once. If a subscriber holds what the
// view's asOf has not seen, it is encoded anew with what now says; nil means
// that now has not seen it either.
func (st *state) view(k viewKey, held policy.AsOf, now func() policy.AsOf) (*view, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	v := st.views[k]
	if v != nil && !v.asOf.Behind(held) {
		return v, nil
	}
	asOf := now()
	if asOf.Behind(held) {
		return nil, nil //nolint:nilnil // both: behind is no error
	}
	v, err := st.encodeView(k, asOf)
	if err != nil {
		return nil, err
	}
	if st.views == nil {
		st.views = make(map[viewKey]*view)
	}
	st.views[k] = v
	return v, nil
}

func (st *state) encodeView(k viewKey, asOf policy.AsOf) (*view, error) {
	v := &view{asOf: asOf}
	var push registry.Push
	if st.removed {
		push = &registry.GoneFrame{Service: st.service, Role: k.role, Epoch: st.epoch, AsOf: asOf}
	} else {
		v.names = st.names(k)
		v.digest = policy.ServiceDigest(v.names)
		push = &registry.ChangeFrame{
			Service: st.service, Role: k.role, Epoch: st.epoch, Revision: st.revision, AsOf: asOf,
			Parts: v.names, Digest: v.digest,
		}
	}
	var err error
	v.change, err = registry.EncodePush(push)
	return v, err
}

// sameParts says whether the parts have the digests of the state's.
func (st *state) sameParts(parts []policy.Part) bool {
	if st == nil || st.removed || len(parts) != len(st.parts) {
		return false
	}
	for i := range parts {
		old := st.parts[parts[i].Name]
		if old == nil || old.part.Digest != parts[i].Digest {
			return false
		}
	}
	return true
}
