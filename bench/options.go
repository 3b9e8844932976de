// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are what the command line asks for.
type options struct {
	fairlead string // path of the fairlead command
	out      string // folder for results; empty writes none
	quick    bool
	seed     uint64
	profile  string

	// What to take of the plan; empty takes all.
	lanes, peers, handlers, callers string
	// What to change in the plan; 0 changes nothing.
	rounds, conns int
	slice, warm   time.Duration
	closedOnly    bool
}

func (o *options) flags(f *flag.FlagSet) {
	f.StringVar(&o.fairlead, "fairlead", "bin/fairlead", "path of the fairlead command, which serves the registry")
	f.StringVar(&o.out, "out", "", "folder for report.json and chart.svg; empty writes none")
	f.BoolVar(&o.quick, "quick", false, "only the main cells, in short rounds")
	f.Uint64Var(&o.seed, "seed", 0, "of the order of cells and peers; 0 chooses one and prints it")
	f.StringVar(&o.profile, "cpuprofile", "", "write CPU profiles of Fairlead's two processes to files that begin so")
	f.StringVar(&o.lanes, "lanes", "", "only these lanes, comma-separated: proto, raw581, raw64k")
	f.StringVar(&o.peers, "peers", "", "only these peers, comma-separated")
	f.StringVar(&o.handlers, "handlers", "", "only these handlers, comma-separated: immediate, yield, sleep")
	f.StringVar(&o.callers, "callers", "", "only these numbers of callers, comma-separated")
	f.IntVar(&o.rounds, "rounds", 0, "rounds of each cell; 0 is as planned")
	f.IntVar(&o.conns, "conns", 0, "connections of peers that share them; 0 tries 1 and 2 and keeps the better for each peer")
	f.DurationVar(&o.slice, "slice", 0, "how long each measurement takes; 0 is as planned")
	f.DurationVar(&o.warm, "warm", 0, "how long to warm up before each measurement; 0 is as planned")
	f.BoolVar(&o.closedOnly, "closed", false, "only closed loops: no open loop, fairness, blocking or micro-benchmarks")
}

// pick says whether a comma-separated list has a name; an empty one has all.
func pick(list, name string) bool {
	return list == "" || slices.Contains(strings.Split(list, ","), name)
}

// check fills in the seed and says what is wrong.
func (o *options) check() error {
	if o.rounds < 0 || o.conns < 0 || o.slice < 0 || o.warm < 0 {
		return fmt.Errorf("-rounds %d, -conns %d, -slice %v, -warm %v: none may be negative", o.rounds, o.conns, o.slice, o.warm)
	}
	for c := range strings.SplitSeq(o.callers, ",") {
		if n, err := strconv.Atoi(c); o.callers != "" && (err != nil || n < 1) {
			return fmt.Errorf("-callers %q: %q is no number of callers", o.callers, c)
		}
	}
	for o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000)
	}
	return nil
}
