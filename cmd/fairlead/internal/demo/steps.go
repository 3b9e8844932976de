// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// step is one thing that happens to the running service, and what is to be seen
// of it.
type step struct {
	name string
	run  func(*scene, context.Context) error
}

// steps are the scenario.
func steps() []step {
	return []step{
		{"steady load", (*scene).steady},
		{"rolling restart: each server is asked to end (SIGTERM), and a new one takes its place", (*scene).rollingRestart},
		{"a server is killed (kill -9) in the middle of calls", (*scene).killServer},
		{"a call policy is edited on disk, and edited back", (*scene).editPolicy},
		{"a limit is applied, and removed", (*scene).limit},
		{"the control plane is killed (kill -9) and started again", (*scene).restartPlane},
		{"steady load again", (*scene).steadyAgain},
	}
}

// introduce says what is going to happen.
func (s *scene) introduce() {
	plan := s.cfg.Plan
	s.out.linef("This runs a service with three servers, a control plane and a caller as processes on this machine, and makes trouble for them.")
	s.out.linef("The caller makes %d calls/s to %s through all of it: %d of Arith.Mul, which is declared idempotent, and %d of Arith.Add,",
		plan.Rate, service, plan.mulRate(), plan.Rate-plan.mulRate())
	s.out.linef("which is not. No call may fail, and no Arith.Add may run twice. It takes less than a minute; Ctrl-C ends it at any time.")
	s.out.linef("Files, manifests and logs: %s (removed at the end; --keep keeps them).", s.fleet.folder)
	s.out.linef("")
}

// start starts the control plane, the servers and the caller.
func (s *scene) start(ctx context.Context) error {
	if err := errors.Join(s.files.writeService(), s.files.writeTimeout(longTimeout), os.Mkdir(s.fleet.path("state"), 0o700)); err != nil {
		return err
	}
	if err := s.fleet.startPlane(ctx); err != nil {
		return err
	}
	s.out.linef("control plane  pid %-7d at %s, reads the manifests, as `fairlead serve` does", s.fleet.plane.pid(), s.fleet.registry)
	for _, name := range serverNames() {
		p, err := s.fleet.startServer(name)
		if err != nil {
			return err
		}
		s.out.linef("server %s       pid %-7d serves examples/arith and registers itself", name, p.pid())
	}
	if err := s.fleet.startCaller(s.caller, s.cfg.Plan.Rate); err != nil {
		return err
	}
	s.out.linef("caller         pid %-7d knows the address of the control plane and the name %s", s.caller.process.pid(), service)
	s.out.linef("")
	return nil
}

// firstAnswers waits until the caller has heard of all servers.
func (s *scene) firstAnswers(ctx context.Context) error {
	err := s.fleet.wait(ctx, "three ready servers in the registry", s.caller.allReady)
	if err == nil {
		s.out.linef("a, b, c: the servers' shares of the answers; digest: which state of the service the caller goes by.")
		s.out.linef("%s", header())
	}
	return err
}

// play plays the steps, one after the other.
func (s *scene) play(ctx context.Context) error {
	for i, step := range steps() {
		s.out.linef("== %d. %s", i+1, step.name)
		failed := s.tally.now().failed
		if err := step.run(s, ctx); err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, step.name, err)
		}
		if more := s.tally.now().failed - failed; more > 0 {
			return fmt.Errorf("step %d, %s: %d calls failed", i+1, step.name, more)
		}
	}
	return nil
}

// ok says what was seen.
func (s *scene) ok(format string, args ...any) { s.out.linef("   ok: "+format, args...) }

// pause lets the load go on for a while.
func (s *scene) pause(ctx context.Context, d time.Duration) error {
	end := time.Now().Add(d)
	return s.fleet.wait(ctx, "the time to pass", func() bool { return !time.Now().Before(end) })
}

// steady lets the load run, and sees all servers answer.
func (s *scene) steady(ctx context.Context) error {
	for _, name := range serverNames() {
		if err := s.seen(ctx, name); err != nil {
			return err
		}
	}
	before, began := s.tally.now(), time.Now()
	if err := s.pause(ctx, s.cfg.Plan.Steady); err != nil {
		return err
	}
	rate := float64(s.tally.now().calls-before.calls) / time.Since(began).Seconds()
	s.ok("all three servers answer, at %.0f calls/s", rate)
	return nil
}

// seen waits until the present process of that name answers calls.
func (s *scene) seen(ctx context.Context, name string) error {
	pid := s.fleet.servers[name].pid()
	before := s.tally.answersOf(pid)
	return s.fleet.wait(ctx, fmt.Sprintf("answers of server %s (pid %d)", name, pid), func() bool { return s.tally.answersOf(pid) > before })
}

// steadyAgain lets the load run until there were calls enough.
func (s *scene) steadyAgain(ctx context.Context) error {
	if err := s.pause(ctx, s.cfg.Plan.Settle); err != nil {
		return err
	}
	if err := s.enough(ctx); err != nil {
		return err
	}
	for _, name := range serverNames() {
		if err := s.seen(ctx, name); err != nil {
			return err
		}
	}
	s.ok("%d calls in all", s.tally.now().calls)
	return nil
}

// enough waits for the least number of calls, however long that takes.
func (s *scene) enough(ctx context.Context) error {
	for s.tally.now().calls < s.cfg.Plan.MinCalls {
		before := s.tally.now().calls
		if err := s.fleet.wait(ctx, "calls to end", func() bool { return s.tally.now().calls > before }); err != nil {
			return err
		}
	}
	return nil
}
