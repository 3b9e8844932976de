// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/fairlead/fairlead/bench/internal/result"
	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Names of values beside result.ChangeTime.
const (
	// ChangeReplace is for a client that does not know what changed.
	ChangeReplace = "endpoint change, from a list of all"
	// ChangeDecode begins with what the registry sends.
	ChangeDecode = "endpoint change, with decoding"
)

// EndpointChange is the CPU time in which one changed endpoint among 10,000 gets
// into the Picker that new calls use.
//
// The first value, for which there is a goal, is what a Client does with the
// snapshot after a delta: Snapshot.EndpointsSince, Table.Apply, Usable and Build.
// The second one has Table.Replace in place of the first two, as after a snapshot
// that came in full. The third is the first with what comes before: the changed
// endpoint's bytes are patched into the part, and decoded.
func EndpointChange(rounds int) ([]result.Value, error) {
	var apply, replace, decode []float64
	for range rounds {
		for _, way := range []struct {
			into    *[]float64
			measure func(*service) (cost, error)
		}{{&apply, (*service).apply}, {&replace, (*service).replace}, {&decode, (*service).decode}} {
			s, err := newService()
			if err != nil {
				return nil, fmt.Errorf("endpoint change: %w", err)
			}
			each, err := way.measure(s)
			if err != nil {
				return nil, fmt.Errorf("endpoint change: %w", err)
			}
			*way.into = append(*way.into, each.nanos/1e3)
		}
	}
	return []result.Value{
		result.NewValue(result.ChangeTime, result.UnitMicros, apply...),
		result.NewValue(ChangeReplace, result.UnitMicros, replace...),
		result.NewValue(ChangeDecode, result.UnitMicros, decode...),
	}, nil
}

// service is what a client has of a service.
type service struct {
	table           balancer.Table
	snapshot        *policy.Snapshot
	endpoints, rest policy.Part
	i               int // of the last changed endpoint
}

func newService() (*service, error) {
	s := new(service)
	var err error
	if s.rest, err = policy.EncodeOwner(policy.Methods{}, nil); err != nil {
		return nil, err
	}
	if s.endpoints, err = policy.EncodeEndpoints(list(endpoints)); err != nil {
		return nil, err
	}
	if err := s.receive(s.endpoints); err != nil {
		return nil, err
	}
	s.table.Replace(s.snapshot.Endpoints)
	return s, nil
}

// receive decodes a new state of the part.
func (s *service) receive(part policy.Part) error {
	next, err := policy.DecodeAfter(s.snapshot, "bench/orders", policy.Caller, []policy.Part{part, s.rest})
	if err == nil {
		s.snapshot, s.endpoints = next, part
	}
	return err
}

// changed is the item of another endpoint each time, in another state.
func (s *service) changed() ([]policy.Item, error) {
	s.i = (s.i + 7919) % endpoints
	e := s.snapshot.Endpoints[s.i]
	e.State = flipped(e.State)
	one, err := policy.EncodeEndpoints([]policy.Endpoint{e})
	return one.Items, err
}

// build is what follows when the table has the change.
func (s *service) build() { _ = balancer.Build(policy.LeastRequest, s.table.Usable(), 0) }

// apply goes back and forth between two states, each of which came by a delta
// from what the other is.
func (s *service) apply() (cost, error) {
	states := make([]*policy.Snapshot, 2)
	items, err := s.changed()
	if err != nil {
		return cost{}, err
	}
	back := []policy.Item{s.endpoints.Items[s.i]}
	for i, items := range [][]policy.Item{items, back} {
		part, err := s.endpoints.Patched(items, nil)
		if err == nil {
			err = s.receive(part)
		}
		if err != nil {
			return cost{}, err
		}
		states[i] = s.snapshot
	}
	i, unknown := 0, false
	each, err := costOf(func(b *testing.B) {
		for b.Loop() {
			changed, removed, known := states[i%2].EndpointsSince(states[(i+1)%2])
			unknown = unknown || !known
			s.table.Apply(changed, removed)
			s.build()
			i++
		}
	})
	if unknown {
		return cost{}, errUnknown
	}
	return each, err
}

// replace is told of all endpoints each time.
func (s *service) replace() (cost, error) {
	all := slices.Clone(s.snapshot.Endpoints)
	return costOf(func(b *testing.B) {
		for b.Loop() {
			s.i = (s.i + 7919) % endpoints
			all[s.i].State = flipped(all[s.i].State)
			s.table.Replace(all)
			s.build()
		}
	})
}

// decode begins with an item as it comes from the registry. Encoding it is
// measured, too, and hardly counts.
func (s *service) decode() (cost, error) {
	var failed error
	once := func() error {
		items, err := s.changed()
		if err != nil {
			return err
		}
		part, err := s.endpoints.Patched(items, nil)
		if err != nil {
			return err
		}
		former := s.snapshot
		if err := s.receive(part); err != nil {
			return err
		}
		changed, removed, known := s.snapshot.EndpointsSince(former)
		if !known {
			return errUnknown
		}
		s.table.Apply(changed, removed)
		s.build()
		return nil
	}
	each, err := costOf(func(b *testing.B) {
		for b.Loop() {
			if failed = once(); failed != nil {
				return
			}
		}
	})
	return each, errors.Join(failed, err)
}

var errUnknown = errors.New("a difference was not known")

func flipped(s policy.EndpointState) policy.EndpointState {
	if s == policy.Ready {
		return policy.Draining
	}
	return policy.Ready
}
