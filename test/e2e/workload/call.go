// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime"
)

const (
	// pace is how often the load looks which calls are due.
	pace = 2 * time.Millisecond
	// maxLag is how far the load may fall behind the clock before it gives calls
	// up: a machine that slept must not make a million calls at once.
	maxLag = 5 * time.Second
	// maxUnderWay bounds the calls at the same time; those beyond are given up.
	maxUnderWay = 5000
	// share is which part of the calls is not idempotent: one of so many.
	share = 10
)

// load makes calls at a steady rate. Its methods are safe for concurrent use.
type load struct {
	// clients make the calls in turn, each of a runtime of its own.
	clients []*rpcruntime.Client
	rate    int
	// id makes ids of this process unlike those of any other.
	id    string
	tally *tally
	calls sync.WaitGroup // under way
	slots chan struct{}
}

// call makes calls until ctx ends.
func call(ctx context.Context, address, service string, rate, clients int) (err error) {
	if service == "" || rate < 1 || clients < 1 {
		return fmt.Errorf("--service %q, --rate %d and --clients %d: all are needed", service, rate, clients)
	}
	pod, err := os.Hostname()
	if err != nil {
		return err
	}
	l := &load{
		rate: rate, id: pod + "-" + strconv.FormatInt(time.Now().UnixNano(), 36),
		tally: newTally(), slots: make(chan struct{}, maxUnderWay),
	}
	for range clients {
		rt, err := newRuntime()
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
			defer cancel()
			err = errors.Join(err, rt.Close(ctx))
		}()
		l.clients = append(l.clients, rt.NewClient(service))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", ok)
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) { l.tally.tell(w, l.clients) })
	mux.HandleFunc("GET /told", l.tally.tellWrites)
	mux.HandleFunc("POST /kill", kill)
	end, err := web(ctx, address, mux)
	if err != nil {
		return err
	}
	l.run(ctx)
	return end()
}

// run makes calls until ctx ends, and waits for those under way.
func (l *load) run(ctx context.Context) {
	defer l.calls.Wait()
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	begin := time.Now()
	for next := 0; ; {
		elapsed := time.Since(begin)
		due := max(l.due(elapsed), next)
		if first := max(next, l.due(elapsed-maxLag)); first > next {
			l.tally.missed(first - next)
			next = first
		}
		for ; next < due; next++ {
			l.start(ctx, next)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func (l *load) due(elapsed time.Duration) int { return int(elapsed.Seconds() * float64(l.rate)) }

// start makes the n-th call. It finishes even when the load ends: it is the
// policy's timeout that bounds it.
func (l *load) start(ctx context.Context, n int) {
	select {
	case l.slots <- struct{}{}:
	default:
		l.tally.missed(1)
		return
	}
	l.calls.Go(func() {
		defer func() { <-l.slots }()
		ctx, client := context.WithoutCancel(ctx), l.clients[n/share%len(l.clients)]
		if n%share == share-1 {
			l.one(ctx, client, arith.Add, "add-"+l.id+"-"+strconv.Itoa(n), arith.Args{A: n, B: 1}, n+1)
		} else {
			l.one(ctx, client, arith.Mul, "", arith.Args{A: n, B: 3}, 3*n)
		}
	})
}

// one makes one call and counts it. Only calls that are not idempotent have an
// id.
func (l *load) one(ctx context.Context, client *rpcruntime.Client, method, id string, args arith.Args, want int) {
	began := time.Now()
	l.tally.begin()
	var reply arith.Reply
	var md rpcruntime.Metadata
	if id != "" {
		ctx = rpcruntime.WithMetadata(ctx, rpcruntime.Metadata{metaID: id})
	}
	err := rpcruntime.CallInto(ctx, client, method, &args, &reply, rpcruntime.ReplyMetadata(&md))
	if err == nil && reply.C != want {
		err = fmt.Errorf("the answer is %d, want %d", reply.C, want)
	}
	l.tally.end(id, md, err, time.Since(began))
}
