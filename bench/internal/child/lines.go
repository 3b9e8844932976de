// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/fairlead/fairlead/bench/internal/load"
)

// Op is what a child is asked to do.
type Op string

// Ops. A server knows Settle and Look alone.
const (
	Settle  Op = "settle" // collect garbage, so that a former load's is not the next one's, then Look
	Look    Op = "look"   // say what was used
	Closed  Op = "closed" // a closed loop
	Open    Op = "open"   // an open loop
	Blocked Op = "block"  // a closed loop beside handlers that block
)

// Ask is one line to a child.
type Ask struct {
	Op       Op
	Bytes    int           `json:",omitempty"` // of payloads; 0 for orders
	Handler  string        `json:",omitempty"`
	Callers  int           `json:",omitempty"`
	Conns    int           `json:",omitempty"`
	Duration time.Duration `json:",omitempty"`
	WarmUp   time.Duration `json:",omitempty"` // of an open loop
	Rate     float64       `json:",omitempty"` // of an open loop, calls per second
	Seed     uint64        `json:",omitempty"` // of an open loop
	Blockers int           `json:",omitempty"`
}

// Answer is one line from a child.
type Answer struct {
	Address string `json:",omitempty"` // of a server, in its first line
	Problem string `json:",omitempty"` // why the ask was not done

	Used                 load.Usage // for Look
	Spent                load.Usage
	InTime, Calls        int64
	Errors               int64
	Failure              string `json:",omitempty"` // the first error
	Least, Most          int64
	P50, P99, P999, Max  time.Duration
	LateMedian, LateTail time.Duration // of an open loop's generator: p50, p99
}

// answerOf puts an outcome into a line.
func answerOf(o *load.Outcome) Answer {
	a := Answer{
		Spent: o.Spent, InTime: o.InTime, Calls: o.Calls, Errors: o.Errors, Least: o.Least, Most: o.Most,
		P50: o.Latency.Quantile(0.5), P99: o.Latency.Quantile(0.99), P999: o.Latency.Quantile(0.999), Max: o.Latency.Max(),
	}
	if o.Failure != nil {
		a.Failure = o.Failure.Error()
	}
	return a
}

// answerAll answers each line from in, until it ends.
func answerAll(in io.Reader, out io.Writer, do func(Ask) (Answer, error)) error {
	lines := bufio.NewScanner(in)
	to := json.NewEncoder(out)
	for lines.Scan() {
		var ask Ask
		if err := json.Unmarshal(lines.Bytes(), &ask); err != nil {
			return fmt.Errorf("told %q: %w", lines.Text(), err)
		}
		answer, err := do(ask)
		if err != nil {
			answer.Problem = err.Error()
		}
		if err := to.Encode(answer); err != nil {
			return err
		}
	}
	return lines.Err()
}
