// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"
)

// caller is this process's end of the one that makes the calls: it sends orders
// and hands the calls that ended to the tally. Its methods are for the goroutine
// of the steps, and the table's; Write is for the pipe.
type caller struct {
	process  *process
	tally    *tally
	patience time.Duration
	slow     int // slow calls ordered so far, for their ids
	probes   int

	mu   sync.Mutex // guards what follows
	rest []byte     // the beginning of a line whose end is still to come
	last pulse
	// heard is when the last pulse came, late the greatest lateness since it was
	// reset.
	heard  time.Time
	late   time.Duration
	probed map[string]chan error // waits for probes under way, by id
}

func newCaller(t *tally, patience time.Duration) *caller {
	return &caller{tally: t, patience: patience, last: pulse{Digest: "-"}, probed: map[string]chan error{}}
}

// Write takes what the process says. What is not understood breaks the pipe, and
// so ends the process, which the steps then report.
func (c *caller) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rest = append(c.rest, p...)
	for {
		line, after, complete := bytes.Cut(c.rest, []byte("\n"))
		if !complete {
			return len(p), nil
		}
		var n news
		if err := json.Unmarshal(line, &n); err != nil {
			return 0, fmt.Errorf("the caller said %q: %w", line, err)
		}
		c.take(&n)
		c.rest = after
	}
}

// take takes one line. mu is held.
func (c *caller) take(n *news) {
	switch {
	case n.Call != nil:
		c.tally.record(n.Call.call())
	case n.Probe != nil:
		if probed := c.probed[n.Probe.ID]; probed != nil {
			probed <- n.Probe.Error.err()
			delete(c.probed, n.Probe.ID)
		}
	case n.Pulse != nil:
		c.last, c.heard = *n.Pulse, time.Now()
		c.late = max(c.late, time.Duration(n.Pulse.Late))
	}
}

func (c *caller) order(o *order) error {
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if _, err := c.process.stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("the caller cannot be told what to do: %w", err)
	}
	return nil
}

// slowly has n slow calls made, which are not idempotent, and returns their ids.
func (c *caller) slowly(n int) ([]string, error) {
	ids := make([]string, n)
	for i := range ids {
		c.slow++
		ids[i] = "slow-" + strconv.Itoa(c.slow)
	}
	return ids, c.order(&order{Slow: ids})
}

// probe has a handler called that sleeps, to see under which timeout calls are
// made. Probes are not part of the load.
func (c *caller) probe(ctx context.Context) error {
	c.probes++
	id, ended := "probe-"+strconv.Itoa(c.probes), make(chan error, 1)
	c.mu.Lock()
	c.probed[id] = ended
	c.mu.Unlock()
	if err := c.order(&order{Probe: id}); err != nil {
		return err
	}
	timer := time.NewTimer(c.patience)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-c.process.done:
		return fmt.Errorf("the caller (pid %d) ended", c.process.pid())
	case <-timer.C:
		return fmt.Errorf("the caller has not said within %s how %s ended", c.patience, id)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pulse is what the caller last said of itself.
func (c *caller) pulse() pulse {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// digest is the state of the service by which calls are made, as people see it.
func (c *caller) digest() string { return c.pulse().Digest }

// allReady reports whether the caller knows three servers that are ready.
func (c *caller) allReady() bool { return c.pulse().Ready == len(serverNames()) }

// resetLateness forgets how late calls have been.
func (c *caller) resetLateness() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = 0
}

// lateness is how far the load has been behind its clock since resetLateness, or
// is: a caller that stands still says nothing.
func (c *caller) lateness(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.late, now.Sub(c.heard))
}
