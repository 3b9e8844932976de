// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/bench/internal/order"
	"github.com/fairlead/fairlead/bench/internal/result"
)

// cell is a load, and who gets it.
type cell struct {
	lane, handler string
	callers       int
	peers         []string
	rounds        int
	slice, warm   time.Duration
}

func (c *cell) String() string { return fmt.Sprintf("%s %s c=%d", c.lane, c.handler, c.callers) }

// payload is the length of what a lane sends; 0 for an order.
func payload(lane string) (int, error) {
	switch lane {
	case result.Proto, result.Open:
		return 0, nil
	case result.Raw:
		return order.Bytes, nil
	case result.RawLarge:
		return 64 << 10, nil
	}
	return 0, fmt.Errorf("no lane is called %q: want proto, raw581 or raw64k", lane)
}

// How long cells are measured: those that a goal names, the others, and all in a
// quick run.
var (
	goalTimes  = cell{rounds: 5, slice: 2 * time.Second, warm: 300 * time.Millisecond}       // constant
	otherTimes = cell{rounds: 3, slice: time.Second, warm: 200 * time.Millisecond}           // constant
	quickTimes = cell{rounds: 3, slice: 300 * time.Millisecond, warm: 80 * time.Millisecond} // constant
)

// with makes a cell that is measured as long as the receiver.
func (c cell) with(lane, handler string, callers int, peers ...string) cell {
	c.lane, c.handler, c.callers, c.peers = lane, handler, callers, peers
	return c
}

// goalCells are what the goals compare.
func goalCells(times cell) []cell {
	const immediate = result.Immediate
	return []cell{
		times.with(result.Proto, immediate, 1, result.Fairlead, result.PingPong, result.NetRPC),
		times.with(result.Proto, immediate, 100, result.Fairlead, result.Framed, result.GRPC, result.NetRPC, result.DRPC),
		times.with(result.Proto, immediate, 1000, result.Fairlead, result.Framed, result.GRPC, result.NetRPC, result.DRPC),
		times.with(result.Proto, immediate, 5000, result.Fairlead),
		times.with(result.Raw, immediate, 1000, result.Fairlead, result.Framed, result.GRPC),
		times.with(result.Proto, result.Sleep, 1000, result.Fairlead, result.NetRPC),
	}
}

// allCells are the loads of a whole run: those of the goals at full length, and
// all others that a reader may ask for.
func allCells() []cell {
	cells := goalCells(goalTimes)
	multiplexed := []string{result.Fairlead, result.Framed, result.GRPC, result.NetRPC, result.DRPC, result.Connect, result.TTRPC}
	everybody := append(slices.Clone(multiplexed), result.PingPong)
	var wanted []cell
	for _, lane := range []string{result.Proto, result.Raw, result.RawLarge} {
		wanted = append(wanted, otherTimes.with(lane, result.Immediate, 1, everybody...))
		for _, callers := range []int{100, 1000, 5000} {
			if lane == result.RawLarge && callers > 100 {
				continue // hundreds of MiB under way measure memory, not calls
			}
			wanted = append(wanted, otherTimes.with(lane, result.Immediate, callers, multiplexed...))
		}
	}
	for _, handler := range []string{result.Yield, result.Sleep} {
		wanted = append(wanted, otherTimes.with(result.Proto, handler, 1000, multiplexed...))
	}
	return join(cells, wanted)
}

// join adds those peers of more that cells has not. They become cells of their
// own, as they are measured for another time.
func join(cells, more []cell) []cell {
	for _, m := range more {
		m.peers = slices.DeleteFunc(slices.Clone(m.peers), func(p string) bool {
			return slices.ContainsFunc(cells, func(c cell) bool { return c.same(m) && slices.Contains(c.peers, p) })
		})
		if len(m.peers) > 0 {
			cells = append(cells, m)
		}
	}
	return cells
}

func (c *cell) same(other cell) bool {
	return c.lane == other.lane && c.handler == other.handler && c.callers == other.callers
}

// plan is what a run measures in closed loops.
func plan(o options) ([]cell, error) {
	cells := allCells()
	if o.quick {
		cells = goalCells(quickTimes)
	}
	var taken []cell
	for _, c := range cells {
		if !pick(o.lanes, c.lane) || !pick(o.handlers, c.handler) || !pick(o.callers, strconv.Itoa(c.callers)) {
			continue
		}
		c.peers = slices.DeleteFunc(c.peers, func(p string) bool { return !pick(o.peers, p) })
		if len(c.peers) == 0 {
			continue
		}
		c.rounds, c.slice, c.warm = either(o.rounds, c.rounds), either(o.slice, c.slice), either(o.warm, c.warm)
		taken = append(taken, c)
	}
	if len(taken) == 0 {
		return nil, fmt.Errorf("nothing is left to measure: -lanes %q -handlers %q -callers %q -peers %q", o.lanes, o.handlers, o.callers, o.peers)
	}
	return taken, nil
}

func either[T int | time.Duration](changed, planned T) T {
	if changed > 0 {
		return changed
	}
	return planned
}
