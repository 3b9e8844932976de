// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"math"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// message is what can be read off the wire.
type message interface{ read(r *reader) }

// unmarshal reads one message and returns what follows it.
func unmarshal(b []byte, what string, m message) ([]byte, error) {
	r := reader{rest: b}
	m.read(&r)
	if r.err != nil {
		var critical *policy.CriticalFieldError
		if errors.As(r.err, &critical) {
			return nil, &policy.CriticalFieldError{Part: "registry", Item: what, Field: critical.Field}
		}
		return nil, &FrameError{Kind: what, Err: r.err}
	}
	return r.rest, nil
}

// decode reads a message that takes up all of b.
func decode(b []byte, what string, m message) error {
	rest, err := unmarshal(b, what, m)
	if err == nil && len(rest) > 0 {
		err = &FrameError{Kind: what, Err: errTrailing}
	}
	return err
}

// UnmarshalMsg reads the message from b and returns the rest. Codecs call it.
func (m *SubscribeRequest) UnmarshalMsg(b []byte) ([]byte, error) {
	return unmarshal(b, "Subscribe", m)
}

// UnmarshalMsg reads the message from b and returns the rest. Codecs call it.
func (m *SubscribeReply) UnmarshalMsg(b []byte) ([]byte, error) {
	return unmarshal(b, "Subscribe's reply", m)
}

// UnmarshalMsg reads the message from b and returns the rest. Codecs call it.
func (m *AckRequest) UnmarshalMsg(b []byte) ([]byte, error) { return unmarshal(b, "Ack", m) }

// UnmarshalMsg reads the message from b and returns the rest. Codecs call it.
func (m *RegisterRequest) UnmarshalMsg(b []byte) ([]byte, error) { return unmarshal(b, "Register", m) }

// UnmarshalMsg reads the message from b and returns the rest. Codecs call it.
func (m *RegisterReply) UnmarshalMsg(b []byte) ([]byte, error) {
	return unmarshal(b, "Register's reply", m)
}

// UnmarshalMsg reads the message from b and returns the rest. Codecs call it.
func (m *RenewRequest) UnmarshalMsg(b []byte) ([]byte, error) { return unmarshal(b, "Renew", m) }

// UnmarshalMsg reads the message from b and returns the rest. Codecs call it.
func (m *RenewReply) UnmarshalMsg(b []byte) ([]byte, error) {
	return unmarshal(b, "Renew's reply", m)
}

func (i *Identity) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "ns":
			i.Namespace = r.text(maxText)
		case "a":
			i.App = r.text(maxText)
		case "u":
			i.PodUID = r.text(maxText)
		case "p":
			i.Pod = r.text(maxText)
		case "d":
			i.Addresses = texts(r, policy.MaxAddresses)
		case "i":
			i.Instance = r.text(maxText)
		default:
			return false
		}
		return true
	})
}

func (s *Self) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "ns":
			s.Namespace = r.text(maxText)
		case "sa":
			s.ServiceAccount = r.text(maxText)
		case "p":
			s.Pod = r.text(maxText)
		case "z":
			s.Zone = r.text(maxText)
		case "r":
			s.Region = r.text(maxText)
		case "s":
			r.list(maxServes, func() {
				s.Serves = append(s.Serves, pair(r, "n", "p", func(a, b string) Serving { return Serving{Service: a, Port: b} }))
			})
		default:
			return false
		}
		return true
	})
}

func (m *SubscribeRequest) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "i":
			m.Identity.read(r)
		case "f":
			m.Features = texts(r, MaxFeatures)
		case "v":
			m.Version = r.text(maxText)
		case "s":
			r.list(MaxSubscriptions, func() {
				var s Subscription
				s.read(r)
				m.Services = append(m.Services, s)
			})
		case "k":
			m.Token = r.text(MaxToken)
		case "t":
			m.Trust = r.digest()
		default:
			return false
		}
		return true
	})
}

func (s *Subscription) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "n":
			s.Service = r.text(maxText)
		case "r":
			s.Role = role(r)
		case "d":
			s.Digest = r.digest()
		case "e":
			s.Epoch = r.text(maxText)
		case "a":
			s.AsOf = asOf(r)
		case "p":
			s.Parts = partDigests(r)
		case "x":
			s.Again = r.flag()
		default:
			return false
		}
		return true
	})
}

func (m *SubscribeReply) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "e":
			m.Epoch = r.text(maxText)
		case "a":
			m.AsOf = asOf(r)
		case "v":
			m.Revision = r.number(math.MaxUint64)
		case "i":
			m.Self.read(r)
		case "y":
			r.list(MaxSubscriptions, func() {
				m.Accepted = append(m.Accepted, pair(r, "n", "r", func(a, b string) ServiceRole {
					return ServiceRole{Service: a, Role: policy.Role(b)}
				}))
			})
		case "n":
			r.list(MaxSubscriptions, func() {
				var f Refusal
				f.read(r)
				m.Refused = append(m.Refused, f)
			})
		default:
			return false
		}
		return true
	})
}

func (f *Refusal) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "n":
			f.Service = r.text(maxText)
		case "r":
			f.Role = role(r)
		case "c":
			f.Reason = r.text(maxText)
		case "m":
			f.Message = r.text(maxReason)
		case "l":
			f.Near = texts(r, MaxNear)
		default:
			return false
		}
		return true
	})
}

func (m *AckRequest) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "s":
			r.list(MaxSubscriptions, func() {
				var a Ack
				a.read(r)
				m.Acks = append(m.Acks, a)
			})
		case "t":
			m.Trust = r.digest()
		default:
			return false
		}
		return true
	})
}

func (m *RenewRequest) read(r *reader) {
	r.object(func(key string) bool {
		if key == "k" {
			m.Token = r.text(MaxToken)
		}
		return key == "k"
	})
}

func (m *RenewReply) read(r *reader) { r.object(func(string) bool { return false }) }

func (a *Ack) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "n":
			a.Service = r.text(maxText)
		case "r":
			a.Role = role(r)
		case "d":
			a.Digest = r.digest()
		case "x":
			a.Rejected = r.text(maxReason)
		default:
			return false
		}
		return true
	})
}

func (m *RegisterRequest) read(r *reader) {
	r.object(func(key string) bool {
		switch key {
		case "n":
			m.Service = r.text(maxText)
		case "a":
			m.Address = r.text(maxText)
		case "u":
			m.PodUID = r.text(maxText)
		case "z":
			m.Zone = r.text(maxText)
		case "m":
			r.list(maxMetadata, func() {
				m.Metadata = append(m.Metadata, pair(r, "k", "v", func(a, b string) KeyValue { return KeyValue{Key: a, Value: b} }))
			})
		case "x":
			m.Leave = r.flag()
		default:
			return false
		}
		return true
	})
}

func (m *RegisterReply) read(r *reader) {
	r.object(func(key string) bool {
		if key != "l" {
			return false
		}
		m.LeaseMillis = int64(r.number(math.MaxInt32))
		return true
	})
}

func role(r *reader) policy.Role { return policy.Role(r.text(maxText)) }

// texts reads a list of texts, none of them empty.
func texts(r *reader, limit int) (list []string) {
	r.list(limit, func() {
		t := r.text(maxText)
		if t == "" {
			r.failf("an empty text in a list")
		}
		list = append(list, t)
	})
	return list
}

// pair reads an object of two texts.
func pair[T any](r *reader, first, second string, value func(a, b string) T) T {
	var a, b string
	r.object(func(key string) bool {
		switch key {
		case first:
			a = r.text(maxText)
		case second:
			b = r.text(maxText)
		default:
			return false
		}
		return true
	})
	return value(a, b)
}

func asOf(r *reader) (a policy.AsOf) {
	r.list(policy.MaxKinds, func() {
		var k policy.KindRevision
		r.object(func(key string) bool {
			switch key {
			case "k":
				k.Kind = r.text(maxText)
			case "c":
				k.Changed = r.number(math.MaxUint64)
			case "s":
				k.Seen = r.number(math.MaxUint64)
			default:
				return false
			}
			return true
		})
		a = append(a, k)
	})
	if r.err == nil {
		if err := a.Validate(); err != nil {
			r.fail(err)
		}
	}
	return a
}

func partDigests(r *reader) (parts []policy.PartDigest) {
	r.list(MaxParts, func() {
		var p policy.PartDigest
		r.object(func(key string) bool {
			switch key {
			case "n":
				p.Name = r.text(maxText)
			case "d":
				p.Digest = r.digest()
			default:
				return false
			}
			return true
		})
		parts = append(parts, p)
	})
	return parts
}
