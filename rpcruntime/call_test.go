// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

func TestTypedCallInEveryCodec(t *testing.T) {
	rt := newRuntime(t)
	addr, _ := serveWith(t, rt, func(s *Server) {
		Handle(s, "Arith.Mul", mul)
		Handle(s, "Text.Upper", func(_ context.Context, v *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
			return wrapperspb.String(strings.ToUpper(v.GetValue())), nil
		})
	})
	for name, opts := range map[string][]ClientOption{
		"default": nil, "json": {WithCodec(codec.TypeJSON)}, "msgpack": {WithCodec(codec.TypeMsgPack)},
	} {
		c := rt.NewClient("arith", append(opts, Endpoints(addr))...)
		if r, err := Call[mulReply](t.Context(), c, "Arith.Mul", &mulArgs{6, 7}); err != nil || r.C != 42 {
			t.Errorf("%s: %v, %v", name, r, err)
		}
		if r, err := Call[mulReply](t.Context(), c, "Arith.Mul", mulArgs{6, 7}); err != nil || r.C != 42 {
			t.Errorf("%s, by value: %v, %v", name, r, err)
		}
	}
	c := rt.NewClient("text", Endpoints(addr))
	if r, err := Call[wrapperspb.StringValue](t.Context(), c, "Text.Upper", wrapperspb.String("fair")); err != nil || r.GetValue() != "FAIR" {
		t.Errorf("protobuf: %v, %v", r, err)
	}
	if r, err := Call[wrapperspb.StringValue](t.Context(), c, "Text.Upper", nil); err != nil || r.GetValue() != "" {
		t.Errorf("protobuf without an argument: %v, %v", r, err)
	}
}

func TestWaysToCall(t *testing.T) {
	c := pair(t, func(s *Server) {
		Handle(s, "Arith.Mul", mul)
		HandleRaw(s, "Raw.Echo", echoRaw)
	})
	into := mulReply{C: -1}
	if err := CallInto(t.Context(), c, "Arith.Mul", &mulArgs{2, 3}, &into); err != nil || into.C != 6 {
		t.Errorf("CallInto: %v, %v", into, err)
	}
	if err := CallInto(t.Context(), c, "Arith.Mul", &mulArgs{2, 3}, nil); err != nil {
		t.Errorf("CallInto without a reply: %v", err)
	}
	if r, err := Call[mulReply](t.Context(), c, "Arith.Mul", nil); err != nil || r.C != 0 {
		t.Errorf("without an argument: %v, %v", r, err)
	}
	method := Method[mulArgs, mulReply]("Arith.Mul")
	if r, err := method.Call(t.Context(), c, &mulArgs{4, 5}); err != nil || r.C != 20 || method.Name() != "Arith.Mul" {
		t.Errorf("Method: %v, %v", r, err)
	}
	pending := Go[mulReply](t.Context(), c, "Arith.Mul", &mulArgs{5, 6})
	receive(t, pending.Done(), "the end of Go")
	if r, err := pending.Result(); err != nil || r.C != 30 {
		t.Errorf("Go: %v, %v", r, err)
	}
	for _, payload := range [][]byte{nil, {}, []byte("x"), bytes.Repeat([]byte("y"), 100<<10)} {
		if r, err := Call[[]byte](t.Context(), c, "Raw.Echo", payload); err != nil || !bytes.Equal(*r, payload) {
			t.Errorf("raw of %d bytes: %v", len(payload), err)
		}
	}
}

func TestPointerAndInterfaceTypesAreRefused(t *testing.T) {
	c := pair(t, func(s *Server) { Handle(s, "Arith.Mul", mul) })
	_, err := Call[*mulReply](t.Context(), c, "Arith.Mul", &mulArgs{1, 2})
	if e := wantFate(t, err, status.InvalidArgument, status.FateUnexecuted); !strings.Contains(e.Message(), "mulReply") {
		t.Errorf("the message does not name the type: %v", e)
	}
	_, err = Call[any](t.Context(), c, "Arith.Mul", &mulArgs{1, 2})
	wantCode(t, err, status.InvalidArgument)
	for name, f := range map[string]func(){
		"Method with a pointer": func() { Method[*mulArgs, mulReply]("A.B") },
		"Method without a dot":  func() { Method[mulArgs, mulReply]("Mul") },
		"Handle with a pointer": func() {
			Handle(newRuntime(t).NewServer(), "A.B", func(context.Context, **mulArgs) (*mulReply, error) { return nil, nil })
		},
		"Handle of a reserved path": func() { HandleRaw(newRuntime(t).NewServer(), "__fl.hello", echoRaw) },
		"Handle twice": func() {
			s := newRuntime(t).NewServer()
			HandleRaw(s, "A.B", echoRaw)
			HandleRaw(s, "A.B", echoRaw)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			f()
		}()
	}
}

func TestUnknownMethodsAreUnimplementedAndUnexecuted(t *testing.T) {
	c := pair(t, func(s *Server) { Handle(s, "Arith.Mul", mul) }, FixedPolicy(generous(3)))
	for method, text := range map[string]string{
		"Arith.Nope": "rpcx: can't find method Nope", "Nope.Mul": "rpcx: can't find service Nope",
	} {
		_, err := Call[mulReply](t.Context(), c, method, &mulArgs{1, 2})
		if e := wantFate(t, err, status.Unimplemented, status.FateUnexecuted); !strings.Contains(e.Message(), text) {
			t.Errorf("%s: %q does not have %q", method, e.Message(), text)
		}
	}
	for _, name := range []string{"", "Mul", "Arith.", ".Mul", "Ar ith.Mul"} {
		_, err := Call[mulReply](t.Context(), c, name, &mulArgs{1, 2})
		wantFate(t, err, status.InvalidArgument, status.FateUnexecuted)
	}
}

// What one call cannot encode or decode is that call's own trouble.
func TestBadValuesFailTheirCallOnly(t *testing.T) {
	served := make(chan struct{}, 10)
	rec := new(recorder)
	rt := newRuntime(t, WithObserver(rec))
	srv, ln := rt.NewServer(), listen(t, "")
	Handle(srv, "Arith.Mul", func(ctx context.Context, a *mulArgs) (*mulReply, error) {
		served <- struct{}{}
		return mul(ctx, a)
	})
	HandleRaw(srv, "Raw.Garbage", func(context.Context, []byte) ([]byte, error) { return []byte("\xc1\xc1"), nil })
	Handle(srv, "Bad.Reply", func(context.Context, *mulArgs) (*struct{ F func() }, error) {
		return &struct{ F func() }{func() {}}, nil
	})
	Handle(srv, "Bad.Nil", func(context.Context, *mulArgs) (*mulReply, error) { return nil, nil })
	start(t, srv, ln)
	addr := ln.Addr().String()
	c := rt.NewClient("arith", Endpoints(addr), FixedPolicy(generous(1)))
	call := func(method string, arg any) error {
		_, err := Call[mulReply](t.Context(), c, method, arg)
		return err
	}
	if err := call("Arith.Mul", &mulArgs{1, 2}); err != nil {
		t.Fatal(err)
	}
	wantFate(t, call("Arith.Mul", struct{ F func() }{func() {}}), status.InvalidArgument, status.FateUnexecuted) // nothing is sent
	wantFate(t, call("Arith.Mul", "no map"), status.InvalidArgument, status.FateUnexecuted)                      // the callee says so
	wantFate(t, call("Raw.Garbage", &mulArgs{}), status.Internal, status.FateExecuted)
	wantFate(t, call("Bad.Reply", &mulArgs{}), status.Internal, status.FateExecuted)
	wantFate(t, call("Bad.Nil", &mulArgs{}), status.Internal, status.FateExecuted)
	if err := call("Arith.Mul", &mulArgs{1, 2}); err != nil {
		t.Fatal(err)
	}
	if n := len(served); n != 2 {
		t.Errorf("the handler ran %d times, want 2", n)
	}
	if n := ln.count(); n != 1 {
		t.Errorf("%d connections: a bad value cost one", n)
	}
	thrift := rt.NewClient("arith", Endpoints(addr), WithCodec(codec.TypeThrift))
	_, err := Call[mulReply](t.Context(), thrift, "Arith.Mul", &mulArgs{})
	wantFate(t, err, status.InvalidArgument, status.FateUnexecuted)
}

func TestLargeMessages(t *testing.T) {
	srv, ln := newRuntime(t).NewServer(), listen(t, "")
	HandleRaw(srv, "Raw.Echo", echoRaw)
	HandleRaw(srv, "Raw.Make", func(_ context.Context, b []byte) ([]byte, error) {
		return make([]byte, len(b)<<10), nil
	})
	start(t, srv, ln)
	c := newRuntime(t).NewClient("raw", Endpoints(ln.Addr().String()), FixedPolicy(generous(1)))
	call := func(method string, n int) (int, error) {
		r, err := Call[[]byte](t.Context(), c, method, make([]byte, n))
		if err != nil {
			return 0, err
		}
		return len(*r), nil
	}
	const limit = 4 << 20 // whole frames
	for _, n := range []int{1 << 20, limit - 200} {
		if got, err := call("Raw.Echo", n); err != nil || got != n {
			t.Fatalf("%d bytes: %d, %v", n, got, err)
		}
	}
	_, err := call("Raw.Echo", limit+1)
	wantFate(t, err, status.ResourceExhausted, status.FateUnexecuted)
	_, err = call("Raw.Make", limit>>10)
	wantFate(t, err, status.ResourceExhausted, status.FateExecuted)
	_, err = call("Raw.Make", 5*limit>>10) // more than a server would throw away
	wantFate(t, err, status.ResourceExhausted, status.FateExecuted)
	if got, err := call("Raw.Echo", 100); err != nil || got != 100 {
		t.Fatalf("after that: %d, %v", got, err)
	}
	if n := ln.count(); n > 2 { // one is for large messages
		t.Errorf("%d connections: an oversized message cost one", n)
	}
}

func TestLongErrorTextIsCut(t *testing.T) {
	c := pair(t, func(s *Server) {
		HandleRaw(s, "Raw.Fail", func(context.Context, []byte) ([]byte, error) {
			return nil, status.New(status.NotFound, strings.Repeat("ö", 100<<10))
		})
	})
	_, err := Call[[]byte](t.Context(), c, "Raw.Fail", nil)
	if e := wantFate(t, err, status.NotFound, status.FateExecuted); len(e.Message()) > 2*maxErrorText || !strings.HasSuffix(e.Message(), "[cut]") {
		t.Errorf("%d bytes of text", len(e.Message()))
	}
}

func TestDeadlineIsThePolicysOrTheCallers(t *testing.T) {
	deadlines, release := make(chan time.Duration, 1), make(chan struct{})
	setup := func(s *Server) {
		HandleRaw(s, "Wait.ForEver", func(ctx context.Context, _ []byte) ([]byte, error) {
			d, _ := ctx.Deadline()
			deadlines <- time.Until(d)
			<-release // rather than answer at the deadline itself
			return nil, ctx.Err()
		})
	}
	addr, _ := serveWith(t, newRuntime(t), setup)
	t.Cleanup(func() { close(release) }) // before the server drains
	for name, tc := range map[string]struct{ policy, caller, want time.Duration }{
		"policy": {100 * time.Millisecond, patience, 100 * time.Millisecond},
		"caller": {patience, 100 * time.Millisecond, 100 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			c := newRuntime(t).NewClient("wait", Endpoints(addr), FixedPolicy(policy.CallFields{Timeout: &tc.policy}))
			ctx, cancel := context.WithTimeout(t.Context(), tc.caller)
			defer cancel()
			_, err := Call[[]byte](ctx, c, "Wait.ForEver", nil)
			wantCode(t, err, status.DeadlineExceeded)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v is not context.DeadlineExceeded", err)
			}
			if d := <-deadlines; d > tc.want+time.Millisecond { // rounded up to whole milliseconds
				t.Errorf("the callee had %s, want at most %s", d, tc.want)
			}
		})
	}
}

func TestEndedContextSendsNothing(t *testing.T) {
	rec := new(recorder)
	rt := newRuntime(t, WithObserver(rec))
	addr, _ := serveWith(t, rt, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) })
	c := rt.NewClient("raw", Endpoints(addr))
	if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err != nil { // so that there is a connection
		t.Fatal(err)
	}
	before := rt.Counters().FramesRead.Load()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Call[[]byte](canceled, c, "Raw.Echo", nil)
	wantFate(t, err, status.Canceled, status.FateUnexecuted)
	passed, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	_, err = Call[[]byte](passed, c, "Raw.Echo", nil)
	wantFate(t, err, status.DeadlineExceeded, status.FateUnexecuted)
	late := rt.NewClient("raw", Endpoints(addr), FixedPolicy(policy.CallFields{Timeout: ptr(time.Nanosecond)}))
	_, err = Call[[]byte](t.Context(), late, "Raw.Echo", nil)
	wantFate(t, err, status.DeadlineExceeded, status.FateUnexecuted)
	if n := rt.Counters().FramesRead.Load() - before; n != 0 {
		t.Errorf("%d frames were sent", n)
	}
}

func TestCancelReturnsAtOnceWithUnknownFate(t *testing.T) {
	entered := make(chan struct{})
	c := pair(t, func(s *Server) {
		HandleRaw(s, "Wait.ForEver", func(ctx context.Context, _ []byte) ([]byte, error) {
			close(entered)
			<-ctx.Done()
			return nil, ctx.Err()
		})
	}, FixedPolicy(policy.CallFields{Timeout: ptr(2 * time.Second)}))
	ctx, cancel := context.WithCancel(t.Context())
	pending := Go[[]byte](ctx, c, "Wait.ForEver", nil)
	receive(t, entered, "the call")
	cancel()
	_, err := pending.Result()
	wantFate(t, err, status.Canceled, status.FateUnknown)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not context.Canceled", err)
	}
}

func TestClientsThatCannotWorkSayWhy(t *testing.T) {
	rt := newRuntime(t)
	for name, c := range map[string]*Client{
		"no registry":    rt.NewClient("shop/arith"),
		"bad address":    rt.NewClient("arith", Endpoints("nowhere")),
		"policy without": rt.NewClient("shop/arith", FixedPolicy(policy.CallFields{FailMode: policy.Failfast})),
		"bad policy":     rt.NewClient("arith", Endpoints("127.0.0.1:1"), FixedPolicy(policy.CallFields{FailMode: "Sometimes"})),
		"bad name":       rt.NewClient("a/b/c"),
	} {
		_, err := Call[mulReply](t.Context(), c, "Arith.Mul", nil)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		wantFate(t, err, status.FailedPrecondition, status.FateUnexecuted)
	}
}

func TestManyCallersShareOneConnection(t *testing.T) {
	rt := newRuntime(t)
	rt.processors = 1
	ln := listen(t, "")
	srv := rt.NewServer()
	Handle(srv, "Arith.Mul", mul)
	start(t, srv, ln)
	a, b := rt.NewClient("a", Endpoints(ln.Addr().String())), rt.NewClient("b", Endpoints(ln.Addr().String()))
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			c := a
			if i%2 == 0 {
				c = b
			}
			for j := range 20 {
				if r, err := Call[mulReply](t.Context(), c, "Arith.Mul", &mulArgs{i, j}); err != nil || r.C != i*j {
					t.Errorf("%d*%d: %v, %v", i, j, r, err)
					return
				}
			}
		})
	}
	all.Wait()
	if n := ln.count(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	a.Close() // b goes on
	if _, err := Call[mulReply](t.Context(), b, "Arith.Mul", nil); err != nil {
		t.Error(err)
	}
	_, err := Call[mulReply](t.Context(), a, "Arith.Mul", nil)
	if wantFate(t, err, status.Unavailable, status.FateUnexecuted); !errors.Is(err, ErrClientClosed) {
		t.Errorf("%v is not ErrClientClosed", err)
	}
	if _, err := Go[mulReply](t.Context(), a, "Arith.Mul", nil).Result(); err == nil {
		t.Error("Go on a closed client succeeded")
	}
}
