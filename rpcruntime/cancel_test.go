// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/limit"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// announced makes a connection on which the extensions are spoken; seq 1 is used.
func announced(t testing.TB, addr string) rawPeer {
	t.Helper()
	p := dialRaw(t, addr)
	announcement := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, Features: []string{wire.FeatureDrain, wire.FeatureCancel}})
	p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Raw", "Nope", "", wire.KeyAnnounce, string(announcement)))
	for f := p.frame(); !f.Response(); f = p.frame() {
	}
	return p
}

func (p rawPeer) cancel(seq uint64) {
	p.t.Helper()
	p.send(requestBytes(wire.RequestHeader(0, wire.SerializeRaw, true), wire.ControlPath, wire.MethodCancel, string(wire.AppendCancel(nil, seq))))
}

// docs/wire-protocol.md §8
func TestCancelEndsTheHandlersContext(t *testing.T) {
	rec, log, h := new(recorder), new(logged), newHolding()
	addr, _ := serveWith(t, newRuntime(t, WithObserver(rec), log.at(1)), func(s *Server) {
		HandleRaw(s, "Raw.Hold", h.heed)
		echoServer(s)
	})
	p := announced(t, addr)
	for seq := range uint64(2) {
		p.send(requestBytes(wire.RequestHeader(seq+10, wire.SerializeRaw, false), "Raw", "Hold", ""))
		receive(t, h.began, "the handler")
	}
	p.cancel(99) // nobody's
	p.cancel(10)
	if err := receive(t, h.stopped, "the end of its context"); !errors.Is(err, context.Canceled) {
		t.Errorf("ended by %v", err)
	}
	until(t, "it is observed", func() bool { return len(rec.servedCodes()) == 1 })
	if code := rec.servedCodes()[0]; code != status.Canceled {
		t.Errorf("observed as %s", code)
	}
	if !log.has("call cancelled by its caller", "Raw.Hold") {
		t.Error("the log does not say so")
	}
	// Its answer is not sent; the other call, and the connection, are unharmed.
	p.send(requestBytes(wire.RequestHeader(20, wire.SerializeRaw, false), "Raw", "Echo", "x"))
	if f := p.frame(); f.Seq != 20 {
		t.Errorf("an answer to %d", f.Seq)
	}
	close(h.letGo)
	if f := p.frame(); f.Seq != 11 || f.Status() != wire.StatusNormal {
		t.Errorf("an answer to %d, status %d", f.Seq, f.Status())
	}
}

func (r *recorder) servedCodes() []status.Code {
	r.mu.Lock()
	defer r.mu.Unlock()
	var codes []status.Code
	for _, e := range r.served {
		codes = append(codes, e.Code)
	}
	return codes
}

// A handler that succeeds although its caller gave up has answered nobody.
func TestCancelCountsWhateverTheHandlerMakesOfIt(t *testing.T) {
	rec, h := new(recorder), newHolding()
	addr, _ := serveWith(t, newRuntime(t, WithObserver(rec)), func(s *Server) {
		HandleRaw(s, "Raw.Hold", func(ctx context.Context, b []byte) ([]byte, error) {
			_, err := h.heed(ctx, b)
			_ = err // it has done its work all the same
			return b, nil
		})
	})
	p := announced(t, addr)
	p.send(requestBytes(wire.RequestHeader(10, wire.SerializeRaw, false), "Raw", "Hold", ""))
	receive(t, h.began, "the handler")
	p.cancel(10)
	receive(t, h.stopped, "the end of its context")
	until(t, "it is observed", func() bool { return len(rec.servedCodes()) == 1 })
	if code := rec.servedCodes()[0]; code != status.Canceled {
		t.Errorf("observed as %s", code)
	}
	p.send(requestBytes(wire.HeartbeatHeader(30), "", "", "beat"))
	if f := p.frame(); f.Seq != 30 {
		t.Errorf("an answer to %d", f.Seq)
	}
}

// waitingTask is a request that was read and has no worker yet.
func waitingTask(t *testing.T, srv *Server, ran *atomic.Int32) (*task, <-chan transport.Answer) {
	t.Helper()
	answers := make(chan transport.Answer, 1)
	in := transport.NewInbound(wire.RequestHeader(1, wire.SerializeRaw, false), "Raw", "Echo", []byte("x"), func(a transport.Answer) { answers <- a })
	if !srv.enter() {
		t.Fatal("no room")
	}
	h := srv.lookup([]byte("Raw"), []byte("Echo"))
	if h == nil {
		HandleRaw(srv, "Raw.Echo", func(_ context.Context, b []byte) ([]byte, error) {
			ran.Add(1)
			return b, nil
		})
		h = srv.lookup([]byte("Raw"), []byte("Echo"))
	}
	return &task{srv: srv, in: in, conn: &inboundConn{srv: srv}, handler: h, ticket: limit.Ticket{}, peer: &Peer{}}, answers
}

func TestCancelBeforeTheHandlerStarts(t *testing.T) {
	rec := new(recorder)
	srv := newRuntime(t, WithObserver(rec)).NewServer()
	var ran atomic.Int32
	for name, end := range map[string]func(*callContext){
		"by the caller":             (*callContext).Cancelled,
		"by the connection":         func(c *callContext) { c.ConnEnded(errors.New("lost")) },
		"by the caller, and so on.": func(c *callContext) { c.Cancelled(); c.Cancelled(); c.ConnEnded(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			rec.mu.Lock()
			rec.refused, rec.served = nil, nil
			rec.mu.Unlock()
			task, answers := waitingTask(t, srv, &ran)
			end(&task.ctx)
			task.serve()
			a := receive(t, answers, "the end of the request")
			if ran.Load() != 0 || a.Err == nil || a.Err.Code() != status.Canceled || a.Mark.Word != wire.RetryUnexecuted {
				t.Errorf("ran %d times, answer %+v", ran.Load(), a)
			}
			if len(rec.refused) != 1 || rec.refused[0].Reason != reasonCancel || len(rec.served) != 0 {
				t.Errorf("refused %+v, served %+v", rec.refused, rec.served)
			}
			if srv.running.Load() != 0 || srv.inFlight.Load() != 0 {
				t.Error("it still counts")
			}
		})
	}
	task, answers := waitingTask(t, srv, &ran)
	task.serve()
	if a := receive(t, answers, "the answer"); a.Err != nil || ran.Load() != 1 {
		t.Errorf("one that nobody cancels: %+v", a)
	}
}

// docs/wire-protocol.md §8: what was cancelled counts until its handler returns.
func TestCancelledCallsCountUntilTheyReturn(t *testing.T) {
	h := newHolding()
	addr, srv := serveWith(t, newRuntime(t), func(s *Server) { HandleRaw(s, "Raw.Hold", h.ignore) }, MaxConcurrentCalls(1))
	p := announced(t, addr)
	p.send(requestBytes(wire.RequestHeader(10, wire.SerializeRaw, false), "Raw", "Hold", ""))
	ctx := receive(t, h.began, "the handler")
	p.cancel(10)
	<-ctx.Done()
	if n := srv.Stats().Calls; n != 1 {
		t.Errorf("%d calls run", n)
	}
	p.send(requestBytes(wire.RequestHeader(11, wire.SerializeRaw, false), "Raw", "Hold", ""))
	if f := p.frame(); f.Seq != 11 || f.Status() != wire.StatusError {
		t.Error("a server was given more than it takes by calls that were cancelled")
	}
	close(h.letGo)
	until(t, "none run", func() bool { return srv.Stats().Calls == 0 })
}
