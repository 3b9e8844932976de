// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// authorities are those that subscribers are to believe. Immutable.
type authorities struct {
	digest policy.Digest
	frame  []byte
}

// SetTrust says which authorities, a bundle in PEM, subscribers are to believe
// from now on. Those that take them and have others are sent them.
func (s *Service) SetTrust(bundle []byte) error {
	frame, err := registry.EncodePush(&registry.TrustFrame{Bundle: bundle})
	if err != nil {
		return err
	}
	next := &authorities{digest: registry.BundleDigest(bundle), frame: frame}
	if old := s.trust.Swap(next); old != nil && old.digest == next.digest {
		return nil
	}
	for _, sub := range s.all() {
		sub.offer(next)
	}
	return nil
}

// TrustHeld counts the subscribers that take authorities from here: those that
// have said that they hold the bundle, and the others.
func (s *Service) TrustHeld(bundle []byte) (have, lack int) {
	digest := registry.BundleDigest(bundle)
	for _, sub := range s.all() {
		sub.mu.Lock()
		held := sub.trusts
		sub.mu.Unlock()
		switch {
		case held.IsZero():
		case held == digest:
			have++
		default:
			lack++
		}
	}
	return have, lack
}

// offer has the authorities sent, unless the subscriber holds them, or takes none.
func (s *subscriber) offer(a *authorities) {
	if a == nil {
		return
	}
	s.mu.Lock()
	due := !s.trusts.IsZero() && s.trusts != a.digest
	if due {
		s.trustDue = a
	}
	s.mu.Unlock()
	if due {
		s.conn.Wake()
	}
}

// holds notes which authorities the subscriber says that it believes.
func (s *subscriber) holds(digest policy.Digest) {
	s.mu.Lock()
	s.trusts = digest
	s.mu.Unlock()
}
