// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/fairlead/fairlead/bench/internal/micro"
	"github.com/fairlead/fairlead/bench/internal/peer"
	"github.com/fairlead/fairlead/bench/internal/result"
)

// drive is the whole run.
func drive(ctx context.Context, o options) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	cells, err := plan(o)
	if err != nil {
		return err
	}
	r := &run{random: rand.New(rand.NewPCG(o.seed, 1)), loud: !o.quick}
	r.report = result.Report{Started: time.Now(), Seed: o.seed, Quick: o.quick, Host: host()}
	before := cpuTicks()
	if r.fleet, err = start(ctx, o, peersOf(cells)); err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, r.fleet.end()); ctx.Err() != nil {
			err = errors.New("interrupted: nothing is reported")
		}
	}()
	if err := r.measureAll(ctx, o, cells); err != nil {
		return err
	}
	r.report.Took = time.Since(r.report.Started)
	r.report.Host.StealShare = cpuTicks().stolen(before)
	r.report.Versions = r.fleet.versions()
	if share := r.fleet.others.share(); share >= 0 {
		r.note("other programs used %.0f %% of this machine's CPU time while calls were measured", share*100)
	}
	return r.write(o)
}

func (r *run) measureAll(ctx context.Context, o options, cells []cell) error {
	if err := r.chooseConns(ctx, o); err != nil {
		return err
	}
	if err := r.rounds(ctx, cells); err != nil || o.closedOnly {
		return err
	}
	if err := r.openLoop(ctx, o); err != nil {
		return err
	}
	if err := r.schedulers(ctx, o); err != nil || r.fleet.crew(result.Fairlead) == nil {
		return err
	}
	r.say("idle connections, Pick, changes of endpoints, allocations")
	values, err := micro.Measure(ctx, o.quick)
	r.report.Values = append(r.report.Values, values...)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.note("not all could be measured: %v", err)
	}
	return nil
}

// write judges the goals and shows and keeps the report.
func (r *run) write(o options) error {
	r.report.Finish()
	errs := []error{r.report.WriteTable(os.Stdout), r.report.WriteLines(os.Stdout)}
	if o.out != "" {
		errs = append(errs, r.report.WriteJSON(o.out), r.report.WriteChart(o.out))
	}
	return errors.Join(errs...)
}

// peersOf are those that cells name, in the order in which peers are listed.
func peersOf(cells []cell) []string {
	var names []string
	for _, p := range peer.All() {
		if slices.ContainsFunc(cells, func(c cell) bool { return slices.Contains(c.peers, p.Name) }) {
			names = append(names, p.Name)
		}
	}
	return names
}

// versions are what was measured.
func (f *fleet) versions() []result.Version {
	modules := make(map[string]string)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			modules[m.Path] = m.Version
		}
	}
	var all []result.Version
	for _, c := range f.crews {
		v := result.Version{Name: c.peer.Name, Version: modules[c.peer.Module], Note: c.peer.Note}
		if c.tried != "" {
			v.Note += "; " + c.tried
		}
		all = append(all, v)
	}
	return all
}
