// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"time"
)

// rollingRestart ends the servers one by one and puts new ones in their place.
func (s *scene) rollingRestart(ctx context.Context) error {
	for _, name := range serverNames() {
		old, began := s.fleet.servers[name], time.Now()
		if err := old.terminate(ctx, s.cfg.Plan.Patience); err != nil {
			return err
		}
		drained := time.Since(began)
		if _, err := s.fleet.startServer(name); err != nil {
			return err
		}
		if err := s.seen(ctx, name); err != nil {
			return err
		}
		s.ok("server %s: pid %d drained and ended in %s; pid %d answers", name, old.pid(), millis(drained), s.fleet.servers[name].pid())
	}
	s.result.RollingRestarts++
	return s.pause(ctx, s.cfg.Plan.Settle/2)
}

// killServer kills a server that is running calls which are not idempotent.
func (s *scene) killServer(ctx context.Context) error {
	ids, err := s.caller.slowly(slowCalls)
	if err != nil {
		return err
	}
	name, err := s.busiest(ctx, ids)
	if err != nil {
		return err
	}
	victim := s.fleet.servers[name]
	s.tally.kill(time.Now())
	if err := victim.kill(); err != nil {
		return err
	}
	ran, err := s.fleet.ran(name)
	if err != nil {
		return err
	}
	if err := s.fleet.wait(ctx, "the slow calls to end", func() bool { return s.tally.allEnded(ids) }); err != nil {
		return err
	}
	lost := 0
	for _, id := range ids {
		if ran[id] == 0 {
			continue
		}
		lost++
		if o, ok := s.tally.outcomeOf(id); !ok || o != unknown {
			return fmt.Errorf("call %s was running on server %s when that was killed, and its caller was not told that its fate is unknown", id, name)
		}
	}
	s.ok("server %s (pid %d) is gone; %d calls that are not idempotent were running on it: their callers know that nobody knows, and nobody repeated them",
		name, victim.pid(), lost)
	if _, err := s.fleet.startServer(name); err != nil {
		return err
	}
	if err := s.seen(ctx, name); err != nil {
		return err
	}
	s.ok("server %s: pid %d answers in its place", name, s.fleet.servers[name].pid())
	s.result.Kills++
	return s.pause(ctx, s.cfg.Plan.Settle)
}

// busiest waits until a server runs some of these calls, and returns the one
// that runs the most.
func (s *scene) busiest(ctx context.Context, ids []string) (name string, err error) {
	err = s.fleet.wait(ctx, "a server that runs slow calls", func() bool {
		most := 0
		for _, candidate := range serverNames() {
			ran, err := s.fleet.ran(candidate)
			if err != nil {
				return false
			}
			n := 0
			for _, id := range ids {
				n += ran[id]
			}
			if n > most {
				name, most = candidate, n
			}
		}
		return most > 1
	})
	return name, err
}

// restartPlane takes the control plane away, brings it back, and sees that it is
// listened to again.
func (s *scene) restartPlane(ctx context.Context) error {
	old := s.fleet.plane
	if err := old.kill(); err != nil {
		return err
	}
	before, digest := s.tally.now(), s.caller.digest()
	if err := s.pause(ctx, s.cfg.Plan.Away); err != nil {
		return err
	}
	s.ok("without a control plane for %s: %d calls, %d failed; the caller keeps the state %s", s.cfg.Plan.Away, s.tally.now().calls-before.calls,
		s.tally.now().failed-before.failed, digest)
	if err := s.fleet.startPlane(ctx); err != nil {
		return err
	}
	s.ok("the control plane is back as pid %d at %s, with the leases of the servers", s.fleet.plane.pid(), s.fleet.registry)
	if err := s.edit(ctx, shortTimeout); err != nil {
		return err
	}
	if err := s.fleet.wait(ctx, "three ready servers in the registry", s.caller.allReady); err != nil {
		return err
	}
	s.result.ControlPlaneRestarts++
	return s.edit(ctx, longTimeout)
}
