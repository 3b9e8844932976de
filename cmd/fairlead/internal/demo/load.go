// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime"
)

const (
	// metaID carries a call's id to the server, metaServer who answered back.
	metaID     = "demo-id"
	metaServer = "demo-server"
	// pace is how often the load looks which calls are due.
	pace = time.Millisecond
	// maxLag is how far the load may fall behind the clock before it gives calls
	// up: a machine that slept must not make a million calls at once.
	maxLag = 5 * time.Second
)

// load makes calls at a steady rate: a call is made when it is due, whatever has
// become of those before. Its methods are safe for concurrent use.
type load struct {
	client *rpcruntime.Client
	// record takes each call of the load that has ended.
	record func(*endedCall)
	rate   int

	calls  sync.WaitGroup // under way
	missed atomic.Int64   // calls given up because the machine was too late
	late   atomic.Int64   // nanoseconds that the latest call was late, since the last pulse
}

// run makes calls until ctx ends, and waits for those under way.
func (l *load) run(ctx context.Context) {
	defer l.calls.Wait()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	begin := time.Now()
	for next := 0; ; {
		first, end := due(next, l.rate, time.Since(begin))
		l.missed.Add(int64(first - next))
		for n := range end - first {
			l.calls.Go(func() {
				l.note(time.Since(begin) - dueAt(first+n, l.rate))
				l.nth(ctx, first+n)
			})
		}
		next = end
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// due says which calls are to be made now, from first up to end, if those before
// next have been made. It passes over what is too late by more than maxLag.
func due(next, rate int, elapsed time.Duration) (first, end int) {
	made := func(d time.Duration) int { return int(d.Seconds() * float64(rate)) }
	end = max(made(elapsed), next)
	return min(max(next, made(elapsed-maxLag)), end), end
}

// dueAt is when the n-th call is to be made, after the beginning.
func dueAt(n, rate int) time.Duration {
	return time.Duration(float64(n+1) / float64(rate) * float64(time.Second))
}

// note notes how late a call was made.
func (l *load) note(late time.Duration) {
	for {
		most := l.late.Load()
		if int64(late) <= most || l.late.CompareAndSwap(most, int64(late)) {
			return
		}
	}
}

// nth makes the n-th call. The calls finish when the load ends: it is the
// policy's timeout that bounds them.
func (l *load) nth(ctx context.Context, n int) {
	ctx = context.WithoutCancel(ctx)
	if n%(mulShare+1) == mulShare {
		l.call(ctx, arith.Add, "add-"+strconv.Itoa(n), arith.Args{A: n, B: 1}, n+1)
		return
	}
	l.call(ctx, arith.Mul, "mul-"+strconv.Itoa(n), arith.Args{A: n, B: 3}, 3*n)
}

// call makes one call of the load and counts it.
func (l *load) call(ctx context.Context, method, id string, args arith.Args, want int) {
	c := endedCall{id: id, method: method, began: time.Now()}
	var reply arith.Reply
	var md rpcruntime.Metadata
	ctx = rpcruntime.WithMetadata(ctx, rpcruntime.Metadata{metaID: id})
	c.err = rpcruntime.CallInto(ctx, l.client, method, &args, &reply, rpcruntime.ReplyMetadata(&md))
	c.ended = time.Now()
	if c.err == nil {
		c.server, c.pid, c.err = who(md)
	}
	if c.err == nil && reply.C != want {
		c.err = fmt.Errorf("the answer is %d, want %d", reply.C, want)
	}
	l.record(&c)
}

// who reads which server answered, as its interceptor says it.
func who(md rpcruntime.Metadata) (server string, pid int, err error) {
	server, number, _ := strings.Cut(md[metaServer], " ")
	pid, err = strconv.Atoi(number)
	if err != nil {
		return "", 0, fmt.Errorf("the answer does not say which server gave it: %q", md[metaServer])
	}
	return server, pid, nil
}

// slowly makes slow calls, which are not idempotent. It is for the time while run
// runs, and does not wait for them.
func (l *load) slowly(ctx context.Context, ids []string) {
	ms := int(slowSleep / time.Millisecond)
	for _, id := range ids {
		l.calls.Go(func() { l.call(context.WithoutCancel(ctx), arith.Sleep, id, arith.Args{A: ms}, ms) })
	}
}

// probe calls a handler that sleeps, to see under which timeout calls are made.
// Probes are not part of the load.
func (l *load) probe(ctx context.Context, id string) error {
	ctx = rpcruntime.WithMetadata(ctx, rpcruntime.Metadata{metaID: id})
	return rpcruntime.CallInto(ctx, l.client, arith.Sleep, &arith.Args{A: int(probeSleep / time.Millisecond)}, nil)
}
