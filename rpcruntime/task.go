// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/limit"
	"github.com/fairlead/fairlead/rpcruntime/retry"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// task is one admitted request on its way to its handler, and the context of
// that: one allocation for both. It is not used again.
type task struct {
	srv     *Server
	in      *transport.Inbound // until it is answered
	conn    *inboundConn
	handler *handler
	ticket  limit.Ticket
	peer    *Peer // who makes this call; shared by the calls of a connection, and not changed
	here    bool  // the reader of its connection runs it
	alone   bool  // no other was on its connection when it came
	over    bool  // it has been answered; for oneway calls only, guarded by srv.loose
	// took is the time from the frame's arrival until the handler has returned.
	took time.Duration
	ctx  callContext
}

// serve runs the handler and answers.
func (t *task) serve() {
	answered := false
	oneway := t.conn.foreign == nil && t.in.Header.Oneway() // in is the transport's once answered
	defer func() {
		if !answered { // the handler ended its goroutine, as runtime.Goexit does
			t.fail(status.Errorf(status.Internal, "handler of %s did not return", t.handler.name), wire.Retry{Word: wire.RetryExecuted})
		}
		t.srv.inFlight.Add(-1)
		if oneway {
			(*onewayCall)(t).end()
		}
	}()
	t.fill()
	reply, e, mark := t.run()
	answered = true
	switch {
	case e == nil:
		t.respond(reply)
	case mark.Reason == reasonDeadline || mark.Reason == reasonCancel:
		t.srv.noteRefused(t.in, *t.peer, e, mark.Reason)
		t.in.Fail(e, wire.Retry{Word: mark.Word}, nil, nil)
	default:
		t.fail(e, mark)
	}
}

// Reasons that are told to the observer and not to the caller, who knows.
const (
	reasonDeadline = "deadline"
	reasonCancel   = "cancel"
)

// fill fills in the handler's context, but what its end needs: that may have come
// already.
func (t *task) fill() {
	ctx := &t.ctx
	ctx.Context, ctx.conn = t.srv.values, t.conn
	ctx.call.Method, ctx.call.Peer = t.handler.name, *t.peer
	ctx.call.self = &ctx.call
	ctx.meta = append(wire.Meta(ctx.metaStore[:0]), t.in.Meta...)
	if len(t.srv.opts.interceptors) > 0 {
		ctx.metadata() // they read the field
	}
	if t.in.Timeout > 0 {
		ctx.deadline = t.in.Received.Add(t.in.Timeout)
	}
}

// handlerReply is what a handler returned: a value that is to be encoded, or,
// from one that was called directly, the bytes themselves. No value is no reply.
type handlerReply struct {
	value  any
	bytes  []byte
	direct bool
}

// run decodes the argument and runs interceptors and handler. When it returns,
// the handler's context has ended and the call counts for no limit any more: its
// caller may send the next one as soon as it sees the answer.
func (t *task) run() (reply handlerReply, e *status.Error, mark wire.Retry) {
	defer t.release()
	ctx := &t.ctx
	if !ctx.deadline.IsZero() {
		ctx.timer.Init(ctx)
		t.srv.rt.wheel.Schedule(&ctx.timer, ctx.deadline)
	}
	waited := time.Since(t.in.Received)
	t.took = waited
	if e, reason := t.late(waited); e != nil {
		return reply, e, wire.Retry{Word: wire.RetryUnexecuted, Reason: reason}
	}
	direct, e, mark := t.argument()
	if e != nil {
		return reply, e, mark
	}
	reply, err := t.invoke(ctx, direct)
	t.took = time.Since(t.in.Received)
	t.handler.pace.note(t.took-waited, t.here, t.alone)
	if err != nil {
		return handlerReply{}, status.Convert(err), t.markOf(err)
	}
	return reply, nil, wire.Retry{}
}

// late says why a request that waited so long for its worker need not be run any
// more.
func (t *task) late(waited time.Duration) (e *status.Error, reason string) {
	t.srv.noteDelay(waited)
	switch {
	case t.ctx.Err() != nil:
		return status.New(status.Canceled, "nobody waits for the call any more; its handler had not started"), reasonCancel
	case t.in.Timeout > 0 && waited >= t.in.Timeout:
		return status.New(status.DeadlineExceeded, "the deadline passed before the handler could start"), reasonDeadline
	default:
		return nil, ""
	}
}

// argument decodes the argument into the call, decompressed first if need be;
// that of a handler which is called directly it returns. What it holds meanwhile
// counts as bytes of the request.
func (t *task) argument() (direct []byte, e *status.Error, mark wire.Retry) {
	payload := t.in.Payload
	if c := codec.CompressType(t.in.Header.Compress()); c != codec.CompressNone {
		buf, e, mark := t.decompress(c)
		if e != nil {
			return nil, e, mark
		}
		defer buf.Free() // codecs keep nothing of it
		payload = buf.B
	}
	if t.handler.direct != nil {
		return copied(payload), nil, wire.Retry{}
	}
	arg, err := t.handler.decode(t.srv.rt.codecs, codec.Type(t.in.Header.Serialize()), payload)
	if err != nil {
		return nil, decodeError(err), wire.Retry{Word: wire.RetryUnexecuted}
	}
	t.ctx.call.Arg = arg
	return nil, nil, wire.Retry{}
}

func (t *task) decompress(c codec.CompressType) (*buffer.Buffer, *status.Error, wire.Retry) {
	limited := wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonLimit}
	most := t.srv.Limits().DecompressedBytes
	buf := encodeBuffer()
	plain, err := t.srv.rt.codecs.Decompress(c, buf.B, t.in.Payload, most)
	switch {
	case errors.Is(err, codec.ErrTooLarge):
		buf.Free()
		return nil, status.Errorf(status.ResourceExhausted, "the argument holds more than %d bytes once decompressed, the most that the server takes", most), limited
	case err != nil:
		buf.Free()
		return nil, status.New(status.InvalidArgument, err.Error()), wire.Retry{Word: wire.RetryUnexecuted}
	}
	buf.B = plain
	if !t.reserve(int64(len(plain))) {
		buf.Free()
		return nil, t.srv.tooManyBytes(), limited
	}
	return buf, nil, wire.Retry{}
}

// reserve accounts for n more bytes of the request until it ends.
func (t *task) reserve(n int64) bool {
	if f := t.conn.foreign; f != nil {
		return f.reserve(n)
	}
	return t.in.Reserve(n)
}

// tooManyBytes is the refusal of a request for whose bytes there is no room.
func (s *Server) tooManyBytes() *status.Error {
	return status.Errorf(status.ResourceExhausted, "more than %d bytes of requests in flight on the server, or its bound for one connection", s.opts.maxRequestBytes)
}

// release gives back what a handler holds while it runs.
func (t *task) release() {
	if !t.ctx.deadline.IsZero() {
		t.srv.rt.wheel.Stop(&t.ctx.timer)
	}
	t.ctx.end(context.Canceled)
	t.ticket.Done()
	t.srv.running.Add(-1)
}

// invoke runs interceptors and handler, and turns a panic into an error that
// tells the peer nothing of it.
func (t *task) invoke(ctx *callContext, direct []byte) (reply handlerReply, err error) {
	defer func() {
		if p := recover(); p != nil {
			t.srv.rt.log.Error(fmt.Errorf("%v", p), "handler panicked", "method", t.handler.name, "peer", loggable(t.peer.Name), "stack", string(debug.Stack()))
			reply, err = handlerReply{}, status.Errorf(status.Internal, "handler of %s panicked; its server's log says more", t.handler.name)
		}
	}()
	if fn := t.handler.direct; fn != nil {
		reply.direct = true
		reply.bytes, err = fn(ctx, direct)
		return reply, err
	}
	reply.value, err = t.handler.invoke(ctx, &ctx.call)
	return reply, err
}

// markOf says what is known of the execution of a call that interceptors or
// handler ended with err. Only where the call stood says whether it ran, never
// the error. Of a chain of calls only the hop next to the failure retries.
func (t *task) markOf(err error) wire.Retry {
	mark := wire.Retry{Word: wire.RetryExecuted, After: status.RetryAfter(err)}
	switch {
	case t.ctx.call.unexecuted():
		mark.Word = wire.RetryUnexecuted
	case ofCall(err) && retry.SaysNever(err):
		mark.Word = wire.RetryNever
	}
	return mark
}

// maxErrorText bounds the text of an error on the wire: with metadata over the
// peer's limit the whole answer would be lost. Bytes.
const maxErrorText = 16 << 10

// boundedText is e with a text of bounded length.
func boundedText(e *status.Error) *status.Error {
	msg := e.Message()
	if len(msg) <= maxErrorText {
		return e
	}
	cut := status.New(e.Code(), strings.ToValidUTF8(msg[:maxErrorText], "")+" [cut]").WithDetails(e.Details()).WithRetryAfter(e.RetryAfter())
	return cut
}

func (t *task) fail(e *status.Error, mark wire.Retry) {
	t.observe(e.Code())
	t.in.Fail(boundedText(e), mark, t.ctx.reply.take(), nil)
}

func (t *task) respond(reply handlerReply) {
	if reply.direct {
		t.send(reply.bytes)
		return
	}
	if reply.value == nil {
		t.fail(errNilReply, wire.Retry{Word: wire.RetryExecuted})
		return
	}
	if raw, ok := reply.value.([]byte); ok && t.handler.raw {
		t.send(raw)
		return
	}
	buf := encodeBuffer()
	payload, err := t.srv.rt.codecs.Append(codec.Type(t.in.Header.Serialize()), buf.B, reply.value)
	if err != nil {
		buf.Free()
		t.fail(status.Errorf(status.Internal, "the reply of %s could not be encoded: %w", t.handler.name, err), wire.Retry{Word: wire.RetryExecuted})
		return
	}
	buf.B = payload
	t.send(payload)
	freeEncoded(buf)
}

// send answers with payload, compressed as the request was, if it was and if
// there is enough to gain. docs/wire-protocol.md §2
func (t *task) send(payload []byte) {
	t.observe(status.OK)
	c := codec.CompressType(t.in.Header.Compress())
	if c == codec.CompressNone || len(payload) <= codec.CompressAbove {
		t.in.Respond(t.ctx.reply.take(), payload, wire.CompressNone)
		return
	}
	buf := encodeBuffer()
	small, err := t.srv.rt.codecs.Compress(c, buf.B, payload)
	if err != nil {
		buf.Free()
		t.srv.rt.log.V(1).Info("a reply goes out uncompressed", "method", t.handler.name, "error", loggable(err.Error()))
		t.in.Respond(t.ctx.reply.take(), payload, wire.CompressNone)
		return
	}
	buf.B = small
	t.in.Respond(t.ctx.reply.take(), small, wire.Compress(c))
	freeEncoded(buf)
}

// observe tells the observer how the handler, whose context has ended, ended. A call that its caller gave
// up has no answer, and counts as cancelled whatever the handler made of it.
func (t *task) observe(code status.Code) {
	if t.ctx.givenUp() {
		code = status.Canceled
		if log := t.srv.rt.log.V(1); log.Enabled() {
			log.Info("call cancelled by its caller", "method", t.handler.name, "caller", loggable(t.peer.Name), "peer", t.peer.Addr)
		}
	}
	t.srv.rt.observer.Served(ServedEvent{
		Method: t.handler.name, Caller: t.peer.Name, Code: code, Duration: t.took,
	})
}

// decodeError is the error of an argument that could not be decoded.
func decodeError(err error) *status.Error {
	var unknown *codec.UnknownTypeError
	if errors.As(err, &unknown) {
		return status.New(status.Unimplemented, err.Error())
	}
	return status.New(status.InvalidArgument, err.Error())
}
