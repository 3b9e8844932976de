// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/retry"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// waitForPolicy bounds the wait for the first snapshot of a call whose context
// has no deadline: the policy that would say it is what is waited for.
const waitForPolicy = 10 * time.Second

// outgoingCall is a call under way: the innermost part of the client.
type outgoingCall struct {
	client *Client
	// call is a copy, so that the caller's own need not be on the heap.
	call   ClientCall
	policy *methodPolicy
	req    transport.Request
	// began is when the call began, and start the same in the runtime's time. asOf
	// is when the clock was last read: what follows at once shares the reading.
	began       time.Time
	start, asOf time.Duration
	// deadline is the caller's or the policy's, whichever is earlier.
	deadline time.Time

	// made counts the attempts, sent those and the free resend.
	made, sent int
	freeUsed   bool
	allowTried bool
	// reached: the last attempt had a connection.
	reached bool
	// makeReply, if not nil, makes the reply that an answer is decoded into.
	makeReply func() any
	// partial is what came beside an error of the last attempt; mostly nil.
	partial *partialReply
	// tried and failures are of the attempts that failed: nil for most calls.
	tried    []*balancer.EndpointState
	failures []failure
}

// failure is a failed attempt, for the final error.
type failure struct {
	address string
	err     *status.Error
}

// perform makes the call: the end of the interceptors' chain.
func (c *Client) perform(ctx context.Context, call *ClientCall) error {
	o := outgoingCall{client: c, call: *call, began: time.Now()}
	o.start = o.began.Sub(c.rt.start)
	o.asOf = o.start
	err := o.run(ctx)
	call.Reply, call.ReplyMetadata, call.raw, call.Attempts = o.call.Reply, o.call.ReplyMetadata, o.call.raw, o.sent
	c.rt.observer.Called(CalledEvent{
		Service: c.service, Method: call.Method, Code: status.CodeOf(err), Attempts: o.sent, Duration: c.rt.now() - o.start,
	})
	if err != nil {
		e := status.Convert(err)
		return e.WithCause(&calledError{e.Unwrap()})
	}
	return nil
}

// run returns an error and not a *status.Error, so that nil is nil.
func (o *outgoingCall) run(ctx context.Context) error {
	c := o.client
	if c.broken != nil {
		return c.broken
	}
	if err := ctx.Err(); err != nil {
		return status.Convert(err).WithFate(status.FateUnexecuted)
	}
	until, bounded := ctx.Deadline()
	st := c.state.Load()
	if st.snapshot == nil {
		wait := until
		if !bounded {
			wait = o.began.Add(waitForPolicy)
		}
		var err error
		if st, err = c.current(ctx, wait, o.call.waitForService); err != nil {
			return err
		}
		o.asOf = c.rt.now()
	}
	o.policy = st.method(o.call.Method)
	o.deadline = o.began.Add(o.policy.timeout)
	if bounded && until.Before(o.deadline) {
		o.deadline = until
	}
	if o.policy.refused {
		return status.Errorf(status.Unimplemented, "rpc: %s does not declare the method %s, and refuses what it does not declare", c.service, o.call.Method).
			WithFate(status.FateUnexecuted)
	}
	return o.encode(ctx)
}

// encode makes the request, once for all attempts, and sends it.
func (o *outgoingCall) encode(ctx context.Context) error {
	buf, err := o.request(ctx)
	if err != nil {
		return err
	}
	defer freeEncoded(buf)
	o.policy.budget.RecordCall(o.start)
	if o.call.fan != nil {
		return o.fanOut(ctx)
	}
	return o.attempts(ctx)
}

// attempts makes attempts until one succeeds or another must not follow.
func (o *outgoingCall) attempts(ctx context.Context) error {
	for {
		state, err := o.attempt(ctx)
		if err == nil {
			return nil
		}
		if state == nil { // waiting would not make one
			err := o.noEndpoint(ctx, err)
			o.client.endpointFailed()
			return err
		}
		address := state.Endpoint().Addresses[0]
		o.tried = append(o.tried, state)
		o.failures = append(o.failures, failure{address, err})
		d := o.decide(ctx, err)
		o.observe(address, err, d)
		if !d.Retry {
			o.decodePartial()
			return o.final(ctx, err)
		}
		if d.Free {
			o.freeUsed = true
		}
		o.allowTried = d.AllowTried
		if d.Delay > 0 && !sleep(ctx, d.Delay) {
			return o.final(ctx, status.Convert(ctx.Err()).WithFate(err.Fate()))
		}
		o.policy = o.client.state.Load().methodOr(o.call.Method, o.policy)
	}
}

// methodOr is method, or old once there is no snapshot any more.
func (st *clientState) methodOr(name string, old *methodPolicy) *methodPolicy {
	if st.snapshot == nil {
		return old
	}
	return st.method(name)
}

// sleep waits for d, and reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// decide says what follows a failed attempt.
func (o *outgoingCall) decide(ctx context.Context, err *status.Error) retry.Decision {
	a := retry.Attempt{
		Err: err, Made: o.made, Idempotent: o.repeatable(), CallerDone: ctx.Err() != nil, NotTaken: notTaken(err),
		FreeUsed: o.freeUsed, Untried: o.policy.picker.Size() > len(o.tried), Remaining: time.Until(o.deadline),
	}
	d := retry.Decide(o.policy.rules, a, o.policy.budget, o.client.rt.now(), rand.Uint64())
	if d.Free {
		o.made-- // a free resend is not counted
	}
	return d
}

// repeatable reports whether the call may be sent again when it is unknown
// whether it ran. A oneway call never is: nobody would learn of the second either.
func (o *outgoingCall) repeatable() bool { return o.policy.idempotent && !o.req.Oneway }

// notTaken reports whether the endpoint did not take the call for a reason of
// its own going, rather than of this call.
func notTaken(err *status.Error) bool {
	switch err.Reason() {
	case transport.ReasonUnsent, transport.ReasonBye, wire.ReasonWrongEndpoint, wire.ReasonDraining:
		return err.Fate() == status.FateUnexecuted
	default:
		return false
	}
}

// errNoEndpoint is what an attempt for which there is no endpoint fails with.
var errNoEndpoint = status.New(status.Unavailable, "no endpoint").WithFate(status.FateUnexecuted)

// attempt makes one attempt. state is nil if there was no endpoint to try.
func (o *outgoingCall) attempt(ctx context.Context) (state *balancer.EndpointState, failed *status.Error) {
	if o.sent > 0 {
		o.asOf = o.client.rt.now()
	}
	if state = o.pick(o.asOf); state == nil {
		return nil, errNoEndpoint
	}
	o.made++
	return state, o.send(ctx, state, o.attemptDeadline())
}

// send makes one attempt on an endpoint that a call in flight was counted on.
func (o *outgoingCall) send(ctx context.Context, state *balancer.EndpointState, until time.Time) (failed *status.Error) {
	o.sent++
	o.call.ReplyMetadata, o.partial, o.reached = nil, nil, false // of a former attempt
	outcome := balancer.Abandoned
	defer func() { state.Done(outcome) }()
	e, ok := state.Attached().(*endpoint)
	if !ok {
		return status.New(status.Internal, "endpoint without a connection").WithFate(status.FateUnexecuted)
	}
	if failed := o.token(ctx); failed != nil {
		return failed
	}
	conn, err := e.link.Load().connFor(ctx, until, o.large())
	if err != nil {
		failed = status.Convert(err)
		outcome = outcomeOf(ctx, failed)
		return failed
	}
	o.reached = true
	o.req.Timeout, o.req.Attempt = time.Until(until), o.made
	if o.req.Timeout <= 0 {
		return status.New(status.DeadlineExceeded, "the deadline passed before the request was sent").
			WithCause(context.DeadlineExceeded).WithFate(status.FateUnexecuted)
	}
	result, err := conn.Do(ctx, until, &o.req)
	if err != nil {
		failed = refusedLate(status.Convert(err), state.Endpoint().Addresses[0], conn.Heard())
		outcome = outcomeOf(ctx, failed)
		return failed
	}
	if o.req.Oneway { // nobody said anything, of the endpoint neither
		return nil
	}
	defer result.Release()
	outcome = balancer.Answered
	return o.answered(state, &result, conn.Peer() != nil)
}

// attemptDeadline is when the attempt that is about to be made must be over.
func (o *outgoingCall) attemptDeadline() time.Time {
	spent := o.asOf - o.start
	n := retry.NextAttempt{
		Number: o.made, Idempotent: o.repeatable(), OtherUntried: o.policy.picker.Size() > len(o.tried)+1,
		Remaining: o.deadline.Sub(o.began) - spent,
	}
	limit := retry.AttemptTimeout(o.policy.rules, n, o.policy.budget, o.asOf)
	if limit >= n.Remaining {
		return o.deadline
	}
	return o.began.Add(spent + limit)
}

// outcomeOf says what a failed attempt tells of its endpoint.
func outcomeOf(ctx context.Context, err *status.Error) balancer.Outcome {
	if err.Code() == status.Canceled || ctx.Err() != nil {
		return balancer.Abandoned
	}
	return balancer.Failed
}

// learn notes what an endpoint's refusal says of the endpoint.
func (o *outgoingCall) learn(state *balancer.EndpointState, err *status.Error) {
	switch err.Reason() {
	case wire.ReasonWrongEndpoint:
		if state.Drop(o.client.rt.now()) { // once, not for each call that was under way
			o.client.rt.log.Info("wrong endpoint: another instance answers at its address; left alone for a while",
				"service", o.client.service, "endpoint", state.ID(), "said", loggable(err.Message()))
		}
	case wire.ReasonLimit:
		if err.RetryAfter() > 0 {
			state.Avoid(o.client.rt.now(), err.RetryAfter())
		}
	}
}

func (o *outgoingCall) observe(address string, err *status.Error, d retry.Decision) {
	c := o.client
	c.rt.observer.Attempted(AttemptedEvent{
		Service: c.service, Method: o.call.Method, Address: address, Code: err.Code(), Fate: err.Fate(),
		Retry: d.Retry, Free: d.Free, Delay: d.Delay, Reason: d.Reason.String(),
	})
	if log := c.rt.log.V(1); log.Enabled() {
		log.Info("attempt failed", "service", c.service, "method", o.call.Method, "endpoint", address, "attempt", o.sent,
			"error", loggable(err.Error()), "fate", err.Fate().String(), "retry", d.Retry, "free", d.Free, "delay", d.Delay.String(), "reason", d.Reason.String())
	}
}

// isContextError reports whether the caller's own context ended the call.
func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
