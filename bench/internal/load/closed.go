// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/fairlead/fairlead/bench/internal/hist"
	"github.com/fairlead/fairlead/bench/internal/peer"
)

// giveUp is after how many errors a caller stops, so that a server which is gone
// does not make a busy loop.
const giveUp = 20

// loop is one caller of a closed loop, and what it counted.
type loop struct {
	caller  peer.Caller
	call    exchange
	latency hist.Hist
	inTime  int64
	calls   int64
	errors  int64
	failure error
}

// run calls until limit has passed since begin.
func (l *loop) run(ctx context.Context, begin time.Time, limit time.Duration) {
	started := time.Since(begin)
	for started < limit {
		err := l.call(ctx)
		ended := time.Since(begin)
		if err == nil {
			l.latency.Record(ended - started)
			l.calls++
			if ended <= limit {
				l.inTime++
			}
		} else if l.fail(err); l.errors >= giveUp {
			return
		}
		started = ended
	}
}

func (l *loop) fail(err error) {
	if l.errors++; l.failure == nil {
		l.failure = err
	}
}

// Closed runs the job's callers, each of which calls again as soon as it has
// been answered.
func Closed(ctx context.Context, j Job) (*Outcome, error) {
	loops, err := j.loops(j.Callers)
	if err != nil {
		return nil, errors.Join(err, closeLoops(loops))
	}
	runtime.GC()
	before, err := Used()
	if err != nil {
		return nil, errors.Join(err, closeLoops(loops))
	}
	runAll(ctx, loops, j.Duration)
	after, err := Used()
	out := sum(loops)
	out.Spent = after.Since(before)
	return out, errors.Join(err, closeLoops(loops))
}

// runAll starts all loops at once and waits for them.
func runAll(ctx context.Context, loops []*loop, limit time.Duration) {
	var running sync.WaitGroup
	var begin time.Time // set before the gate opens
	gate := make(chan struct{})
	for _, l := range loops {
		running.Go(func() {
			<-gate
			l.run(ctx, begin, limit)
		})
	}
	begin = time.Now()
	close(gate)
	running.Wait()
}

// loops prepares n callers; with an error it returns those that there are.
func (j *Job) loops(n int) ([]*loop, error) {
	loops := make([]*loop, 0, n)
	for i := range n {
		c, err := j.Client.Caller()
		if err != nil {
			return loops, err
		}
		loops = append(loops, &loop{caller: c, call: j.prepare(c, i)})
	}
	return loops, nil
}

func sum(loops []*loop) *Outcome {
	out := new(Outcome)
	for i, l := range loops {
		out.InTime += l.inTime
		out.Calls += l.calls
		out.Errors += l.errors
		if out.Failure == nil {
			out.Failure = l.failure
		}
		if i == 0 || l.calls < out.Least {
			out.Least = l.calls
		}
		out.Most = max(out.Most, l.calls)
		out.Latency.Merge(&l.latency)
	}
	return out
}

func closeLoops(loops []*loop) error {
	var errs []error
	for _, l := range loops {
		errs = append(errs, l.caller.Close())
	}
	return errors.Join(errs...)
}
