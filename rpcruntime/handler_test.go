// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"maps"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func TestPanickingHandlerTellsThePeerNothing(t *testing.T) {
	logged := make(chan string, 10)
	rt := newRuntime(t, WithLogger(funcr.New(func(_, args string) { logged <- args }, funcr.Options{})))
	addr, _ := serveWith(t, rt, func(s *Server) {
		HandleRaw(s, "Bad.Panic", func(_ context.Context, b []byte) ([]byte, error) { panic("secret " + string(b)) })
		HandleRaw(s, "Bad.Goexit", func(context.Context, []byte) ([]byte, error) {
			runtime.Goexit()
			return nil, nil
		})
		HandleRaw(s, "Raw.Echo", echoRaw)
	})
	p := dialRaw(t, addr)
	for seq, method := range []string{"Panic", "Goexit"} {
		p.send(requestBytes(wire.RequestHeader(uint64(seq), wire.SerializeRaw, false), "Bad", method, "argument"))
		b, err := p.bytes()
		if err != nil {
			t.Fatal(err)
		}
		for _, leak := range []string{"secret", "argument", "goroutine", ".go:"} {
			if strings.Contains(string(b), leak) {
				t.Errorf("%s: the answer has %q: %q", method, leak, b)
			}
		}
	}
	for !strings.Contains(receive(t, logged, "the log of the panic"), "secret") {
	}
	c := newRuntime(t).NewClient("bad", Endpoints(addr))
	for _, method := range []string{"Bad.Panic", "Bad.Goexit"} {
		_, err := Call[[]byte](t.Context(), c, method, nil)
		wantFate(t, err, status.Internal, status.FateExecuted)
	}
	if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

type legacy struct{}

func (legacy) Mul(_ context.Context, a *mulArgs, r *mulReply) error {
	r.C = a.A * a.B
	return nil
}

func (legacy) ByValue(_ context.Context, a mulArgs, r *mulReply) error {
	r.C = a.A + a.B
	return nil
}

func (legacy) Fail(context.Context, *mulArgs, *mulReply) error {
	return status.New(status.NotFound, "nothing there")
}

func (legacy) Close() error { return nil }

type misfit struct{}

func (misfit) Almost(context.Context, *mulArgs, mulReply) error { return nil }

func TestRegister(t *testing.T) {
	c := pair(t, func(s *Server) {
		if err := s.Register(legacy{}); err != nil {
			t.Error(err)
		}
		if err := s.RegisterName("Old", &legacy{}); err != nil {
			t.Error(err)
		}
		if err := s.Register(legacy{}); err == nil {
			t.Error("registered twice")
		}
		if err := s.Register(nil); err == nil {
			t.Error("registered nil")
		}
		if err := s.Register(misfit{}); err == nil || !strings.Contains(err.Error(), "Almost") {
			t.Errorf("the method that does not fit is not named: %v", err)
		}
		if err := s.RegisterName("__fl", legacy{}); err == nil {
			t.Error("registered under a path of the protocol")
		}
	})
	for method, want := range map[string]int{"legacy.Mul": 42, "Old.Mul": 42, "legacy.ByValue": 13} {
		if r, err := Call[mulReply](t.Context(), c, method, &mulArgs{6, 7}); err != nil || r.C != want {
			t.Errorf("%s: %v, %v", method, r, err)
		}
	}
	_, err := Call[mulReply](t.Context(), c, "legacy.Fail", nil)
	wantFate(t, err, status.NotFound, status.FateExecuted)
	_, err = Call[mulReply](t.Context(), c, "legacy.Close", nil)
	wantCode(t, err, status.Unimplemented)
}

func TestMetadataBothWays(t *testing.T) {
	got := make(chan Metadata, 1)
	c := pair(t, func(s *Server) {
		HandleRaw(s, "Meta.Data", func(ctx context.Context, b []byte) ([]byte, error) {
			if peer, ok := PeerOf(ctx); !ok || peer.Addr == "" {
				t.Errorf("peer %v, %v", peer, ok)
			}
			if SetReplyMetadata(ctx, "__fl_code", "1") {
				t.Error("a handler may set a key of the protocol")
			}
			SetReplyMetadata(ctx, "answer", "42")
			got <- IncomingMetadata(ctx)
			if len(b) > 0 {
				return nil, errors.New("failed")
			}
			return nil, nil
		})
	})
	ctx := WithMetadata(WithMetadata(t.Context(), Metadata{"a": "1", "b": "1"}), Metadata{"b": "2"})
	for _, payload := range [][]byte{nil, []byte("fail")} {
		var md Metadata
		_, err := Call[[]byte](ctx, c, "Meta.Data", payload, ReplyMetadata(&md))
		if (err != nil) != (payload != nil) {
			t.Fatal(err)
		}
		if want := (Metadata{"answer": "42"}); !maps.Equal(md, want) {
			t.Errorf("the caller got %v, want %v", md, want)
		}
		in := <-got
		if in["__ServerTimeout"] == "" {
			t.Error("rpcx's key is missing")
		}
		delete(in, "__ServerTimeout")
		if want := (Metadata{"a": "1", "b": "2"}); !maps.Equal(in, want) {
			t.Errorf("the handler got %v, want %v", in, want)
		}
	}
	_, err := Call[[]byte](WithMetadata(t.Context(), Metadata{"__AUTH": "x"}), c, "Meta.Data", nil)
	wantFate(t, err, status.InvalidArgument, status.FateUnexecuted)
	if len(got) != 0 {
		t.Error("the call was sent all the same")
	}
	if IncomingMetadata(t.Context()) != nil || SetReplyMetadata(t.Context(), "a", "b") {
		t.Error("metadata outside of a handler")
	}
}

// A handler may keep its context and what it got, and use it when the request's
// memory is long somebody else's.
func TestWhatAHandlerKeepsStaysAsItWas(t *testing.T) {
	contexts := make(chan context.Context, 1)
	payloads := make(chan []byte, 1)
	c := pair(t, func(s *Server) {
		HandleRaw(s, "Keep.It", func(ctx context.Context, b []byte) ([]byte, error) {
			if string(b) == "first payload" {
				contexts <- ctx
				payloads <- b
			}
			return b, nil
		})
	})
	if _, err := Call[[]byte](t.Context(), c, "Keep.It", nil); err != nil { // this one carries the announcement
		t.Fatal(err)
	}
	long := strings.Repeat("v", 200)
	if _, err := Call[[]byte](WithMetadata(t.Context(), Metadata{"first": long}), c, "Keep.It", []byte("first payload")); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := Call[[]byte](WithMetadata(t.Context(), Metadata{"other": strings.Repeat("w", 200)}), c, "Keep.It", []byte("other payload")); err != nil {
			t.Fatal(err)
		}
	}
	if md := IncomingMetadata(<-contexts); md["first"] != long || md["other"] != "" {
		t.Errorf("metadata changed: %v", md)
	}
	if b := <-payloads; string(b) != "first payload" {
		t.Errorf("payload changed: %q", b)
	}
}

type valueKey struct{}

func TestHandlersContext(t *testing.T) {
	rt := newRuntime(t)
	contexts := make(chan context.Context, 1)
	release := make(chan struct{})
	srv := rt.NewServer()
	HandleRaw(srv, "Ctx.Give", func(ctx context.Context, _ []byte) ([]byte, error) {
		contexts <- ctx
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	})
	ln := listen(t, "")
	serveCtx, cancel := context.WithCancel(context.WithValue(context.Background(), valueKey{}, "value"))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(serveCtx, ln) }()

	t.Run("values, deadline and end", func(t *testing.T) {
		c := rt.NewClient("ctx", Endpoints(ln.Addr().String()), FixedPolicy(policy.CallFields{Timeout: ptr(5 * time.Second)}))
		pending := Go[[]byte](t.Context(), c, "Ctx.Give", nil)
		ctx := receive(t, contexts, "the handler's context")
		if ctx.Value(valueKey{}) != "value" {
			t.Error("the values of Serve's context are missing")
		}
		if d, ok := ctx.Deadline(); !ok || time.Until(d) > 5*time.Second || time.Until(d) < time.Second {
			t.Errorf("deadline in %s, %v", time.Until(d), ok)
		}
		derived, stop := context.WithCancel(ctx)
		defer stop()
		if ctx.Err() != nil || derived.Err() != nil {
			t.Error("ended early")
		}
		release <- struct{}{}
		if _, err := pending.Result(); err != nil {
			t.Error(err)
		}
		receive(t, ctx.Done(), "the end of the context after the handler returned")
		receive(t, derived.Done(), "the end of the derived context")
		if !errors.Is(derived.Err(), context.Canceled) {
			t.Error(derived.Err())
		}
		late, stop := context.WithCancel(ctx)
		defer stop()
		receive(t, late.Done(), "the end of a context derived afterwards")
	})
	t.Run("its deadline", func(t *testing.T) {
		p := dialRaw(t, ln.Addr().String())
		p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Ctx", "Give", "", "__ServerTimeout", "20"))
		ctx := receive(t, contexts, "the handler's context")
		derived, stop := context.WithCancel(ctx)
		defer stop()
		receive(t, derived.Done(), "the deadline")
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) || !errors.Is(derived.Err(), context.DeadlineExceeded) {
			t.Errorf("%v, %v", ctx.Err(), derived.Err())
		}
		p.frame()
	})
	t.Run("its connection", func(t *testing.T) {
		p := dialRaw(t, ln.Addr().String())
		p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Ctx", "Give", ""))
		ctx := receive(t, contexts, "the handler's context")
		if _, ok := ctx.Deadline(); ok {
			t.Error("a deadline that nobody set")
		}
		_ = p.Close()
		receive(t, ctx.Done(), "the end with the connection")
		if !errors.Is(ctx.Err(), context.Canceled) {
			t.Error(ctx.Err())
		}
	})
	t.Run("not with Serve's", func(t *testing.T) {
		p := dialRaw(t, ln.Addr().String())
		p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Ctx", "Give", ""))
		ctx := receive(t, contexts, "the handler's context")
		cancel() // starts the drain
		p.wantStillOpen()
		if ctx.Err() != nil {
			t.Error("the end of Serve's context ended the handler's")
		}
		close(release)
		if p.frame().Status() != wire.StatusNormal {
			t.Error("the call failed")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// wantStillOpen fails if the connection ends within a moment.
func (p rawPeer) wantStillOpen() {
	p.t.Helper()
	_ = p.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	defer func() { _ = p.SetDeadline(time.Now().Add(patience)) }()
	if _, err := p.bytes(); err == nil || !errors.As(err, new(net.Error)) {
		p.t.Errorf("want an open connection and nothing on it, got %v", err)
	}
}

func TestDerivedContextsCostNoGoroutine(t *testing.T) {
	c := pair(t, func(s *Server) {
		HandleRaw(s, "Ctx.Derive", func(ctx context.Context, _ []byte) ([]byte, error) {
			before := runtime.NumGoroutine()
			for range 100 {
				derived, cancel := context.WithCancel(ctx)
				defer cancel()
				_, cancel = context.WithTimeout(derived, time.Hour)
				defer cancel()
			}
			if after := runtime.NumGoroutine(); after > before+20 {
				t.Errorf("%d goroutines before, %d after", before, after)
			}
			return nil, nil
		})
	})
	if _, err := Call[[]byte](t.Context(), c, "Ctx.Derive", nil); err != nil {
		t.Error(err)
	}
}

func TestInterceptorsRunInOrderOnBothSides(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	clientSide := func(name string) ClientInterceptor {
		return func(next ClientInvoker) ClientInvoker {
			return func(ctx context.Context, call *ClientCall) error {
				note(name + ">")
				err := next(ctx, call)
				note("<" + name)
				if call.Method != "Raw.Echo" || call.Service != "raw" || call.Attempts != 1 || call.ReplyMetadata["who"] != "s2" {
					t.Errorf("%s sees %+v", name, call)
				}
				return err
			}
		}
	}
	serverSide := func(name string) ServerInterceptor {
		return func(next ServerInvoker) ServerInvoker {
			return func(ctx context.Context, call *ServerCall) (any, error) {
				note(name + ">")
				SetReplyMetadata(ctx, "who", name)
				reply, err := next(ctx, call)
				note("<" + name)
				if b, ok := reply.([]byte); !ok || string(b) != "x" || call.Method != "Raw.Echo" || call.Metadata["k"] != "v" {
					t.Errorf("%s sees %+v, reply %T %v", name, call, reply, reply)
				}
				return reply, err
			}
		}
	}
	rt := newRuntime(t)
	addr, _ := serveWith(t, rt, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }, ServerIntercept(serverSide("s1"), serverSide("s2")))
	c := rt.NewClient("raw", Endpoints(addr), ClientIntercept(clientSide("c1")), ClientIntercept(clientSide("c2")))
	if _, err := Call[[]byte](WithMetadata(t.Context(), Metadata{"k": "v"}), c, "Raw.Echo", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if want := strings.Fields("c1> c2> s1> s2> <s2 <s1 <c2 <c1"); !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
}

func TestRefuseIsUnexecutedOnlyBeforeNext(t *testing.T) {
	no := errors.New("no")
	pass := func(next ServerInvoker) ServerInvoker { return next }
	outer := func(next ServerInvoker) ServerInvoker {
		return func(ctx context.Context, call *ServerCall) (any, error) { return next(ctx, call) }
	}
	refuse := func(ServerInvoker) ServerInvoker {
		return func(_ context.Context, call *ServerCall) (any, error) { return nil, call.Refuse(no) }
	}
	fail := func(ServerInvoker) ServerInvoker {
		return func(context.Context, *ServerCall) (any, error) { return nil, no }
	}
	refuseAfter := func(next ServerInvoker) ServerInvoker {
		return func(ctx context.Context, call *ServerCall) (any, error) {
			_, err := next(ctx, call)
			if err == nil {
				err = no
			}
			return nil, call.Refuse(err)
		}
	}
	refuseAndGoOn := func(next ServerInvoker) ServerInvoker {
		return func(ctx context.Context, call *ServerCall) (any, error) {
			_ = call.Refuse(no)
			_, _ = next(ctx, call)
			return nil, no
		}
	}
	ownCall := func(next ServerInvoker) ServerInvoker {
		return func(ctx context.Context, call *ServerCall) (any, error) {
			_, err := next(ctx, &ServerCall{Method: call.Method, Arg: call.Arg})
			return nil, err
		}
	}
	for name, tc := range map[string]struct {
		chain []ServerInterceptor
		fate  status.Fate
	}{
		"before next":                  {[]ServerInterceptor{refuse}, status.FateUnexecuted},
		"inner, before next":           {[]ServerInterceptor{pass, outer, refuse}, status.FateUnexecuted},
		"without Refuse":               {[]ServerInterceptor{fail}, status.FateExecuted},
		"after next":                   {[]ServerInterceptor{refuseAfter}, status.FateExecuted},
		"after an inner one failed":    {[]ServerInterceptor{refuseAfter, fail}, status.FateExecuted},
		"after an inner one refused":   {[]ServerInterceptor{refuseAfter, refuse}, status.FateUnexecuted},
		"before next, and on":          {[]ServerInterceptor{refuseAndGoOn}, status.FateExecuted},
		"handing on a call of its own": {[]ServerInterceptor{ownCall}, status.FateExecuted},
	} {
		t.Run(name, func(t *testing.T) {
			rt := newRuntime(t)
			addr, _ := serveWith(t, rt, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }, ServerIntercept(tc.chain...))
			_, err := Call[[]byte](t.Context(), rt.NewClient("raw", Endpoints(addr), FixedPolicy(generous(1))), "Raw.Echo", nil)
			if status.FateOf(err) != tc.fate || err == nil {
				t.Errorf("fate %s, want %s: %v", status.FateOf(err), tc.fate, err)
			}
		})
	}
}

// An error of a call that a handler made itself says never to those above, and
// is not unexecuted for them.
func TestErrorOfADownstreamCallIsMarkedNever(t *testing.T) {
	rt := newRuntime(t)
	inner := rt.NewClient("inner", Endpoints("127.0.0.1:1"))
	addr, _ := serveWith(t, rt, func(s *Server) {
		HandleRaw(s, "Outer.Call", func(ctx context.Context, _ []byte) ([]byte, error) {
			r, err := Call[[]byte](ctx, inner, "Inner.Call", nil)
			if err != nil {
				return nil, err
			}
			return *r, nil
		})
	})
	_, err := Call[[]byte](t.Context(), rt.NewClient("outer", Endpoints(addr), FixedPolicy(generous(3), "Outer.Call")), "Outer.Call", nil)
	if e := wantCode(t, err, status.Unavailable); e.Fate() == status.FateUnexecuted || !e.NoRetry() {
		t.Errorf("fate %s, never retry %v: %v", e.Fate(), e.NoRetry(), err)
	}
}
