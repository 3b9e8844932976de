// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bufio"
	"context"
	"errors"
	"maps"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// lines is another protocol: each line that begins with L is an argument of
// Raw.Echo, and is answered by a line.
type lines struct {
	serveErr error // what Serve returns at once, if set

	mu       sync.Mutex
	ln       net.Listener
	conns    map[net.Conn]struct{}
	all      sync.WaitGroup
	accepted chan net.Conn
	shut     atomic.Int32
}

func newLines() *lines {
	return &lines{conns: map[net.Conn]struct{}{}, accepted: make(chan net.Conn, 100)}
}

func (l *lines) Match(first byte) bool { return first == 'L' }

func (l *lines) Serve(ln net.Listener, srv *Server) error {
	if l.serveErr != nil {
		return l.serveErr
	}
	l.mu.Lock()
	l.ln = ln
	l.mu.Unlock()
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.conns[nc] = struct{}{}
		l.mu.Unlock()
		l.accepted <- nc
		l.all.Go(func() { l.serve(nc, srv) })
	}
}

func (l *lines) serve(nc net.Conn, srv *Server) {
	defer func() {
		l.mu.Lock()
		delete(l.conns, nc)
		l.mu.Unlock()
		_ = nc.Close()
	}()
	in := bufio.NewReader(nc)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		r := srv.Do(context.Background(), &ForeignCall{Path: "Raw", Method: "Echo", Payload: []byte(line), Peer: Peer{Addr: nc.RemoteAddr().String()}})
		if r.Err != nil {
			return
		}
		_, _ = nc.Write(r.Payload)
	}
}

// Shutdown ends reading, so what was read is answered.
func (l *lines) Shutdown(ctx context.Context) error {
	l.shut.Add(1)
	l.mu.Lock()
	if l.ln != nil {
		_ = l.ln.Close()
	}
	for nc := range maps.Keys(l.conns) {
		_ = nc.SetReadDeadline(time.Unix(1, 0))
	}
	l.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		l.all.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		for nc := range l.conns {
			_ = nc.Close()
		}
		l.mu.Unlock()
		<-ended
		return ctx.Err()
	}
}

// until waits for what becomes true without a word.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: never", what)
		}
	}
}

// serving waits until the server takes foreign calls.
func serving(t testing.TB, srv *Server) {
	t.Helper()
	until(t, "the server serves", func() bool {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		return srv.state == serverServing
	})
}

func TestForeignCalls(t *testing.T) {
	rec := new(recorder)
	rt := newRuntime(t, WithObserver(rec), WithWireLimits(wire.Limits{FrameBytes: 8 << 10, NameBytes: 64}))
	idle := rt.NewServer()
	var seen ServerCall
	var incoming Metadata
	_, srv := serveWith(t, rt, func(s *Server) {
		Handle(s, "Arith.Mul", mul)
		HandleRaw(s, "Raw.Echo", func(ctx context.Context, b []byte) ([]byte, error) {
			incoming = IncomingMetadata(ctx)
			SetReplyMetadata(ctx, "back", "home")
			return b, nil
		})
		HandleRaw(s, "Raw.Fail", func(context.Context, []byte) ([]byte, error) {
			return nil, status.New(status.NotFound, "boom").WithRetryAfter(time.Second).WithDetails([]byte("d"))
		})
	}, ServerIntercept(func(next ServerInvoker) ServerInvoker {
		return func(ctx context.Context, call *ServerCall) (any, error) {
			seen.Method, seen.Peer = call.Method, call.Peer
			return next(ctx, call)
		}
	}))
	serving(t, srv)

	peer := Peer{Name: "shop/web", Addr: "1.2.3.4:5"}
	r := srv.Do(t.Context(), &ForeignCall{Path: "Arith", Method: "Mul", Codec: codec.TypeJSON, Payload: []byte(`{"A":6,"B":7}`), Peer: peer})
	if r.Err != nil || string(r.Payload) != `{"C":42}` || seen.Method != "Arith.Mul" || seen.Peer != peer {
		t.Errorf("got %+v, %v from %+v", r, r.Err, seen.Peer)
	}
	// docs/wire-protocol.md §5: keys of ours end at the hop, rpcx's are kept.
	r = srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Echo", Payload: []byte("x"), Token: "t2", Metadata: Metadata{"k": "v", "__fl_code": "1", wire.KeyAuth: "t1"}})
	if r.Err != nil || string(r.Payload) != "x" || r.Metadata["back"] != "home" || len(incoming) != 2 || incoming["k"] != "v" || incoming[wire.KeyAuth] != "t2" {
		t.Errorf("got %+v; the handler saw %v", r, incoming)
	}
	r = srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Fail"})
	if e := wantFate(t, r.Err, status.NotFound, status.FateExecuted); r.Unexecuted || e.RetryAfter() != time.Second || string(e.Details()) != "d" || e.Message() != "boom" {
		t.Errorf("got %+v", r)
	}
	for name, tc := range map[string]struct {
		call ForeignCall
		code status.Code
	}{
		"unknown path":          {ForeignCall{Path: "Nope", Method: "Mul"}, status.Unimplemented},
		"unknown method":        {ForeignCall{Path: "Arith", Method: "Nope"}, status.Unimplemented},
		"the protocol's path":   {ForeignCall{Path: "__fl", Method: "drain"}, status.Unimplemented},
		"below it":              {ForeignCall{Path: "__fl.registry", Method: "x"}, status.Unimplemented},
		"undecodable":           {ForeignCall{Path: "Arith", Method: "Mul", Codec: codec.TypeJSON, Payload: []byte("{")}, status.InvalidArgument},
		"unknown codec":         {ForeignCall{Path: "Arith", Method: "Mul", Codec: 9}, status.Unimplemented},
		"impossible codec":      {ForeignCall{Path: "Arith", Method: "Mul", Codec: 16}, status.Unimplemented},
		"unknown compressor":    {ForeignCall{Path: "Arith", Method: "Mul", Compress: 5}, status.Unimplemented},
		"impossible compressor": {ForeignCall{Path: "Arith", Method: "Mul", Compress: 8}, status.Unimplemented},
		"frame too large":       {ForeignCall{Path: "Raw", Method: "Echo", Payload: make([]byte, 8<<10)}, status.ResourceExhausted},
		"path too long":         {ForeignCall{Path: strings.Repeat("p", 65), Method: "x"}, status.ResourceExhausted},
		"deadline spent":        {ForeignCall{Path: "Raw", Method: "Echo", Timeout: -1}, status.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			seen.Method = ""
			r := srv.Do(t.Context(), &tc.call)
			wantFate(t, r.Err, tc.code, status.FateUnexecuted)
			if !r.Unexecuted || seen.Method != "" {
				t.Errorf("unexecuted %v, seen %q", r.Unexecuted, seen.Method)
			}
		})
	}
	if r := idle.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Echo"}); status.CodeOf(r.Err) != status.Unavailable || !r.Unexecuted {
		t.Errorf("before Serve: %+v", r)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if r := srv.Do(ended, &ForeignCall{Path: "Raw", Method: "Echo"}); status.CodeOf(r.Err) != status.Canceled || !r.Unexecuted {
		t.Errorf("of a context that has ended: %+v", r)
	}
	if st := srv.Stats(); st.Calls != 0 || st.RequestBytes != 0 {
		t.Errorf("left behind: %+v", st)
	}
}

// holding is a handler that tells of its start and waits to be let go.
type holding struct {
	began   chan context.Context
	letGo   chan struct{}
	stopped chan error
}

func newHolding() *holding {
	return &holding{make(chan context.Context, 100), make(chan struct{}), make(chan error, 100)}
}

// heed returns when let go, or when its context ends.
func (h *holding) heed(ctx context.Context, b []byte) ([]byte, error) {
	h.began <- ctx
	select {
	case <-h.letGo:
		return b, nil
	case <-ctx.Done():
		h.stopped <- ctx.Err()
		return nil, ctx.Err()
	}
}

// ignore returns when let go.
func (h *holding) ignore(ctx context.Context, b []byte) ([]byte, error) {
	h.began <- ctx
	<-h.letGo
	return b, ctx.Err()
}

func do(ctx context.Context, srv *Server, call *ForeignCall) <-chan *ForeignReply {
	ch := make(chan *ForeignReply, 1)
	go func() { ch <- srv.Do(ctx, call) }()
	return ch
}

func TestForeignCallEndsWithItsContext(t *testing.T) {
	rec := new(recorder)
	h := newHolding()
	_, srv := serveWith(t, newRuntime(t, WithObserver(rec)), func(s *Server) {
		HandleRaw(s, "Raw.Heed", h.heed)
		HandleRaw(s, "Raw.Ignore", h.ignore)
	})
	serving(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heeding, ignoring := do(ctx, srv, &ForeignCall{Path: "Raw", Method: "Heed"}), do(ctx, srv, &ForeignCall{Path: "Raw", Method: "Ignore"})
	receive(t, h.began, "the first call")
	receive(t, h.began, "the second call")
	cancel()
	if err := receive(t, h.stopped, "the handler's end"); !errors.Is(err, context.Canceled) {
		t.Errorf("its context ended by %v", err)
	}
	if r := receive(t, heeding, "the reply"); status.CodeOf(r.Err) != status.Canceled || r.Unexecuted {
		t.Errorf("got %+v", r)
	}
	select {
	case r := <-ignoring:
		t.Errorf("Do returned %+v before the handler did", r)
	default:
	}
	close(h.letGo)
	receive(t, ignoring, "the reply of the handler that heeds nothing")

	// Whatever comes first counts: the call's own timeout, or the context's.
	short, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	for _, tc := range []struct {
		ctx     context.Context
		timeout time.Duration
		want    time.Duration
	}{{t.Context(), time.Hour, time.Hour}, {short, time.Hour, time.Minute}, {short, time.Second, time.Second}, {short, 0, time.Minute}} {
		timed := do(tc.ctx, srv, &ForeignCall{Path: "Raw", Method: "Heed", Timeout: tc.timeout})
		if by, ok := receive(t, h.began, "the call").Deadline(); !ok || time.Until(by) > tc.want {
			t.Errorf("the handler has %s left, want %s", time.Until(by), tc.want)
		}
		receive(t, timed, "the reply")
	}
	h.letGo = make(chan struct{})
	timed := do(t.Context(), srv, &ForeignCall{Path: "Raw", Method: "Heed", Timeout: time.Second})
	receive(t, h.began, "the call")
	if r := receive(t, timed, "the reply"); status.CodeOf(r.Err) != status.DeadlineExceeded || r.Unexecuted {
		t.Errorf("got %+v", r)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, e := range rec.served[:2] {
		if e.Code != status.Canceled {
			t.Errorf("observed %+v, want Canceled", e)
		}
	}
}

func TestForeignOnewayIsTakenOrRefused(t *testing.T) {
	h := newHolding()
	srv := newRuntime(t).NewServer(MaxConcurrentCalls(1))
	HandleRaw(srv, "Raw.Hold", h.heed)
	stop := start(t, srv, listen(t, ""))
	serving(t, srv)
	payload := []byte("mine")
	ctx, cancel := context.WithCancel(t.Context())
	r := receive(t, do(ctx, srv, &ForeignCall{Path: "Raw", Method: "Hold", Oneway: true, Payload: payload}), "the return of Do")
	cancel()
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	copy(payload, "gone")
	handlers := receive(t, h.began, "the handler")
	if r := srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Hold", Oneway: true}); status.CodeOf(r.Err) != status.ResourceExhausted || !r.Unexecuted {
		t.Errorf("over the bound: %+v", r)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	until(t, "the drain waits for the call alone", func() bool {
		srv.loose.mu.Lock()
		defer srv.loose.mu.Unlock()
		return srv.loose.settled != nil
	})
	if handlers.Err() != nil {
		t.Error("the end of Do's context, or the drain, ended the handler of a oneway call")
	}
	close(h.letGo)
	if err := receive(t, stopped, "the end of the drain"); err != nil {
		t.Error(err)
	}
	if r := srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Hold"}); status.CodeOf(r.Err) != status.Unavailable || !r.Unexecuted {
		t.Errorf("after the drain: %+v", r)
	}
}

func TestDrainCutsForeignCalls(t *testing.T) {
	h := newHolding()
	defer close(h.letGo)
	srv := newRuntime(t).NewServer(DrainTimeout(patience))
	HandleRaw(srv, "Raw.Hold", h.heed)
	start(t, srv, listen(t, ""))
	serving(t, srv)
	held := do(t.Context(), srv, &ForeignCall{Path: "Raw", Method: "Hold"})
	receive(t, h.began, "the handler")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.Drain(ctx); err == nil {
		t.Error("a drain that was cut reports success")
	}
	if r := receive(t, held, "the reply"); status.CodeOf(r.Err) != status.Canceled {
		t.Errorf("got %+v", r)
	}
}

func TestBytesOfRequestsAreBoundedPerServer(t *testing.T) {
	h := newHolding()
	addr, srv := serveWith(t, newRuntime(t), func(s *Server) {
		HandleRaw(s, "Raw.Hold", h.ignore)
		HandleRaw(s, "Raw.Echo", echoRaw)
	}, MaxRequestBytes(10<<10))
	serving(t, srv)
	// docs/wire-protocol.md §4
	held := dialRaw(t, addr)
	held.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Raw", "Hold", strings.Repeat("x", 8<<10)))
	receive(t, h.began, "the handler")
	if st := srv.Stats(); st.RequestBytes != 8<<10 || st.MaxRequestBytes != 10<<10 || st.Calls != 1 || st.Connections != 1 {
		t.Errorf("stats %+v", st)
	}
	other := dialRaw(t, addr)
	other.send(requestBytes(wire.RequestHeader(2, wire.SerializeRaw, false), "Raw", "Echo", strings.Repeat("y", 3<<10)))
	if f := other.frame(); f.Status() != wire.StatusError {
		t.Error("a request over the server's bound was served")
	}
	r := srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Echo", Payload: make([]byte, 3<<10)})
	wantFate(t, r.Err, status.ResourceExhausted, status.FateUnexecuted)
	other.send(requestBytes(wire.RequestHeader(3, wire.SerializeRaw, false), "Raw", "Echo", "y"))
	if f := other.frame(); f.Status() != wire.StatusNormal {
		t.Error("a small request beside it was refused")
	}
	close(h.letGo)
	held.frame()
	until(t, "the room is given back", func() bool { return srv.Stats().RequestBytes == 0 })
	r = srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Echo", Payload: make([]byte, 3<<10)})
	if r.Err != nil {
		t.Errorf("the room was not given back: %v", r.Err)
	}
}

// docs/wire-protocol.md §8: what was read is finished.
func TestOnewayCallsOutliveTheirConnection(t *testing.T) {
	h := newHolding()
	srv := newRuntime(t).NewServer()
	HandleRaw(srv, "Raw.Hold", h.heed)
	ln := listen(t, "")
	stop := start(t, srv, ln)
	p := dialRaw(t, ln.Addr().String())
	p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, true), "Raw", "Hold", ""))
	ctx := receive(t, h.began, "the handler")
	_ = p.Close()
	until(t, "the connection is over", func() bool { return srv.Stats().Connections == 0 })
	if ctx.Err() != nil {
		t.Error("the caller hung up, and its oneway call was ended")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	until(t, "the drain waits for the call alone", func() bool {
		srv.loose.mu.Lock()
		defer srv.loose.mu.Unlock()
		return srv.loose.settled != nil
	})
	close(h.letGo)
	if err := receive(t, stopped, "the end of the drain"); err != nil || len(h.stopped) != 0 {
		t.Errorf("%v; ended %d times", err, len(h.stopped))
	}
}

func TestDrainCutsOnewayCalls(t *testing.T) {
	for name, hangsUp := range map[string]bool{"of a caller that is there": false, "of one that hung up": true} {
		t.Run(name, func(t *testing.T) {
			h := newHolding()
			srv := newRuntime(t).NewServer()
			HandleRaw(srv, "Raw.Hold", h.heed)
			ln := listen(t, "")
			start(t, srv, ln)
			p := dialRaw(t, ln.Addr().String())
			p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, true), "Raw", "Hold", ""))
			receive(t, h.began, "the handler")
			if hangsUp {
				_ = p.Close()
				until(t, "the connection is over", func() bool { return srv.Stats().Connections == 0 })
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := srv.Drain(ctx); err == nil {
				t.Error("a drain that was cut reports success")
			}
			receive(t, h.stopped, "the handler's end")
		})
	}
}
