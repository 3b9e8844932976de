// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package openloop

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/fairlead/fairlead/bench/internal/hist"
)

// DefaultOutstanding is about as many calls as a service lets wait before it
// refuses: at 16,000 calls/s those of a quarter of a second.
const DefaultOutstanding = 4096

// Config says what load to make.
type Config struct {
	Rate     float64       // calls per second, above 0
	WarmUp   time.Duration // before the counted time, at the same rate; may be 0
	Duration time.Duration // the counted time, above 0
	// Outstanding is the most calls under way; 0 means DefaultOutstanding.
	Outstanding int
	Seed        uint64 // of the moments at which calls are due
}

// Result is what came of the calls that were due in the counted time.
type Result struct {
	Due      int64
	Failed   int64 // that returned an error
	Overflow int64 // that were not made for want of room
	// Latency is that of the calls that succeeded, since they were due.
	Latency hist.Hist
	// Late is how long after they were due calls were begun: the generator's share
	// of Latency.
	Late hist.Hist
	Took time.Duration // until the last call had ended
}

// Errors is the number of calls that did not succeed.
func (r *Result) Errors() int64 { return r.Failed + r.Overflow }

// Rate is the number of calls per second that succeeded.
func (r *Result) Rate(counted time.Duration) float64 {
	if counted <= 0 {
		return 0
	}
	return float64(r.Due-r.Errors()) / counted.Seconds()
}

// Run makes the load. It returns early when ctx ends, with an error.
func Run(ctx context.Context, cfg Config, call func(context.Context) error) (*Result, error) {
	if !(cfg.Rate > 0) || cfg.Rate > 1e6 || cfg.Duration <= 0 || cfg.WarmUp < 0 || cfg.Outstanding < 0 {
		return nil, fmt.Errorf("open loop at %g calls/s for %s after %s, %d outstanding: want a rate up to a million, and no negative figures",
			cfg.Rate, cfg.Duration, cfg.WarmUp, cfg.Outstanding)
	}
	if cfg.Outstanding == 0 {
		cfg.Outstanding = DefaultOutstanding
	}
	p, err := newPacer()
	if err != nil {
		return nil, fmt.Errorf("open loop: %w", err)
	}
	defer p.close()
	r := run{call: call, room: make(chan struct{}, cfg.Outstanding), result: new(Result)}
	begin := time.Now()
	err = r.generate(ctx, cfg, begin, p)
	r.underWay.Wait()
	r.result.Took = time.Since(begin)
	return r.result, err
}

// run is one Run.
type run struct {
	call     func(context.Context) error
	room     chan struct{} // one for each call under way
	underWay sync.WaitGroup

	mu     sync.Mutex // guards result
	result *Result
}

func (r *run) generate(ctx context.Context, cfg Config, begin time.Time, p *pacer) error {
	counted := begin.Add(cfg.WarmUp)
	for due := range schedule(begin, cfg) {
		if err := p.until(due); err != nil {
			return fmt.Errorf("open loop: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r.start(ctx, due, !due.Before(counted))
	}
	return nil
}

// schedule gives the moments at which calls are due, in order.
func schedule(begin time.Time, cfg Config) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		rng := rand.New(rand.NewPCG(cfg.Seed, 0))
		interval := float64(time.Second) / cfg.Rate
		all := cfg.WarmUp + cfg.Duration
		for i := 0; ; i++ {
			since := time.Duration((float64(i) + rng.Float64()) * interval)
			if since >= all || !yield(begin.Add(since)) {
				return
			}
		}
	}
}

// start makes a call, if there is room for it.
func (r *run) start(ctx context.Context, due time.Time, counts bool) {
	select {
	case r.room <- struct{}{}:
	default:
		if counts {
			r.mu.Lock()
			r.result.Due++
			r.result.Overflow++
			r.mu.Unlock()
		}
		return
	}
	r.underWay.Go(func() {
		late := time.Since(due)
		err := r.call(ctx)
		took := time.Since(due)
		<-r.room
		if counts {
			r.record(late, took, err)
		}
	})
}

func (r *run) record(late, took time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Due++
	r.result.Late.Record(late)
	if err != nil {
		r.result.Failed++
		return
	}
	r.result.Latency.Record(took)
}
