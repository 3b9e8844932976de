// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"math"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Push is a message that the registry sends without being asked.
type Push interface {
	message
	// Kind is the method of its frame.
	Kind() string
}

// Kind is KindPart.
func (*PartFrame) Kind() string { return KindPart }

// Kind is KindChange.
func (*ChangeFrame) Kind() string { return KindChange }

// Kind is KindGone.
func (*GoneFrame) Kind() string { return KindGone }

// Kind is KindBehind.
func (*BehindFrame) Kind() string { return KindBehind }

// Kind is KindSelf.
func (*SelfFrame) Kind() string { return KindSelf }

// Kind is KindTrust.
func (*TrustFrame) Kind() string { return KindTrust }

// DecodePush reads the payload of a push. It copies what it keeps. ok is false
// for a kind that this version does not know. An error is a *FrameError, or a
// *policy.CriticalFieldError; then the push holds what was read before it.
func DecodePush(kind string, payload []byte) (push Push, ok bool, err error) {
	switch kind {
	case KindPart:
		push = new(PartFrame)
	case KindChange:
		push = new(ChangeFrame)
	case KindGone:
		push = new(GoneFrame)
	case KindBehind:
		push = new(BehindFrame)
	case KindSelf:
		push = new(SelfFrame)
	case KindTrust:
		push = new(TrustFrame)
	default:
		return nil, false, nil
	}
	return push, true, decode(payload, kind, push)
}

func (m *PartFrame) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "s":
			m.Service = r.text(maxText)
		case "p":
			m.Part = r.text(maxText)
		case "d":
			m.Digest = r.digest()
		case "b":
			m.Base = r.digest()
		case "c":
			m.Chunk = uint32(r.number(math.MaxUint32))
		case "l":
			m.Last = r.flag()
		case "i":
			r.list(anyCount, func() { m.Items = append(m.Items, item(r)) })
		case "r":
			m.Removed = texts(r, anyCount)
		default:
			return false
		}
		return true
	})
}

func (m *ChangeFrame) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "s":
			m.Service = r.text(maxText)
		case "r":
			m.Role = role(r)
		case "e":
			m.Epoch = r.text(maxText)
		case "v":
			m.Revision = r.number(math.MaxUint64)
		case "a":
			m.AsOf = asOf(r)
		case "p":
			m.Parts = partDigests(r)
		case "d":
			m.Digest = r.digest()
		default:
			return false
		}
		return true
	})
}

func (m *GoneFrame) read(r *reader) { readStanding(r, &m.Service, &m.Role, &m.Epoch, &m.AsOf) }

func (m *BehindFrame) read(r *reader) { readStanding(r, &m.Service, &m.Role, &m.Epoch, &m.AsOf) }

// readStanding reads what gone and behind have in common: all they have.
func readStanding(r *reader, service *string, as *policy.Role, epoch *string, of *policy.AsOf) {
	r.object(func(key string) bool {
		switch key {
		case "s":
			*service = r.text(maxText)
		case "r":
			*as = role(r)
		case "e":
			*epoch = r.text(maxText)
		case "a":
			*of = asOf(r)
		default:
			return false
		}
		return true
	})
}

func (m *SelfFrame) read(r *reader) {
	r.object(func(key string) bool {
		if key == "i" {
			m.Self.read(r)
		}
		return key == "i"
	})
}

func (m *TrustFrame) read(r *reader) {
	r.object(func(key string) bool {
		if key == "b" {
			m.Bundle = r.bytes(MaxBundle)
		}
		return key == "b"
	})
}

// item reads an item, which takes at least its id: so no list of them can
// claim more memory than its bytes do.
func item(r *reader) (i policy.Item) {
	r.object(func(key string) bool {
		switch key {
		case "n":
			i.ID = r.text(maxText)
		case "b":
			i.Bytes = r.bytes(policy.MaxItemBytes)
		default:
			return false
		}
		return true
	})
	if i.ID == "" {
		r.failf("an item without an id")
	}
	return i
}
