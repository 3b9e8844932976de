// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/bench/internal/child"
	"github.com/fairlead/fairlead/bench/internal/load"
	"github.com/fairlead/fairlead/bench/internal/peer"
	"github.com/fairlead/fairlead/bench/internal/result"
)

func TestPlansNameWhatThereIs(t *testing.T) {
	for _, quick := range []bool{true, false} {
		cells, err := plan(options{quick: quick})
		if err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		var took time.Duration
		for _, c := range cells {
			if _, err := payload(c.lane); err != nil {
				t.Error(err)
			}
			if _, err := peer.ParseHandler(c.handler); err != nil {
				t.Error(err)
			}
			for _, name := range c.peers {
				if _, err := peer.Find(name); err != nil {
					t.Error(err)
				}
				if key := c.String() + name; seen[key] {
					t.Errorf("%v %s is measured twice", &c, name)
				} else {
					seen[key] = true
				}
				took += time.Duration(c.rounds) * (c.slice + c.warm)
			}
		}
		if most := map[bool]time.Duration{true: 35 * time.Second, false: 12 * time.Minute}[quick]; took > most {
			t.Errorf("quick %v: closed loops take %v, want at most %v", quick, took, most)
		}
	}
}

func TestGoalCellsAreWhole(t *testing.T) {
	cells, err := plan(options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range goalCells(goalTimes) {
		if !slices.ContainsFunc(cells, func(c cell) bool {
			return c.same(want) && c.rounds == 5 && c.slice == 2*time.Second && slices.Equal(c.peers, want.peers)
		}) {
			t.Errorf("the whole run has not at full length: %v %v", &want, want.peers)
		}
	}
}

func TestEveryPeerGetsEveryLoad(t *testing.T) {
	cells, err := plan(options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range peer.All() {
		for _, lane := range []string{result.Proto, result.Raw, result.RawLarge} {
			for _, callers := range []int{1, 100, 1000, 5000} {
				if lane == result.RawLarge && callers > 100 || p.Name == result.PingPong && callers > 1 {
					continue
				}
				if !slices.ContainsFunc(cells, func(c cell) bool {
					return c.lane == lane && c.handler == result.Immediate && c.callers == callers && slices.Contains(c.peers, p.Name)
				}) {
					t.Errorf("%s %s c=%d is not measured", p.Name, lane, callers)
				}
			}
		}
	}
}

func TestPlanTakesWhatIsAskedFor(t *testing.T) {
	cells, err := plan(options{lanes: "proto", callers: "100,1000", handlers: "immediate", peers: "fairlead,grpc", rounds: 7, slice: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cells {
		if c.lane != "proto" || c.handler != "immediate" || c.callers != 100 && c.callers != 1000 || c.rounds != 7 || c.slice != time.Second || c.warm != goalTimes.warm {
			t.Errorf("not asked for: %+v", c)
		}
	}
	if names := peersOf(cells); !slices.Equal(names, []string{"fairlead", "grpc"}) {
		t.Errorf("peers are %v", names)
	}
	if _, err := plan(options{lanes: "sideways"}); err == nil {
		t.Error("a plan of nothing is no error")
	}
	for _, o := range []options{{rounds: -1}, {callers: "0"}, {callers: "1,many"}} {
		if o.check() == nil {
			t.Errorf("check lets %+v pass", o)
		}
	}
}

func TestRoundOfAMeasurement(t *testing.T) {
	m := measured{seconds: 2, Answer: child.Answer{InTime: 1000, Calls: 1002, Errors: 3, P50: time.Millisecond}}
	m.share(load.Usage{CPU: 2004 * time.Microsecond, Mallocs: 5010, Bytes: 10020}, 0)
	got := m.round()
	want := result.Round{
		CallsPerSec: 500, CPUPerCall: 2 * time.Microsecond, AllocsPerCall: 5, BytesPerCall: 10, P50: time.Millisecond, Errors: 3,
	}
	if got != want {
		t.Errorf("round() = %+v, want %+v", got, want)
	}
	m.share(load.Usage{CPU: 2004 * time.Microsecond}, 1)
	if got := m.round().CPUPerCall; got != time.Microsecond {
		t.Errorf("with a warm-up as long as the slice: %v of CPU time per call, want 1µs", got)
	}
}

func TestRoundWithoutACall(t *testing.T) {
	m := measured{seconds: 2, Answer: child.Answer{Errors: 20}}
	m.share(load.Usage{CPU: time.Second}, 0)
	if got, want := m.round(), (result.Round{Errors: 20}); got != want {
		t.Errorf("round() = %+v, want %+v", got, want)
	}
}

func TestTicks(t *testing.T) {
	before := parseTicks("cpu  100 0 50 1000 10 0 5 20 0 0")
	now := parseTicks("cpu  160 0 70 1100 10 0 5 40 0 0")
	if !before.ok || before.all != 1185 || before.busy != 155 || before.steal != 20 {
		t.Errorf("parseTicks = %+v", before)
	}
	if got := now.stolen(before); got != 0.1 {
		t.Errorf("stolen = %v, want 0.1", got)
	}
	for _, line := range []string{"", "cpu0 1 2 3 4 5 6 7 8", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7 x"} {
		if parseTicks(line).ok || parseTicks(line).stolen(before) >= 0 {
			t.Errorf("%q is taken for a line of /proc/stat", line)
		}
	}
}
