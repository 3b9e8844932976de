// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/internal/rpcxpeer"
)

const (
	drainCallers   = 10
	drainPerCaller = 200 // calls a second
	drainRounds    = 3
	// drainGoal is the grace of a drain with the default timeout, in ms.
	drainGoal = "23000"
	// drainTimeout bounds each call.
	drainTimeout = 10 * time.Second
)

// caller makes calls of Bench.Work over two servers.
type caller struct {
	call  func(ctx context.Context) error
	close func(ctx context.Context) error
}

func measureDrain(ctx context.Context, out *report) error {
	ours, err := drainRuns(ctx, time.Second, func(addresses []string) (caller, error) {
		rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
		if err != nil {
			return caller{}, err
		}
		c := rt.NewClient("bench", rpcruntime.Endpoints(addresses...))
		return caller{close: rt.Close, call: func(ctx context.Context) error {
			_, err := rpcruntime.Call[[]byte](ctx, c, "Bench.Work", []byte("x"))
			return err
		}}, nil
	})
	if err != nil {
		return err
	}
	out.add("drain_ms", millis(ours.longest), drainGoal)
	out.add("drain_failed", float64(ours.failed), "0")
	out.add("drain_twice", float64(max(0, ours.runs-ours.calls)), "0")
	out.add("drain_calls", float64(ours.calls), goalNone)
	old, err := drainRuns(ctx, 0, func(addresses []string) (caller, error) {
		x := rpcxpeer.NewXClient("Bench", addresses, rpcxpeer.XConfig{Select: rpcxpeer.RoundRobinSelect})
		return caller{
			close: func(context.Context) error { x.Close(); return nil },
			call: func(ctx context.Context) error {
				_, err := x.Call(ctx, "Work", []byte("x"))
				return err
			},
		}, nil
	})
	if err != nil {
		return err
	}
	out.add("drain_rpcx_ms", millis(old.longest), drainGoal)
	out.add("drain_rpcx_failed", float64(old.failed), "0")
	out.add("drain_rpcx_calls", float64(old.calls), goalNone)
	return nil
}

// drained sums up the rounds of a lane.
type drained struct {
	longest             time.Duration
	calls, failed, runs int64
}

func drainRuns(ctx context.Context, after time.Duration, newCaller func([]string) (caller, error)) (sum drained, err error) {
	for range drainRounds {
		d, err := drainOnce(ctx, after, newCaller)
		if err != nil {
			return drained{}, err
		}
		sum.longest = max(sum.longest, d.longest)
		sum.calls, sum.failed, sum.runs = sum.calls+d.calls, sum.failed+d.failed, sum.runs+d.runs
	}
	return sum, nil
}

// drainOnce drains one of two servers under load, which goes on for a while after.
func drainOnce(ctx context.Context, after time.Duration, newCaller func([]string) (caller, error)) (d drained, err error) {
	first, a, _, err := startServer(ctx)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, first.end()) }()
	second, b, _, err := startServer(ctx)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, second.end()) }()

	var made, failed atomic.Int64
	var firstFailure sync.Once
	loaded, stop := context.WithCancel(ctx)
	defer stop()
	var load sync.WaitGroup
	for range drainCallers {
		c, err := newCaller([]string{a, b})
		if err != nil {
			return d, err
		}
		defer func() { err = errors.Join(err, c.close(ctx)) }()
		load.Go(func() {
			openLoop(loaded, drainPerCaller, func(time.Time) {
				made.Add(1)
				one, cancel := context.WithTimeout(ctx, drainTimeout)
				defer cancel()
				if err := c.call(one); err != nil {
					failed.Add(1)
					firstFailure.Do(func() { fmt.Fprintln(os.Stderr, "wirebench: a call failed in a drain:", err) })
				}
			})
		})
	}
	wait(ctx, time.Now().Add(time.Second))
	ended, drainErr := first.numbers("drain", "drained")
	wait(ctx, time.Now().Add(after))
	stop()
	load.Wait()
	if drainErr != nil {
		return d, drainErr
	}
	left, err := second.numbers("runs", "runs")
	if err != nil {
		return d, err
	}
	if len(ended) != 2 || len(left) != 1 {
		return d, fmt.Errorf("the servers said %v and %v", ended, left)
	}
	return drained{longest: time.Duration(ended[0]), calls: made.Load(), failed: failed.Load(), runs: ended[1] + left[0]}, nil
}
