// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// once is a policy under which no call is made twice and none is hurried.
func once(timeout time.Duration) rpcruntime.ClientOption {
	attempts := int32(1)
	return rpcruntime.FixedPolicy(policy.CallFields{Timeout: &timeout, Attempts: &attempts})
}

func measureCancel(ctx context.Context, out *report) (err error) {
	server, address, _, err := startServer(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.end()) }()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rt.Close(ctx)) }()
	c := rt.NewClient("bench", rpcruntime.Endpoints(address), once(20*time.Second))
	const calls, warm = 2000, 100
	if _, err := cancelMany(ctx, c, 0, warm); err != nil {
		return err
	}
	quiet, err := cancelMany(ctx, c, warm, calls)
	if err != nil {
		return err
	}
	out.add("cancel_p50_ms", millis(percentile(quiet, 0.50)), goalNone)
	out.add("cancel_p99_ms", millis(percentile(quiet, 0.99)), "5")

	busy, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	load.Go(func() {
		openLoop(busy, 1000, func(time.Time) { _, _ = rpcruntime.Call[[]byte](busy, c, "Bench.Echo", []byte("x")) })
	})
	all, err := cancelMany(ctx, c, warm+calls, calls)
	stop()
	load.Wait()
	if err != nil {
		return err
	}
	out.add("cancel_busy_p99_ms", millis(percentile(all, 0.99)), goalNone)
	return nil
}

// cancelMany cancels calls one after the other, numbered from first on.
func cancelMany(ctx context.Context, c *rpcruntime.Client, first uint64, calls int) ([]time.Duration, error) {
	all := make([]time.Duration, 0, calls)
	for i := range calls {
		id := binary.BigEndian.AppendUint64(nil, first+uint64(i))
		d, err := cancelOne(ctx, c, id)
		if err != nil {
			return nil, fmt.Errorf("call %d: %w", i, err)
		}
		all = append(all, d)
	}
	return all, nil
}

func cancelOne(ctx context.Context, c *rpcruntime.Client, id []byte) (time.Duration, error) {
	held, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := rpcruntime.Call[[]byte](held, c, "Bench.Hold", id)
		failed <- err
	}()
	if _, err := rpcruntime.Call[[]byte](ctx, c, "Bench.Began", id); err != nil {
		return 0, err
	}
	at := time.Now().UnixNano()
	cancel()
	ended, err := rpcruntime.Call[[]byte](ctx, c, "Bench.Ended", id)
	if err != nil {
		return 0, fmt.Errorf("the handler's context did not end: %w", err)
	}
	if err := <-failed; status.CodeOf(err) != status.Canceled {
		return 0, fmt.Errorf("the cancelled call ended with %w", err)
	}
	return time.Duration(int64(binary.BigEndian.Uint64(*ended)) - at), nil
}

// maxOpen bounds the calls of an open loop that are under way; more than that is
// a server that does not answer.
const maxOpen = 20_000

// openLoop calls f so many times a second, each time in a goroutine of its own
// and with the time at which the schedule has it, until ctx ends; then it waits
// for them.
func openLoop(ctx context.Context, perSecond int, f func(due time.Time)) {
	began := time.Now()
	every := time.Second / time.Duration(perSecond)
	var all sync.WaitGroup
	var open atomic.Int64
	for n := 0; ; n++ {
		due := began.Add(time.Duration(n) * every)
		if !wait(ctx, due) || open.Load() >= maxOpen {
			break
		}
		open.Add(1)
		all.Go(func() {
			defer open.Add(-1)
			f(due)
		})
	}
	all.Wait()
}
