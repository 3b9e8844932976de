// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/retry"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
)

// maxFanOut is how many endpoints a fan-out talks to at once. It bounds its
// goroutines; the next endpoint gets its turn when one has answered or failed.
const maxFanOut = 128

// Receipt is what became of a call at one endpoint.
type Receipt[Resp any] struct {
	// Address is the endpoint's, host:port.
	Address string
	// Reply is nil if and only if Err is not.
	Reply *Resp
	// Metadata is what the endpoint sent beside its reply; nil if nothing.
	Metadata Metadata
	// Err is a *status.Error, or nil.
	Err error
}

// Broadcast calls the method on every endpoint that the client knows of its
// service, and succeeds only if each of them did: one that is dead, draining or
// suspect counts like the others. reply is that of the first success: a pointer,
// or nil to drop it. The error names the endpoints that failed, and
// errors.As finds a *FanOutError in it; its fate is that of the whole.
//
// All endpoints are called at once, up to 128 of them, within the method's
// timeout. Each gets one attempt, sent again to the same endpoint if it surely
// never left or was never read. Interceptors see one call.
func Broadcast(ctx context.Context, c *Client, method string, arg, reply any, opts ...CallOption) error {
	call := ClientCall{Method: method, Arg: arg, Reply: reply, fan: &fan{}}
	if reply != nil {
		t := reflect.TypeOf(reply)
		if t.Kind() != reflect.Pointer || reflect.ValueOf(reply).IsNil() {
			return status.Errorf(status.InvalidArgument, "Broadcast: reply is a %s, want a pointer that is not nil, or nil", t).WithFate(status.FateUnexecuted)
		}
		var taken atomic.Bool
		call.fan.reply = func() any {
			if taken.CompareAndSwap(false, true) {
				return reply
			}
			return reflect.New(t.Elem()).Interface() // decoded only to see that it can be
		}
	}
	return c.fanOut(ctx, &call, opts)
}

// Fork is Broadcast that ends with the first success: the calls to the other
// endpoints are then cancelled, though they may have run. It fails if every
// endpoint did, with the first one's code and all their stories.
func Fork[Resp any](ctx context.Context, c *Client, method string, arg any, opts ...CallOption) (*Resp, error) {
	call, err := fanCall[Resp]("Fork", method, arg)
	if err != nil {
		return nil, err
	}
	call.fan.firstWins = true
	if err := c.fanOut(ctx, call, opts); err != nil {
		return nil, err
	}
	won, ok := call.fan.won.Load().reply.(*Resp)
	if !ok {
		return nil, status.New(status.Internal, "Fork: the reply has another type").WithFate(status.FateExecuted)
	}
	return won, nil
}

// Inform is Broadcast that tells what became of the call at each endpoint, in the
// order in which the registry, or Endpoints, names them. The error is not nil
// only when there are no receipts, for want of an endpoint or a valid argument:
// look into each receipt.
func Inform[Resp any](ctx context.Context, c *Client, method string, arg any, opts ...CallOption) ([]Receipt[Resp], error) {
	call, err := fanCall[Resp]("Inform", method, arg)
	if err != nil {
		return nil, err
	}
	call.fan.tellsAll = true
	if err := c.fanOut(ctx, call, opts); err != nil {
		return nil, err
	}
	receipts := make([]Receipt[Resp], 0, len(call.fan.results))
	for i := range call.fan.results {
		r := &call.fan.results[i]
		receipt := Receipt[Resp]{Address: r.address, Metadata: r.metadata}
		if r.err != nil {
			receipt.Err = r.err
		} else {
			receipt.Reply, _ = r.reply.(*Resp) // made by fanCall
		}
		receipts = append(receipts, receipt)
	}
	return receipts, nil
}

// fanCall makes the call of a fan-out whose endpoints each have a reply.
func fanCall[Resp any](what, method string, arg any) (*ClientCall, error) {
	if err := checkValue[Resp](what, "reply"); err != nil {
		return nil, status.New(status.InvalidArgument, err.Error()).WithFate(status.FateUnexecuted)
	}
	return &ClientCall{
		Method: method, Arg: arg, Reply: new(Resp), // for its type: the codec may follow from it
		fan: &fan{reply: func() any { return new(Resp) }},
	}, nil
}

// fan is a call to every endpoint, of which there is one attempt for each.
type fan struct {
	// reply makes what an endpoint's reply is decoded into; nil drops replies.
	reply func() any
	// firstWins: the first success ends it. tellsAll: failures do not fail it.
	firstWins, tellsAll bool

	// What follows is set by the innermost part of the client.

	ran     bool
	results []fanResult // one for each endpoint, in order
	won     atomic.Pointer[fanResult]
}

// fanResult is what became of the call at one endpoint. err and reply are set by
// the one goroutine that makes that attempt.
type fanResult struct {
	address  string
	reply    any
	metadata Metadata
	err      *status.Error
	sent     int
}

// errFanBypassed is an interceptor that claims a success of endpoints which were
// never asked.
var errFanBypassed = status.New(status.Internal,
	"an interceptor ended a call to all endpoints without handing it on, or handed on a ClientCall of its own: it must hand on the one that it was given")

// fanOut runs a fan-out through the interceptors.
func (c *Client) fanOut(ctx context.Context, call *ClientCall, opts []CallOption) error {
	err := c.do(ctx, call, opts)
	if err == nil && !call.fan.ran {
		return errFanBypassed
	}
	return err
}

// fanOut makes an attempt at each endpoint. REQUIRES: the request is made.
func (o *outgoingCall) fanOut(ctx context.Context) error {
	f := o.call.fan
	states := o.client.endpointStates()
	if len(states) == 0 {
		return o.noEndpoint(ctx, errNoEndpoint)
	}
	results := make([]fanResult, len(states))
	for i, state := range states {
		results[i].address = state.Endpoint().Addresses[0]
	}
	f.results, f.ran = results, true
	fanCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	shared := *o // the workers' own, so that calls which do not fan out stay off the heap
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(len(states), maxFanOut) {
		workers.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(states)); i = next.Add(1) - 1 {
				r := &results[i]
				shared.fanTo(fanCtx, states[i], r)
				if f.firstWins && r.err == nil && f.won.CompareAndSwap(nil, r) {
					cancel()
				}
			}
		})
	}
	workers.Wait() // not long for those that were cancelled
	return o.fanEnd(ctx, f)
}

// fanTo makes the attempt at one endpoint, and makes it again there if it surely
// never left or was never read: the endpoint is as it was, its connection is not.
func (o *outgoingCall) fanTo(ctx context.Context, state *balancer.EndpointState, r *fanResult) {
	one := outgoingCall{
		client: o.client, call: ClientCall{Service: o.call.Service, Method: o.call.Method}, policy: o.policy, req: o.req,
		began: o.began, start: o.start, deadline: o.deadline, made: 1, makeReply: o.call.fan.reply,
	}
	for again := true; ; again = false {
		if ctx.Err() != nil {
			r.err = status.Convert(ctx.Err()).WithFate(status.FateUnexecuted)
			break
		}
		state.Begin()
		if r.err = one.send(ctx, state, o.deadline); r.err == nil || ctx.Err() != nil {
			break
		}
		resend := again && one.reached && lostUnread(r.err)
		if resend {
			one.observe(r.address, r.err, retry.Decision{Retry: true, Free: true, Reason: retry.Resent})
			continue
		}
		one.observe(r.address, r.err, retry.Decision{Reason: retry.StopAttempts})
		break
	}
	r.sent, r.reply, r.metadata = one.sent, one.call.Reply, one.call.ReplyMetadata
}

// lostUnread reports whether the request was lost with its connection, unread.
func lostUnread(err *status.Error) bool {
	switch err.Reason() {
	case transport.ReasonUnsent, transport.ReasonBye:
		return err.Fate() == status.FateUnexecuted
	default:
		return false
	}
}

// fanEnd sums a fan-out up.
func (o *outgoingCall) fanEnd(ctx context.Context, f *fan) error {
	var first *fanResult
	failed := 0
	for i := range f.results {
		r := &f.results[i]
		o.sent += r.sent
		switch {
		case r.err != nil:
			failed++
		case first == nil || r.reply != nil && r.reply == o.call.Reply:
			first = r // the caller's reply is the first that came
		}
	}
	if won := f.won.Load(); won != nil {
		o.call.Reply, first = won.reply, won
	}
	if first != nil {
		o.call.ReplyMetadata = first.metadata
	}
	if failed == 0 || f.tellsAll || f.won.Load() != nil {
		return nil
	}
	return o.fanFailed(ctx, f)
}
