// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// doneHook is a context that calls f whenever somebody is about to wait for it.
type doneHook struct {
	context.Context
	f func()
}

func (c doneHook) Done() <-chan struct{} {
	c.f()
	return c.Context.Done()
}

// A per-try timeout counts from the attempt's start, whatever the call waited for
// before: here an hour for the first news of the service, or for former attempts.
func TestAttemptsAreTimedFromTheirStart(t *testing.T) {
	policy := generous(3)
	policy.Timeout, policy.PerTryTimeout = ptr(2*time.Hour), ptr(patience)
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) })
	c := newRuntime(t).NewClient("test", Endpoints(addr, deadAddr(t)), FixedPolicy(policy, "Raw.Echo"))
	anHourAgo := func() *outgoingCall {
		o := &outgoingCall{client: c, call: ClientCall{Method: "Raw.Echo"}, began: time.Now().Add(-time.Hour), start: c.rt.now() - time.Hour}
		o.asOf = o.start
		return o
	}
	known := c.state.Load()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience) // or the wait would be over, too
	defer cancel()
	for range 3 { // until both endpoints had their turn
		c.mu.Lock()
		c.setLocked(&clientState{})
		c.mu.Unlock()
		waits := doneHook{ctx, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.state.Load() != known {
				c.setLocked(known)
			}
		}}
		o := anHourAgo()
		if err := o.run(waits); err != nil {
			t.Errorf("after a wait for the first snapshot: %v", err)
		}
		for _, f := range o.failures { // the other endpoint's may well be there
			if f.err.Code() == status.DeadlineExceeded {
				t.Errorf("after a wait for the first snapshot: %v", f.err)
			}
		}
	}

	o := anHourAgo()
	o.policy, o.deadline = known.method("Raw.Echo"), o.began.Add(2*time.Hour)
	o.policy.budget.RecordCall(c.rt.now())
	o.sent = 1 // an hour ago, say
	if _, err := o.attempt(t.Context()); err != nil && err.Code() == status.DeadlineExceeded {
		t.Errorf("the second attempt: %v", err)
	}
	want := time.Now().Add(patience)
	if got := o.attemptDeadline(); got.After(want) || got.Before(want.Add(-patience)) {
		t.Errorf("the second attempt must be over %s from now, want %s", time.Until(got), patience)
	}
}

// The client works on a copy of the call: what it sets must come back.
func TestInterceptorsSeeHowACallEnded(t *testing.T) {
	seen := make(chan ClientCall, 1)
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) {
		Handle(s, "Fan.Who", func(ctx context.Context, _ *mulArgs) (*mulReply, error) {
			SetReplyMetadata(ctx, "from", "one")
			return &mulReply{1}, nil
		})
	})
	c := newRuntime(t).NewClient("test", Endpoints(addr), ClientIntercept(func(next ClientInvoker) ClientInvoker {
		return func(ctx context.Context, call *ClientCall) error {
			err := next(ctx, call)
			seen <- *call
			return err
		}
	}))
	for name, call := range map[string]func() (*mulReply, error){
		"one":  func() (*mulReply, error) { return Call[mulReply](t.Context(), c, "Fan.Who", &mulArgs{}) },
		"fork": func() (*mulReply, error) { return Fork[mulReply](t.Context(), c, "Fan.Who", &mulArgs{}) },
	} {
		r, err := call()
		if err != nil {
			t.Fatal(err)
		}
		got := receive(t, seen, "the interceptor's view")
		if reply, ok := got.Reply.(*mulReply); !ok || reply != r || reply.C != 1 || got.Attempts != 1 || got.ReplyMetadata["from"] != "one" {
			t.Errorf("%s: %+v, reply %+v", name, got, r)
		}
	}
}
