// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"slices"
	"time"
)

// Lanes: what a call carries.
const (
	Proto    = "proto"  // a Protobuf message of 581 bytes
	Raw      = "raw581" // 581 bytes as they are
	RawLarge = "raw64k" // 64 KiB as they are
	// Open is Proto at a fixed rate: an open loop. Its cells have 0 callers, and
	// their latencies count from when a call was due.
	Open = "open"
)

// Handlers: what the server does before it answers.
const (
	Immediate = "immediate" // returns at once
	Yield     = "yield"     // runtime.Gosched, once
	Sleep     = "sleep"     // sleeps 1 ms
	Block     = "block"     // some calls block for a second
)

// Peers, and the two yardsticks.
const (
	Fairlead = "fairlead"
	GRPC     = "grpc"
	NetRPC   = "netrpc"
	DRPC     = "drpc"
	Connect  = "connect"
	TTRPC    = "ttrpc"
	PingPong = "pingpong" // yardstick: one call at a time, nothing handed over
	Framed   = "framed"   // yardstick: framed echo with combined writes
)

// Names of Values, each with its unit.
const (
	// OpenLate is how late the generator of the open loop began calls, p99.
	OpenLate   = "open loop, generator's lateness p99"
	IdlePlain  = "idle connection"      // B
	IdleTLS    = "idle connection, TLS" // B
	PickTime   = "pick"                 // ns
	PickAllocs = "pick, allocations"    // allocs
	ChangeTime = "endpoint change"      // us
	// Fairness is the calls of the caller that was served most over those of the one
	// that was served least; Per.
	Fairness   = "fairness, most over least"     // x
	CallAllocs = "raw call, allocations counted" // allocs
)

// Units of Values.
const (
	UnitNanos  = "ns"
	UnitMicros = "us"
	UnitBytes  = "B"
	UnitAllocs = "allocs"
	UnitTimes  = "x" // a ratio
)

// Per is the name of a value that a peer has: Per(OpenLate, GRPC).
func Per(name, peer string) string { return name + ", " + peer }

// Round is one round of a closed loop. A zero means not measured, but for Errors.
type Round struct {
	CallsPerSec   float64       // of calls that succeeded
	CPUPerCall    time.Duration // user and system time, of both processes
	AllocsPerCall float64       // of both processes
	BytesPerCall  float64       // allocated, of both processes
	P50           time.Duration
	P99           time.Duration
	P999          time.Duration
	Errors        int64 // calls that failed
}

// Cell is what a peer did with one kind of load.
type Cell struct {
	Lane    string
	Handler string
	Peer    string
	Callers int
	// Rounds are in the order of the run: the rounds i of cells that are compared
	// ran close to each other.
	Rounds []Round
}

// Value is a figure outside the closed loops.
type Value struct {
	Name   string
	Value  float64 // the median of Rounds if there are any
	Unit   string
	Rounds []float64 `json:",omitempty"`
}

// NewValue is a Value with the median of the rounds.
func NewValue(name, unit string, rounds ...float64) Value {
	return Value{Name: name, Value: Median(rounds), Unit: unit, Rounds: rounds}
}

// Version is a peer and what was run of it.
type Version struct {
	Name    string
	Version string
	Note    string `json:",omitempty"` // how it was set up
}

// Report is one run.
type Report struct {
	Started  time.Time
	Took     time.Duration
	Host     Host
	Versions []Version
	Seed     uint64 // of the order of cells
	Quick    bool   // a quick run proves nothing
	Cells    []Cell
	Values   []Value
	Goals    []Outcome // by Finish
	Notes    []string  `json:",omitempty"`
}

// Host is what the run ran on.
type Host struct {
	CPU        string // model
	CPUs       int
	MemoryMiB  int64
	OS         string
	Kernel     string
	Go         string
	GOMAXPROCS int     // of each process
	StealShare float64 // of all CPU time, during the run; negative: not known
}

// Median is the middle of the values, or 0 for none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(values))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// Cell finds a cell, or nil.
func (r *Report) Cell(lane, handler, peer string, callers int) *Cell {
	for i := range r.Cells {
		c := &r.Cells[i]
		if c.Lane == lane && c.Handler == handler && c.Peer == peer && c.Callers == callers {
			return c
		}
	}
	return nil
}

// Value finds a value by name.
func (r *Report) Value(name string) (Value, bool) {
	for _, v := range r.Values {
		if v.Name == name {
			return v, true
		}
	}
	return Value{}, false
}
