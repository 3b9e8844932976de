// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// outcome is how a call of the load ended.
type outcome uint8

const (
	answered outcome = iota
	failed
	refused // by a limit: it has not run
	unknown // it was under way when its server was killed, and must not be repeated
)

// killNotice is how long after a kill a caller may still send to the dead: until
// its kernel has said so.
const killNotice = 2 * time.Second

// endedCall is a call of the load that is over.
type endedCall struct {
	id           string
	method       string
	began, ended time.Time
	server       string // who answered, with its pid
	pid          int
	err          error
}

// judge says how a call ended. killed is when a server was last killed, zero if
// never. Only calls that are not idempotent may end unknown, and only around a
// kill: everything else is a failure.
func judge(c *endedCall, killed time.Time) outcome {
	var e *status.Error
	switch {
	case c.err == nil:
		return answered
	case !errors.As(c.err, &e):
		return failed
	case e.Code() == status.ResourceExhausted && e.Reason() == "limit" && e.Fate() == status.FateUnexecuted:
		return refused
	case c.method != arith.Mul && e.Code() == status.Unavailable && e.Fate() == status.FateUnknown && during(c, killed):
		return unknown
	default:
		return failed
	}
}

// during reports whether c was under way when the server was killed.
func during(c *endedCall, killed time.Time) bool {
	return !killed.IsZero() && !c.ended.Before(killed) && c.began.Before(killed.Add(killNotice))
}

// counts of calls. Invariant: calls = answered + failed + refused + unknown.
type counts struct {
	calls, failed, refused, unknown int
	// mul counts the idempotent calls among calls.
	mul int
}

func (c *counts) add(method string, o outcome) {
	c.calls++
	if method == arith.Mul {
		c.mul++
	}
	switch o {
	case answered:
	case failed:
		c.failed++
	case refused:
		c.refused++
	case unknown:
		c.unknown++
	}
}

// window is what happened since the last row of the table.
type window struct {
	counts
	took    []time.Duration
	answers map[string]int // by server
}

// tally counts the calls of the load. Safe for concurrent use.
type tally struct {
	mu    sync.Mutex
	total counts
	// took holds every call's time: a demo has some ten thousand.
	took   []time.Duration
	row    window
	byPID  map[int]int
	killed time.Time
	// outcomes of the calls that are not idempotent, by id.
	outcomes map[string]outcome
	// limited is set while a limit stands, or may still stand.
	limited     bool
	lastRefused time.Time
	strays      int // refusals while no limit stood
	failures    []string
}

// keepFailures is how many failures are told in words.
const keepFailures = 5

func newTally() *tally {
	return &tally{byPID: map[int]int{}, outcomes: map[string]outcome{}, row: window{answers: map[string]int{}}}
}

// record counts a call that ended.
func (t *tally) record(c *endedCall) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := judge(c, t.killed)
	took := c.ended.Sub(c.began)
	t.total.add(c.method, o)
	t.row.add(c.method, o)
	t.took = append(t.took, took)
	t.row.took = append(t.row.took, took)
	if c.method != arith.Mul {
		t.outcomes[c.id] = o
	}
	switch o {
	case answered:
		t.row.answers[c.server]++
		t.byPID[c.pid]++
	case refused:
		t.lastRefused = c.ended
		if !t.limited {
			t.strays++
		}
	case failed:
		if len(t.failures) < keepFailures {
			t.failures = append(t.failures, fmt.Sprintf("call %s of %s: %v", c.id, c.method, c.err))
		}
	case unknown:
	}
}

// takeRow returns what happened since it was last called.
func (t *tally) takeRow() window {
	t.mu.Lock()
	defer t.mu.Unlock()
	row := t.row
	t.row = window{answers: map[string]int{}}
	return row
}

// now returns the counts so far.
func (t *tally) now() counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// answersOf returns how many calls the process has answered.
func (t *tally) answersOf(pid int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byPID[pid]
}

// kill notes that a server is about to be killed.
func (t *tally) kill(at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.killed = at
}

// limit opens or closes the window in which refusals are meant to be.
func (t *tally) limit(open bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.limited = open
}

// quietSince returns when the last call was refused.
func (t *tally) quietSince() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastRefused
}

// outcomeOf returns how a call that is not idempotent ended.
func (t *tally) outcomeOf(id string) (outcome, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, ok := t.outcomes[id]
	return o, ok
}

// allEnded reports whether these calls, which are not idempotent, have ended.
func (t *tally) allEnded(ids []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !slices.ContainsFunc(ids, func(id string) bool {
		_, ok := t.outcomes[id]
		return !ok
	})
}

// quantile returns the time that the share q of all calls did not exceed; 0 of
// none. It sorts took.
func quantile(took []time.Duration, q float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(int(q*float64(len(took))), len(took)-1)]
}
