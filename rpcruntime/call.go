// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// Call calls the method Path.Method and returns its reply. Resp is the reply's
// type itself: Call[*T] is refused. arg is a message, a pointer to one, []byte or
// nil. Errors are *status.Error.
func Call[Resp any](ctx context.Context, c *Client, method string, arg any, opts ...CallOption) (*Resp, error) {
	if err := checkValue[Resp]("Call", "reply"); err != nil {
		return nil, status.New(status.InvalidArgument, err.Error()).WithFate(status.FateUnexecuted)
	}
	resp := new(Resp)
	if err := CallInto(ctx, c, method, arg, resp, opts...); err != nil {
		return nil, err
	}
	return resp, nil
}

// CallInto is Call into a reply of one's own: a pointer, or nil to drop the
// reply. After an error, what reply points to may have been changed.
func CallInto(ctx context.Context, c *Client, method string, arg, reply any, opts ...CallOption) error {
	call := ClientCall{Method: method, Arg: arg, Reply: reply}
	return c.do(ctx, &call, opts)
}

// do runs a call through the interceptors.
func (c *Client) do(ctx context.Context, call *ClientCall, opts []CallOption) error {
	call.Service = c.service
	if len(opts) == 0 {
		return c.pass(ctx, call)
	}
	var o callOptions // apart, for it costs an allocation
	for _, opt := range opts {
		opt.applyCall(&o)
	}
	call.waitForService = o.waitForService
	err := c.pass(ctx, call)
	if o.replyMetadata != nil {
		*o.replyMetadata = call.ReplyMetadata
	}
	return err
}

// pass hands a call to the interceptors. They get one of their own, which they may
// keep; without them there is none to allocate.
func (c *Client) pass(ctx context.Context, call *ClientCall) error {
	if len(c.opts.interceptors) == 0 {
		return c.perform(ctx, call)
	}
	seen := *call
	if call.raw.mode == notRaw {
		err := c.invoke(ctx, &seen)
		*call = seen
		return err
	}
	got := seen.show()
	err := c.invoke(ctx, &seen)
	raw := rawCall{reply: append(call.raw.reply, *got...)}
	*call = seen
	call.raw = raw
	return err
}

// Pending is a call under way.
type Pending[Resp any] struct {
	done chan struct{} // closed when reply and err are set
	resp *Resp
	err  error
}

// Done is closed when the call has ended.
func (p *Pending[Resp]) Done() <-chan struct{} { return p.done }

// Result waits for the call to end and returns its reply or error.
func (p *Pending[Resp]) Result() (*Resp, error) {
	<-p.done
	return p.resp, p.err
}

// Go is Call without waiting for the reply. arg must not be changed before the
// call has ended.
func Go[Resp any](ctx context.Context, c *Client, method string, arg any, opts ...CallOption) *Pending[Resp] {
	p := &Pending[Resp]{done: make(chan struct{})}
	run := func() {
		defer close(p.done)
		p.resp, p.err = Call[Resp](ctx, c, method, arg, opts...)
	}
	if !c.spawn(run) {
		p.err = c.closedError()
		close(p.done)
	}
	return p
}

// TypedMethod is a method whose types and name are settled once.
type TypedMethod[Req, Resp any] struct{ name string }

// Method returns the method Path.Method with its types, usually kept in a
// variable of the package. It panics if the name is malformed or a type is a
// pointer: those are mistakes in the program, made at its start.
func Method[Req, Resp any](name string) TypedMethod[Req, Resp] {
	mustBeValue[Req]("Method", "argument")
	mustBeValue[Resp]("Method", "reply")
	if _, _, err := splitMethod(name); err != nil {
		panic(err) //nolint:forbidigo // a mistake in the program, found at its start
	}
	return TypedMethod[Req, Resp]{name}
}

// Name returns Path.Method.
func (m TypedMethod[Req, Resp]) Name() string { return m.name }

// Call calls the method.
func (m TypedMethod[Req, Resp]) Call(ctx context.Context, c *Client, req *Req, opts ...CallOption) (*Resp, error) {
	resp := new(Resp)
	if err := CallInto(ctx, c, m.name, req, resp, opts...); err != nil {
		return nil, err
	}
	return resp, nil
}
