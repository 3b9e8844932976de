// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/limit"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// inboundConn is what the server knows of one connection, or of one call that
// came by another way.
//
// Invariant: one of conn and foreign is nil.
type inboundConn struct {
	srv     *Server
	peer    Peer // never changes after the first request was read
	conn    *transport.ServerConn
	foreign *foreignCall

	// The rest belongs to the connection's reader.

	announced *wire.Announcement // the connection's; nil for a peer that announced nothing
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
	ic.announced = a
	if a.Caller != "" {
		ic.peer.Name, ic.peer.Source = a.Caller, PeerDeclared
	}
	srv.place(ic)
	if ic.wrong != nil {
		srv.rt.log.Info("connection refused: it is meant for another", "peer", ic.peer.Addr, "caller", loggable(ic.peer.Name), "reason", loggable(ic.wrong.Error()))
	}
}

// place finds the service that a connection is meant for, again whenever the
// server has learnt of one.
func (s *Server) place(ic *inboundConn) {
	services := s.services.Load()
	if services == ic.services {
		return
	}
	a := ic.announced
	if a == nil {
		a = new(wire.Announcement)
	}
	ic.services = services
	ic.service, ic.wrong = s.servedAs(a.To), s.checkIdentity(a)
}

// Request is called by the connection's reader: it must not block or write, and
// runs no user's code but the Authenticator. What it refuses has not been seen by
// anybody: unexecuted.
func (s *serverHandler) Request(in *transport.Inbound) {
	ic, ok := in.Conn.Attachment.(*inboundConn)
	if !ok {
		ic = s.server().attach(in.Conn)
	}
	s.server().dispatch(in, ic)
}

// dispatch takes a request from ic as far as to a worker, or refuses it.
func (s *Server) dispatch(in *transport.Inbound, ic *inboundConn) {
	s.place(ic)
	if ic.wrong != nil {
		s.rt.counters.WrongEndpoint.Add(1)
		s.refuse(in, ic.peer, status.New(status.Unavailable, ic.wrong.Error()), wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonWrongEndpoint}, wire.ReasonWrongEndpoint)
		return
	}
	peer := &ic.peer
	if s.opts.authenticator != nil {
		proven, refusal := s.authenticate(in, ic.peer)
		if refusal != nil {
			s.refuse(in, proven, refusal, wire.Retry{Word: wire.RetryUnexecuted, After: refusal.RetryAfter()}, reasonAuth)
			return
		}
		peer = &proven
	}
	h, refusal := s.find(in, ic)
	if refusal != nil {
		s.refuse(in, *peer, refusal, wire.Retry{Word: wire.RetryUnexecuted}, "")
		return
	}
	limited := wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonLimit}
	if !s.enter() {
		s.refuse(in, *peer, status.Errorf(status.ResourceExhausted, "the server runs %s already, the most that it takes", plural(int(s.opts.maxCalls), "call")), limited, wire.ReasonLimit)
		return
	}
	// The time of the read will do: limits are not finer than a batch of frames.
	ticket, decision := ic.service.admit(h.name, *peer, in.Received.Sub(s.rt.start))
	if decision.Verdict == limit.Refuse {
		s.running.Add(-1)
		s.inFlight.Add(-1)
		limited.After = decision.After
		s.refuse(in, *peer, limitError(decision), limited, wire.ReasonLimit)
		return
	}
	in.Keep()
	s.begin(&task{srv: s, in: in, conn: ic, handler: h, ticket: ticket, peer: peer})
}

// begin hands an admitted request to a worker. From now on the end of its
// connection, or of its caller's patience, is told to it.
func (s *Server) begin(t *task) {
	if f := t.conn.foreign; f != nil {
		f.take(&t.ctx)
		s.workers.run(t)
		return
	}
	var ender transport.Ender = &t.ctx
	if t.in.Header.Oneway() {
		ender = (*onewayCall)(t)
	}
	switch err := t.in.OnEnd(ender); {
	case errors.Is(err, transport.ErrCancelled):
		ender.Cancelled()
	case err != nil:
		ender.ConnEnded(err)
	}
	t.alone = t.in.Alone()
	if t.handler.pace.isQuick(t.alone) && t.in.RunHere(t) {
		s.workers.all.Add(1)
		return
	}
	s.workers.run(t)
}

// Run serves the call in the place of a worker, for the reader of its connection.
func (t *task) Run() {
	defer t.srv.workers.all.Done()
	t.here = true
	t.serve()
}

// find returns the handler of a request, or why there is none for it.
func (s *Server) find(in *transport.Inbound, ic *inboundConn) (*handler, *status.Error) {
	h := s.lookup(in.Path, in.Method)
	if h == nil || ic.service.refuses(h.name) {
		return nil, s.unknownMethod(in, h != nil)
	}
	if t := codec.CompressType(in.Header.Compress()); !s.rt.codecs.HasCompressor(t) {
		return nil, status.New(status.Unimplemented, (&codec.UnknownCompressError{Type: t}).Error())
	}
	return h, nil
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

// refuse refuses a request for the reader. The observer is told reason.
func (s *Server) refuse(in *transport.Inbound, peer Peer, e *status.Error, mark wire.Retry, reason string) {
	s.noteRefused(in, peer, e, reason)
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

// loggable is what comes from a peer, made fit for a line: cut, and with nothing
// in it that moves a terminal or looks like another line.
func loggable(s string) string {
	cut := ""
	if len(s) > maxLoggedText {
		s, cut = s[:maxLoggedText], " [cut]"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s) + cut
}
