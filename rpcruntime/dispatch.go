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
	ctx     callContext
}

// inboundConn is what the server knows of one connection.
type inboundConn struct {
	peer Peer // never changes after the first request was read
	conn *transport.ServerConn

	// The rest belongs to the connection's reader.

	announced wire.Announcement // zero for a peer that announced nothing
	// services is what service and wrong were found in: the server may learn
	// who it is while connections stand.
	services *[]*served
	service  *served // whose limits apply; nil when no service is known
	wrong    error   // why the connection is meant for another; nil if it is not
}

// Announced is called by the connection's reader.
func (s *serverHandler) Announced(c *transport.ServerConn, a *wire.Announcement) {
	srv := s.server()
	ic := srv.attach(c)
	ic.announced = *a
	if a.Caller != "" {
		ic.peer.Name, ic.peer.Source = a.Caller, PeerDeclared
	}
	srv.place(ic)
	if ic.wrong != nil {
		srv.rt.log.Info("connection refused: it is meant for another", "peer", ic.peer.Addr, "caller", ic.peer.Name, "reason", ic.wrong.Error())
	}
}

// place finds the service that a connection is meant for, again whenever the
// server has learnt of one.
func (s *Server) place(ic *inboundConn) {
	if services := s.services.Load(); services != ic.services {
		ic.services = services
		ic.service, ic.wrong = s.servedAs(ic.announced.To), s.checkIdentity(&ic.announced)
	}
}

// Request is called by the connection's reader: it must not block, run a user's
// code or write. What it refuses has not been seen by anybody: unexecuted.
func (s *serverHandler) Request(in *transport.Inbound) {
	srv := s.server()
	ic, ok := in.Conn.Attachment.(*inboundConn)
	if !ok {
		ic = srv.attach(in.Conn)
	}
	srv.place(ic)
	if ic.wrong != nil {
		srv.rt.counters.WrongEndpoint.Add(1)
		srv.refuse(in, status.New(status.Unavailable, ic.wrong.Error()), wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonWrongEndpoint})
		return
	}
	h := srv.lookup(in.Path, in.Method)
	if h == nil || ic.service.refuses(h.name) {
		srv.refuse(in, srv.unknownMethod(in, h != nil), wire.Retry{Word: wire.RetryUnexecuted})
		return
	}
	if in.Header.Compress() != wire.CompressNone {
		srv.refuse(in, status.Errorf(status.Unimplemented, "compress type %d is not supported: send the request uncompressed", in.Header.Compress()),
			wire.Retry{Word: wire.RetryUnexecuted})
		return
	}
	if !srv.enter() {
		srv.refuse(in, status.Errorf(status.ResourceExhausted, "the server runs %s already, the most that it takes", plural(int(srv.opts.maxCalls), "call")),
			wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonLimit})
		return
	}
	ticket, decision := ic.service.admit(h.name, ic.peer, srv.rt.now())
	if decision.Verdict == limit.Refuse {
		srv.running.Add(-1)
		srv.inFlight.Add(-1)
		srv.refuse(in, limitError(decision), wire.Retry{Word: wire.RetryUnexecuted, After: decision.After, Reason: wire.ReasonLimit})
		return
	}
	in.Keep()
	srv.workers.run(&task{srv: srv, in: in, conn: ic, handler: h, ticket: ticket})
}

// fewAnswers is how many answers may at least be on their way out, whatever the
// bound on calls: goroutines that have answered still need a moment to end.
const fewAnswers = 256

// enter counts a call, if there is room for it. A call runs until its handler
// has returned, and is in flight until its answer has been written, which a slow
// peer can hold up: hence room for as many again, and for some where few run.
func (s *Server) enter() bool {
	running, inFlight := s.running.Add(1), s.inFlight.Add(1)
	if running > s.opts.maxCalls || inFlight > s.opts.maxCalls+max(s.opts.maxCalls, fewAnswers) {
		s.running.Add(-1)
		s.inFlight.Add(-1)
		return false
	}
	return true
}

// Closed is called when a connection is over.
func (s *serverHandler) Closed(c *transport.ServerConn, reason error) { s.server().detach(c, reason) }

func limitError(d limit.Decision) *status.Error {
	return status.Errorf(status.ResourceExhausted, "refused by limit %q of %s %s/%s", d.Limit.Name, d.Limit.Source.Kind, d.Limit.Source.Namespace, d.Limit.Source.Name)
}

// unknownMethod says what is not there, beginning as rpcx does, whose callers
// may look for it.
func (s *Server) unknownMethod(in *transport.Inbound, undeclared bool) *status.Error {
	switch {
	case undeclared:
		return status.Errorf(status.Unimplemented, "rpcx: can't find method %s: the RPCService does not declare it, and refuses what it does not declare", in.Method)
	case s.hasPath(in.Path):
		return status.Errorf(status.Unimplemented, "rpcx: can't find method %s", in.Method)
	default:
		return status.Errorf(status.Unimplemented, "rpcx: can't find service %s", in.Path)
	}
}

func (s *Server) refuse(in *transport.Inbound, e *status.Error, mark wire.Retry) {
	var peer Peer
	if ic, ok := in.Conn.Attachment.(*inboundConn); ok {
		peer = ic.peer
	}
	s.noteRefused(in, peer, e, mark.Reason)
	in.Refuse(e, mark)
}

// noteRefused tells observer and log of a call that reaches no handler.
func (s *Server) noteRefused(in *transport.Inbound, peer Peer, e *status.Error, reason string) {
	s.rt.observer.Refused(RefusedEvent{Path: string(in.Path), Method: string(in.Method), Code: e.Code(), Reason: reason})
	if log := s.rt.log.V(1); log.Enabled() {
		log.Info("call refused", "path", loggable(string(in.Path)), "method", loggable(string(in.Method)), "caller", loggable(peer.Name), "peer", peer.Addr,
			"code", e.Code().String(), "reason", reason, "error", loggable(e.Message()))
	}
}

// maxLoggedText bounds what a peer can write into a line of the log. Bytes.
const maxLoggedText = 256

// loggable cuts what comes from a peer.
func loggable(s string) string {
	if len(s) <= maxLoggedText {
		return s
	}
	return strings.ToValidUTF8(s[:maxLoggedText], "") + " [cut]"
}

// serve runs the handler and answers.
func (t *task) serve() {
	answered := false
	defer func() {
		if !answered { // the handler ended its goroutine, as runtime.Goexit does
			t.fail(status.Errorf(status.Internal, "handler of %s did not return", t.handler.name), wire.Retry{Word: wire.RetryExecuted})
		}
		t.srv.inFlight.Add(-1)
	}()
	t.begin()
	reply, e, mark := t.run()
	answered = true
	switch {
	case e == nil:
		t.respond(reply)
	case mark.Reason == reasonDeadline:
		t.srv.noteRefused(t.in, t.conn.peer, e, reasonDeadline)
		t.in.Fail(e, wire.Retry{Word: mark.Word}, nil, nil)
	default:
		t.fail(e, mark)
	}
}

// reasonDeadline is told to the observer and not to the caller, who knows.
const reasonDeadline = "deadline"

// begin fills in the handler's context.
func (t *task) begin() {
	ctx := &t.ctx
	ctx.Context, ctx.conn = t.srv.values, t.conn
	ctx.call = ServerCall{Method: t.handler.name, Peer: t.conn.peer}
	ctx.call.self = &ctx.call
	ctx.meta = append(wire.Meta(ctx.metaStore[:0]), t.in.Meta...)
	if len(t.srv.opts.interceptors) > 0 {
		ctx.metadata() // they read the field
	}
	if t.in.Timeout > 0 {
		ctx.deadline = t.in.Received.Add(t.in.Timeout)
	}
}

// run decodes the argument and runs interceptors and handler. When it returns,
// the handler's context has ended and the call counts for no limit any more: its
// caller may send the next one as soon as it sees the answer.
func (t *task) run() (reply any, e *status.Error, mark wire.Retry) {
	ctx := &t.ctx
	defer t.release()
	if !ctx.deadline.IsZero() {
		if !time.Now().Before(ctx.deadline) {
			e = status.New(status.DeadlineExceeded, "the deadline passed before the handler could start")
			return nil, e, wire.Retry{Word: wire.RetryUnexecuted, Reason: reasonDeadline}
		}
		ctx.timer.Init(ctx.expire)
		t.srv.rt.wheel.Schedule(&ctx.timer, ctx.deadline)
	}
	if err := t.in.OnEnd(ctx); err != nil {
		ctx.end(context.Canceled)
	}
	arg, err := t.handler.decode(t.srv.rt.codecs, codec.Type(t.in.Header.Serialize()), t.in.Payload)
	if err != nil {
		return nil, decodeError(err), wire.Retry{Word: wire.RetryUnexecuted}
	}
	ctx.call.Arg = arg
	if reply, err = t.invoke(ctx); err != nil {
		return nil, status.Convert(err), t.markOf(err)
	}
	return reply, nil, wire.Retry{}
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
func (t *task) invoke(ctx *callContext) (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			t.srv.rt.log.Error(fmt.Errorf("%v", p), "handler panicked", "method", t.handler.name, "peer", t.conn.peer.Name, "stack", string(debug.Stack()))
			reply, err = nil, status.Errorf(status.Internal, "handler of %s panicked; its server's log says more", t.handler.name)
		}
	}()
	return t.handler.invoke(ctx, &ctx.call)
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

func (t *task) fail(e *status.Error, mark wire.Retry) {
	if msg := e.Message(); len(msg) > maxErrorText {
		e = status.New(e.Code(), strings.ToValidUTF8(msg[:maxErrorText], "")+" [cut]").WithDetails(e.Details())
	}
	t.observe(e.Code())
	t.in.Fail(e, mark, t.ctx.reply.take(), nil)
}

func (t *task) respond(reply any) {
	if reply == nil {
		t.fail(errNilReply, wire.Retry{Word: wire.RetryExecuted})
		return
	}
	if raw, ok := reply.([]byte); ok && t.handler.raw {
		t.observe(status.OK)
		t.in.Respond(t.ctx.reply.take(), raw, wire.CompressNone)
		return
	}
	buf := encodeBuffer()
	payload, err := t.srv.rt.codecs.Append(codec.Type(t.in.Header.Serialize()), buf.B, reply)
	if err != nil {
		buf.Free()
		t.fail(status.Errorf(status.Internal, "the reply of %s could not be encoded: %w", t.handler.name, err), wire.Retry{Word: wire.RetryExecuted})
		return
	}
	buf.B = payload
	t.observe(status.OK)
	t.in.Respond(t.ctx.reply.take(), payload, wire.CompressNone)
	freeEncoded(buf)
}

func (t *task) observe(code status.Code) {
	t.srv.rt.observer.Served(ServedEvent{
		Method: t.handler.name, Caller: t.conn.peer.Name, Code: code, Duration: time.Since(t.in.Received),
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
