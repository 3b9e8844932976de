// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
)

// Lookup gives what the owner declared of a method.
func (m *Methods) Lookup(name string) (Method, bool) {
	i, found := slices.BinarySearchFunc(m.Declared, name, func(m Method, name string) int {
		return strings.Compare(m.Name, name)
	})
	if !found {
		return Method{}, false
	}
	return m.Declared[i], true
}

// Declared says whether the owner declared the method.
func (s *Snapshot) Declared(name string) bool {
	_, found := s.Methods.Lookup(name)
	return found
}

// Refused says whether calls to the method are refused as Unimplemented.
func (s *Snapshot) Refused(name string) bool {
	return s.Methods.RefuseUndeclared && !s.Declared(name)
}

// MethodIdempotent says whether the method is declared idempotent. What is not
// declared is not idempotent.
func (s *Snapshot) MethodIdempotent(name string) bool {
	m, _ := s.Methods.Lookup(name)
	return m.Idempotent
}

// Effective merges the snapshot's layers for a method.
func (s *Snapshot) Effective(method string) Effective { return Merge(s.Layers, method) }

// LayeredMethods gives the methods that some layer names, sorted: all others
// share the policy of the empty name.
func (s *Snapshot) LayeredMethods() []string {
	var names []string
	for i := range s.Layers {
		if s.Layers[i].Method != "" {
			names = append(names, s.Layers[i].Method)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// MassLoss says whether suspects exceed half of the endpoints that are not
// terminating: more likely the registry's view is wrong than the endpoints are
// gone. Clients then use suspects that answered them before, and the operator
// reports Degraded; both ask this one predicate.
func MassLoss(endpoints []Endpoint) bool {
	suspects, alive := 0, 0
	for i := range endpoints {
		switch endpoints[i].State {
		case Suspect:
			suspects++
			alive++
		case Ready:
			alive++
		case Draining:
		}
	}
	return 2*suspects > alive
}
