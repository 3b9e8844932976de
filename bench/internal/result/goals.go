// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"time"
)

// A yardstick is weak below these: then what leans on it is not counted.
const (
	// framedOverGRPC is how far the framed echo must be ahead of grpc-go, at 1000
	// callers.
	framedOverGRPC = 3.5
	// pingPongOverNetRPC is what the ping-pong echo's p50 at one caller may be of
	// net/rpc's, and must be below.
	pingPongOverNetRPC = 1.0
)

// goal is a row of the table of goals.
type goal struct {
	name      string
	goal, aim float64 // equal: there is no aim beyond the goal
	atMost    bool    // less is better
	unit      string
	leans     bool // on the yardsticks
	got       func(*Report) got
}

// got is what a run says of a goal. ok is false if it was not measured.
type got struct {
	value float64
	worst float64 // of a single round; 0 if there are no rounds
	ok    bool
	// failed is the number of Fairlead's own calls that failed.
	failed int64
}

// goals is the table. Its order is that of the output.
var goals = []goal{
	{name: "calls/s, protobuf, 100 callers, over grpc-go", goal: 4, aim: 5.5, unit: UnitTimes, got: speed(Proto, Immediate, 100, GRPC)},
	{name: "calls/s, protobuf, 1000 callers, over grpc-go", goal: 4, aim: 5.5, unit: UnitTimes, got: speed(Proto, Immediate, 1000, GRPC)},
	{name: "calls/s, protobuf, 100 callers, over net/rpc", goal: 1.8, aim: 2.5, unit: UnitTimes, got: speed(Proto, Immediate, 100, NetRPC)},
	{name: "calls/s, protobuf, 1000 callers, over net/rpc", goal: 1.8, aim: 2.5, unit: UnitTimes, got: speed(Proto, Immediate, 1000, NetRPC)},
	{name: "calls/s, protobuf, 100 callers, over a drpc pool", goal: 4.5, aim: 6, unit: UnitTimes, got: speed(Proto, Immediate, 100, DRPC)},
	{name: "calls/s, protobuf, 1000 callers, over a drpc pool", goal: 4.5, aim: 6, unit: UnitTimes, got: speed(Proto, Immediate, 1000, DRPC)},
	{name: "calls/s, protobuf, 100 callers, over the framed echo", goal: 0.85, aim: 1, unit: UnitTimes, leans: true, got: speed(Proto, Immediate, 100, Framed)},
	{name: "calls/s, protobuf, 1000 callers, over the framed echo", goal: 0.85, aim: 1, unit: UnitTimes, leans: true, got: speed(Proto, Immediate, 1000, Framed)},
	{name: "calls/s, protobuf, 5000 callers, over 1000", goal: 0.85, aim: 0.95, unit: UnitTimes, got: scaling},
	{name: "calls/s, raw 581 B, 1000 callers, over grpc-go", goal: 7, aim: 10, unit: UnitTimes, got: speed(Raw, Immediate, 1000, GRPC)},
	{name: "p50 at one caller, over the ping-pong echo", goal: 1.2, aim: 1, unit: UnitTimes, atMost: true, leans: true, got: alone},
	{name: "p99 open loop, grpc-go's over ours", goal: 2, aim: 3, unit: UnitTimes, got: openLoop},
	{name: "calls/s, handler sleeps 1 ms, 1000 callers, over net/rpc", goal: 1.8, aim: 2.3, unit: UnitTimes, got: speed(Proto, Sleep, 1000, NetRPC)},
	{name: "fairness, 100 callers: calls of the one served most over the least", goal: 1.5, aim: 1.5, unit: UnitTimes, atMost: true, got: figure(Per(Fairness, Fairlead))},
	{name: "allocations per call, both sides, raw, beside payloads and context", goal: 2, aim: 0, unit: UnitAllocs, atMost: true, got: figure(CallAllocs)},
	{name: "bytes per idle server connection, plaintext", goal: 5 << 10, aim: 3.75 * 1024, unit: UnitBytes, atMost: true, got: figure(IdlePlain)},
	{name: "bytes per idle server connection, TLS", goal: 16 << 10, aim: 10 << 10, unit: UnitBytes, atMost: true, got: figure(IdleTLS)},
	{name: "Pick, P2C over 10,000 endpoints, 2 goroutines", goal: 40, aim: 20, unit: UnitNanos, atMost: true, got: figure(PickTime)},
	{name: "Pick, allocations", goal: 0, aim: 0, unit: UnitAllocs, atMost: true, got: figure(PickAllocs)},
	{name: "applying one endpoint change at 10,000 endpoints", goal: 50, aim: 10, unit: UnitMicros, atMost: true, got: figure(ChangeTime)},
}

// speed is Fairlead's calls per second over a peer's.
func speed(lane, handler string, callers int, peer string) func(*Report) got {
	return func(r *Report) got {
		return over(r.Cell(lane, handler, Fairlead, callers), r.Cell(lane, handler, peer, callers), CallsPerSec)
	}
}

// scaling is what is left of Fairlead's calls per second when callers are many.
func scaling(r *Report) got {
	return over(r.Cell(Proto, Immediate, Fairlead, 5000), r.Cell(Proto, Immediate, Fairlead, 1000), CallsPerSec)
}

func over(ours, theirs *Cell, field Field) got {
	ratio, ok := Compare(ours, theirs, field)
	g := got{value: ratio.OfMedians, worst: ratio.Lowest, ok: ok}
	if ours != nil {
		g.failed = ours.Failed()
	}
	return g
}

// alone is Fairlead's latency at one caller over that of the bare echo.
func alone(r *Report) got {
	ours := r.Cell(Proto, Immediate, Fairlead, 1)
	ratio, ok := Compare(ours, r.Cell(Proto, Immediate, PingPong, 1), P50)
	g := got{value: ratio.OfMedians, worst: ratio.Highest, ok: ok}
	if ours != nil {
		g.failed = ours.Failed()
	}
	return g
}

// openLoop is grpc-go's p99 at a fixed rate over Fairlead's.
func openLoop(r *Report) got {
	ours := r.Cell(Open, Immediate, Fairlead, 0)
	g := over(r.Cell(Open, Immediate, GRPC, 0), ours, P99)
	g.failed = 0
	if ours != nil {
		g.failed = ours.Failed()
	}
	return g
}

// figure is a Value as it is; 0 is a measurement here, absence is not.
func figure(name string) func(*Report) got {
	return func(r *Report) got {
		v, ok := r.Value(name)
		g := got{value: v.Value, ok: ok}
		for _, round := range v.Rounds {
			g.worst = max(g.worst, round)
		}
		return g
	}
}

// weakYardstick says why rows that lean on a yardstick are not counted; empty if
// they are.
func (r *Report) weakYardstick() string {
	framed, ok := Compare(r.Cell(Proto, Immediate, Framed, 1000), r.Cell(Proto, Immediate, GRPC, 1000), CallsPerSec)
	if !ok {
		return "the framed echo or grpc-go was not measured at 1000 callers"
	}
	if framed.OfMedians < framedOverGRPC {
		return fmt.Sprintf("weak yardstick: the framed echo is %.2fx grpc-go at 1000 callers, not %.1fx", framed.OfMedians, framedOverGRPC)
	}
	bare, theirs := r.Cell(Proto, Immediate, PingPong, 1), r.Cell(Proto, Immediate, NetRPC, 1)
	ratio, ok := Compare(bare, theirs, P50)
	if !ok {
		return "the ping-pong echo or net/rpc was not measured at one caller"
	}
	if ratio.OfMedians >= pingPongOverNetRPC {
		return fmt.Sprintf("weak yardstick: at one caller the ping-pong echo takes %s, net/rpc %s",
			time.Duration(bare.MedianOf(P50)), time.Duration(theirs.MedianOf(P50)))
	}
	return ""
}
