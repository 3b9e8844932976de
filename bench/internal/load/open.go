// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/fairlead/fairlead/bench/internal/openloop"
)

// ready has the callers that are not calling.
type ready struct {
	job *Job

	mu    sync.Mutex
	idle  []*loop
	all   []*loop
	fault error // the first that befell a call
}

// call makes one call with a caller that is free, or a new one.
func (r *ready) call(ctx context.Context) error {
	l, err := r.take()
	if err == nil {
		err = l.call(ctx)
		r.mu.Lock()
		r.idle = append(r.idle, l)
		r.mu.Unlock()
	}
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fault == nil {
			r.fault = err
		}
	}
	return err
}

func (r *ready) take() (*loop, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.idle); n > 0 {
		l := r.idle[n-1]
		r.idle = r.idle[:n-1]
		return l, nil
	}
	c, err := r.job.Client.Caller()
	if err != nil {
		return nil, err
	}
	l := &loop{caller: c, call: r.job.prepare(c, len(r.all))}
	r.all = append(r.all, l)
	return l, nil
}

// Late is how late the generator of an open loop was by itself.
type Late struct{ P50, P99 time.Duration }

// Open makes calls at that rate, after a warm-up at the same rate.
func Open(ctx context.Context, j Job, rate float64, warmUp time.Duration, seed uint64) (*Outcome, Late, error) {
	r := ready{job: &j}
	runtime.GC()
	before, err := Used()
	if err != nil {
		return nil, Late{}, err
	}
	res, err := openloop.Run(ctx, openloop.Config{Rate: rate, WarmUp: warmUp, Duration: j.Duration, Seed: seed}, r.call)
	if err != nil {
		return nil, Late{}, errors.Join(err, closeLoops(r.all))
	}
	after, err := Used()
	calls := int64(res.Latency.Count())
	out := &Outcome{
		InTime: calls, Calls: calls, Errors: res.Errors(), Failure: r.fault, Latency: res.Latency, Spent: after.Since(before),
	}
	late := Late{P50: res.Late.Quantile(0.5), P99: res.Late.Quantile(0.99)}
	return out, late, errors.Join(err, closeLoops(r.all))
}
