// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"slices"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

func items(texts ...string) (list []policy.Item) {
	for _, t := range texts {
		list = append(list, policy.Item{ID: t[:1], Bytes: []byte(t)})
	}
	return list
}

func partOf(t testing.TB, name string, texts ...string) policy.Part {
	t.Helper()
	p, err := policy.NewPart(name, items(texts...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func changeOf(parts ...policy.Part) *ChangeFrame {
	f := &ChangeFrame{Service: "s/x", Role: policy.Caller}
	for _, p := range parts {
		f.Parts = append(f.Parts, policy.PartDigest{Name: p.Name, Digest: p.Digest})
	}
	f.Digest = policy.ServiceDigest(f.Parts)
	return f
}

func full(p policy.Part) PartFrame {
	return PartFrame{Service: "s/x", Part: p.Name, Digest: p.Digest, Items: p.Items, Last: true}
}

func TestStaging(t *testing.T) {
	old := partOf(t, "endpoints", "a1", "b1", "c1")
	next := partOf(t, "endpoints", "a1", "b2", "d1")
	owner := partOf(t, "owner", "m")
	chunk := func(n uint32, last bool, texts ...string) PartFrame {
		return PartFrame{Service: "s/x", Part: "endpoints", Digest: next.Digest, Chunk: n, Last: last, Items: items(texts...)}
	}
	delta := PartFrame{Service: "s/x", Part: "endpoints", Digest: next.Digest, Base: old.Digest, Items: items("b2", "d1"), Removed: []string{"c"}, Last: true}
	lying := changeOf(next, owner)
	lying.Digest = old.Digest
	tests := []struct {
		name   string
		frames []PartFrame
		change *ChangeFrame
		held   []policy.Part
		// refused is the frame that is refused; -1 for none.
		refused int
		// missing: the change names what is not there. broken: it cannot be right.
		missing, broken bool
	}{
		{name: "all in full", frames: []PartFrame{full(next), full(owner)}, change: changeOf(next, owner), refused: -1},
		{name: "one is held", frames: []PartFrame{full(next)}, change: changeOf(next, owner), held: []policy.Part{old, owner}, refused: -1},
		{name: "all are held", change: changeOf(old, owner), held: []policy.Part{old, owner}, refused: -1},
		{name: "in chunks", frames: []PartFrame{chunk(0, false, "a1"), chunk(1, false, "b2"), chunk(2, true, "d1"), full(owner)}, change: changeOf(next, owner), refused: -1},
		{name: "begun anew", frames: []PartFrame{chunk(0, false, "a1"), full(next), full(owner)}, change: changeOf(next, owner), refused: -1},
		{name: "as a difference", frames: []PartFrame{delta}, change: changeOf(next, owner), held: []policy.Part{old, owner}, refused: -1},
		{name: "a difference to what is not held", frames: []PartFrame{delta}, change: changeOf(next, owner), held: []policy.Part{next, owner}, refused: -1},
		{name: "a difference to nothing", frames: []PartFrame{delta}, change: changeOf(next, owner), held: []policy.Part{owner}, refused: -1, missing: true},
		{name: "not whole", frames: []PartFrame{chunk(0, false, "a1")}, change: changeOf(next, owner), held: []policy.Part{old, owner}, refused: -1, missing: true},
		{name: "nothing came", change: changeOf(next, owner), held: []policy.Part{old, owner}, refused: -1, missing: true},
		{name: "another service's", frames: []PartFrame{{Service: "s/y", Part: "endpoints", Digest: next.Digest, Items: next.Items, Last: true}}, change: changeOf(next), refused: -1, missing: true},
		{name: "a chunk left out", frames: []PartFrame{chunk(0, false, "a1"), chunk(2, true, "d1")}, refused: 1},
		{name: "a chunk twice", frames: []PartFrame{chunk(0, false, "a1"), chunk(1, false, "b2"), chunk(1, false, "b2")}, refused: 2},
		{name: "a chunk after the last", frames: []PartFrame{chunk(0, true, "a1"), chunk(1, true, "b2")}, refused: 1},
		{name: "no first chunk", frames: []PartFrame{chunk(1, true, "b2")}, refused: 0},
		{name: "a chunk of another", frames: []PartFrame{chunk(0, false, "a1"), {Service: "s/x", Part: "endpoints", Digest: old.Digest, Chunk: 1}}, refused: 1},
		{name: "no name", frames: []PartFrame{{Service: "s/x", Digest: next.Digest}}, refused: 0},
		{name: "an item was lost", frames: []PartFrame{chunk(0, true, "a1", "b2")}, change: changeOf(next), refused: -1, broken: true},
		{name: "an id twice", frames: []PartFrame{chunk(0, true, "a1", "a2")}, change: changeOf(next), refused: -1, broken: true},
		{name: "removes from nothing", frames: []PartFrame{{Service: "s/x", Part: "endpoints", Digest: next.Digest, Items: next.Items, Removed: []string{"z"}, Last: true}}, change: changeOf(next), refused: -1, broken: true},
		{name: "the digest of the whole is wrong", frames: []PartFrame{full(next), full(owner)}, change: lying, refused: -1, broken: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStaging(1 << 20)
			for i := range tt.frames {
				if err := s.add(&tt.frames[i]); (err != nil) != (i == tt.refused) {
					t.Fatalf("frame %d: %v", i, err)
				}
			}
			if tt.change == nil {
				return
			}
			parts, err := s.assemble(tt.change, tt.held)
			switch {
			case tt.missing != errors.Is(err, errMissing), tt.broken != (err != nil && !errors.Is(err, errMissing)):
				t.Fatalf("got %v", err)
			case err != nil:
				return
			}
			for i := range parts {
				if err := parts[i].Verify(); err != nil || parts[i].Name != tt.change.Parts[i].Name || parts[i].Digest != tt.change.Parts[i].Digest {
					t.Errorf("part %q: %v", parts[i].Name, err)
				}
			}
		})
	}
}

func TestStagingIsBounded(t *testing.T) {
	s := newStaging(1000)
	big := PartFrame{Service: "s/x", Part: "endpoints", Items: []policy.Item{{ID: "a", Bytes: make([]byte, 600)}}}
	if err := s.add(&big); err != nil {
		t.Fatal(err)
	}
	if err := s.add(&big); err != nil { // replaces the first
		t.Fatal(err)
	}
	other := big
	other.Part = "owner"
	if err := s.add(&other); err == nil {
		t.Error("more than the bound was staged")
	}
	s.dropService("s/x")
	if s.bytes != 0 || len(s.parts) != 0 {
		t.Errorf("%d bytes in %d parts are left", s.bytes, len(s.parts))
	}
	if err := s.add(&other); err != nil {
		t.Errorf("after dropping: %v", err)
	}
}

func TestSpoiltPartBreaksItsChangeOnly(t *testing.T) {
	next, old := partOf(t, "endpoints", "a1"), partOf(t, "endpoints", "b1")
	why := &policy.CriticalFieldError{Field: "!x"}
	s := newStaging(1000)
	s.spoil("s/x", "endpoints", why)
	rest := PartFrame{Service: "s/x", Part: "endpoints", Digest: next.Digest, Chunk: 1, Last: true}
	if err := s.add(&rest); err != nil {
		t.Errorf("the rest of a part that was not understood: %v", err)
	}
	if _, err := s.assemble(changeOf(next), nil); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if _, err := s.assemble(changeOf(old), []policy.Part{old}); err != nil {
		t.Errorf("what is held is not affected: %v", err)
	}
	f := full(next)
	if err := s.add(&f); err != nil {
		t.Fatal(err)
	}
	if parts, err := s.assemble(changeOf(next), nil); err != nil || !slices.Equal([]string{parts[0].Name}, []string{"endpoints"}) {
		t.Errorf("sent anew: %v", err)
	}
}
