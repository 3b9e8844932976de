// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
)

// ErrFailed says that the demo has printed what went wrong.
var ErrFailed = errors.New("the demo did not succeed")

// scene is what the steps work with.
type scene struct {
	cfg    *Config
	fleet  *fleet
	files  manifests
	tally  *tally
	caller *caller
	out    *printer
	result Result
}

// Run runs the demo. It returns an error if ctx ended or anything went otherwise
// than it should; ErrFailed if all about that has been printed. Nothing that it
// started is left when it returns.
func Run(ctx context.Context, cfg Config) error {
	folder, err := os.MkdirTemp("", "fairlead-demo-")
	if err != nil {
		return err
	}
	t := newTally()
	s := &scene{
		cfg: &cfg, fleet: newFleet(&cfg, folder), files: manifests{folder + "/manifests"},
		tally: t, caller: newCaller(t, cfg.Plan.Patience), out: &printer{w: cfg.Out},
	}
	return s.conclude(ctx, s.run(ctx))
}

// run starts everything, plays the steps and ends everything.
func (s *scene) run(ctx context.Context) error {
	defer s.fleet.end()
	s.introduce()
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.firstAnswers(ctx); err != nil {
		return err
	}
	err := s.underLoad(ctx, s.play)
	s.fleet.end() // so that no ledger grows any more
	return errors.Join(err, s.check())
}

// underLoad runs f while the load and the table run. When it returns, all calls
// of the load have ended and are counted; only an interrupted demo does not wait
// for them.
func (s *scene) underLoad(ctx context.Context, f func(context.Context) error) error {
	tableCtx, stopTable := context.WithCancel(context.WithoutCancel(ctx))
	var table sync.WaitGroup
	table.Go(func() { s.out.table(tableCtx, s.tally, s.caller.digest) })
	err := s.caller.order(&order{Load: true})
	if err == nil {
		err = f(ctx)
	}
	if ctx.Err() != nil {
		s.fleet.end() // what is under way fails at once
	} else {
		err = errors.Join(err, s.caller.process.terminate(ctx, s.cfg.Plan.Patience))
	}
	stopTable()
	table.Wait()
	return err
}

// check compares what callers were told with what the servers have noted.
func (s *scene) check() error {
	ran, err := readLedgers(s.fleet.folder)
	if err != nil {
		return err
	}
	s.result.Duplicates, err = audit(ran, s.tally.outcomes)
	s.out.linef("")
	s.out.linef("Each of the %d calls that were not idempotent has an id, which servers note before they run it: %d ran more than once.",
		len(s.tally.outcomes), s.result.Duplicates)
	if missed := s.caller.pulse().Missed; missed > 0 {
		s.out.linef("This machine was too slow for the load: %d calls were given up before they were made.", missed)
	}
	return err
}

// conclude prints what went wrong, if anything did, puts the files away, and
// prints the last line.
func (s *scene) conclude(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		s.putAway(s.cfg.Keep)
		s.out.linef("Interrupted; everything that was started has been ended.")
		return ErrFailed
	}
	total := s.tally.now()
	s.result.Calls, s.result.Failed, s.result.Refused, s.result.Unknown = total.calls, total.failed, total.refused, total.unknown
	s.result.P99 = quantile(s.tally.took, 0.99)
	problems := s.problems(err)
	for _, problem := range problems {
		s.out.linef("NOT AS IT SHOULD BE: %s", problem)
	}
	if len(problems) > 0 {
		s.tails()
	}
	s.putAway(s.cfg.Keep || len(problems) > 0)
	s.out.linef("%s", s.result)
	if len(problems) > 0 {
		return ErrFailed
	}
	return nil
}

// problems says all that went wrong.
func (s *scene) problems(err error) (list []string) {
	if err != nil {
		list = append(list, err.Error())
	}
	list = append(list, s.result.complaints()...)
	if err == nil { // else it is no wonder
		list = append(list, s.result.missing(s.cfg.Plan.MinCalls)...)
	}
	if s.tally.strays > 0 {
		list = append(list, fmt.Sprintf("%d calls were refused while there was no limit", s.tally.strays))
	}
	return append(list, s.tally.failures...)
}

// putAway removes the files, or says where they are.
func (s *scene) putAway(keep bool) {
	if keep {
		s.out.linef("Files and logs are in %s", s.fleet.folder)
		return
	}
	if err := os.RemoveAll(s.fleet.folder); err != nil {
		s.out.linef("The files in %s could not be removed: %v", s.fleet.folder, err)
	}
}

// tails prints the end of each log.
func (s *scene) tails() {
	for _, p := range s.fleet.all {
		if text := tail(p.log); text != "" {
			s.out.linef("--- end of the log of %s (pid %d)\n%s", p.name, p.pid(), text)
		}
	}
}
