// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/rpcxpeer"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// Chains are of three: A calls B, whose handler calls C.

// middles are two instances of B, as likely to be called as each other, so that
// whoever sends a call again finds another.
type middles struct {
	addrs []string
	// ran counts the calls that reached B's handlers.
	ran atomic.Int64
}

// fairleadMiddles call C in their handlers, and pass its error on in one way or
// another.
func fairleadMiddles(t *testing.T, c string, pass func(error) error) *middles {
	t.Helper()
	m := new(middles)
	for range 2 {
		rt := newRuntime(t)
		next := rt.NewClient("c", Endpoints(c), FixedPolicy(generous(3)))
		addr, _ := serveWith(t, rt, func(s *Server) {
			HandleRaw(s, "Chain.Do", func(ctx context.Context, b []byte) ([]byte, error) {
				m.ran.Add(1)
				r, err := Call[[]byte](ctx, next, "Chain.Do", b)
				if err != nil {
					return nil, pass(err)
				}
				return *r, nil
			})
		})
		m.addrs = append(m.addrs, addr)
	}
	return m
}

// oldMiddles are of rpcx's kind: they hand their contexts on, and all metadata
// with them, in both directions.
func oldMiddles(t *testing.T, c string) *middles {
	t.Helper()
	m := new(middles)
	for range 2 {
		x := rpcxpeer.NewXClient("Chain", []string{c}, rpcxpeer.XConfig{})
		t.Cleanup(x.Close)
		forward := rpcxpeer.Forward(x)
		s := oldPeer(t, rpcxpeer.ServerConfig{})
		s.Handle("Chain", "Do", func(ctx context.Context, req *rpcxpeer.Request) ([]byte, error) {
			m.ran.Add(1)
			return forward(ctx, req)
		})
		m.addrs = append(m.addrs, s.Addr())
	}
	return m
}

// refusals are the ways in which C does not run a call.
func refusals() map[string]func(t *testing.T) (c string) {
	serve := func(t *testing.T, opts ...ServerOption) (string, *Server) {
		return serveWith(t, newRuntime(t), func(s *Server) {
			HandleRaw(s, "Chain.Do", func(context.Context, []byte) ([]byte, error) {
				t.Error("C ran the call")
				return nil, nil
			})
		}, opts...)
	}
	return map[string]func(t *testing.T) string{
		"limit": func(t *testing.T) string {
			addr, srv := serve(t, Service("shop/c"))
			instance := instanceOf(t, srv)
			instance.Changed(&policy.Snapshot{Limits: []policy.Limit{{Name: "none", Rate: &policy.Rate{Count: 1, Interval: time.Hour}}}}, 0)
			HandleRaw(srv, "Use.Up", echoRaw)
			dialRaw(t, addr).ask(rpcxpeer.Message{Path: "Use", Method: "Up"})
			return addr
		},
		"calls in flight": func(t *testing.T) string {
			entered, release := make(chan struct{}, 1), make(chan struct{})
			addr, srv := serve(t, MaxConcurrentCalls(1))
			HandleRaw(srv, "Use.Up", func(context.Context, []byte) ([]byte, error) {
				entered <- struct{}{}
				<-release
				return nil, nil
			})
			t.Cleanup(func() { close(release) })
			p := dialRaw(t, addr)
			p.send((&rpcxpeer.Message{Path: "Use", Method: "Up"}).Encode())
			receive(t, entered, "the call")
			return addr
		},
		"drain": func(t *testing.T) string {
			addr, srv := serve(t)
			instanceStarted(t, srv)
			if err := srv.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			return addr
		},
		"interceptor": func(t *testing.T) string {
			addr, _ := serve(t, ServerIntercept(func(ServerInvoker) ServerInvoker {
				return func(_ context.Context, call *ServerCall) (any, error) {
					return nil, call.Refuse(status.New(status.Unavailable, "not today"))
				}
			}))
			return addr
		},
		"method": func(t *testing.T) string {
			addr, _ := serveWith(t, newRuntime(t), func(s *Server) { HandleRaw(s, "Chain.Other", echoRaw) })
			return addr
		},
		"token": func(t *testing.T) string {
			addr, _ := serve(t, Authenticate(func(context.Context, *AuthRequest) (string, error) { return "", errors.New("no") }))
			return addr
		},
	}
}

// instanceStarted waits until a server serves.
func instanceStarted(t *testing.T, srv *Server) {
	t.Helper()
	waitUntil(t, "the server to serve", func() bool {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		return srv.state == serverServing
	})
}

// C did not run the call, and says so to B: B ran it, so A must not send it to
// the other B. That holds whatever B makes of the error, and also where the
// method is declared idempotent: B is nearer to the failure.
// docs/wire-protocol.md §9
func TestUnexecutedAtTheEndOfAChain(t *testing.T) {
	passes := map[string]func(error) error{
		"as it is":    func(err error) error { return err },
		"wrapped":     func(err error) error { return fmt.Errorf("c: %w", err) },
		"as its text": func(err error) error { return errors.New(err.Error()) },
	}
	for name, refuse := range refusals() {
		t.Run(name, func(t *testing.T) {
			c := refuse(t)
			all := map[string]*middles{"old middle": oldMiddles(t, c)}
			for how, pass := range passes {
				all[how] = fairleadMiddles(t, c, pass)
			}
			for how, b := range all {
				for _, idempotent := range [][]string{nil, {"Chain.Do"}} {
					b.ran.Store(0)
					a := newRuntime(t).NewClient("b", Endpoints(b.addrs...), FixedPolicy(generous(3), idempotent...))
					_, err := Call[[]byte](t.Context(), a, "Chain.Do", nil)
					if err == nil || status.FateOf(err) == status.FateUnexecuted {
						t.Errorf("%s: A was told %v, fate %s", how, err, status.FateOf(err))
					}
					if n := b.ran.Load(); n != 1 {
						t.Errorf("%s, idempotent %v: B ran %d times: %v", how, idempotent, n, err)
					}
				}
			}
		})
	}
}

// A callee may be an old one that passes on what it got from somebody else, or
// lies. Keys of ours mean nothing from it, at A and at B, beside an error as
// beside a reply.
// docs/wire-protocol.md §5, §7
func TestUnexecutedIsNotBelievedOfForwardedKeys(t *testing.T) {
	liar := oldPeer(t, rpcxpeer.ServerConfig{})
	var fail atomic.Bool
	liar.Handle("Chain", "Do", func(ctx context.Context, req *rpcxpeer.Request) ([]byte, error) {
		md := rpcxpeer.ResponseMeta(ctx)
		md["user"] = "kept"
		md["__fl"] = rpcxpeer.RequestMeta(ctx)["__fl"]
		md["__fl_code"], md["__fl_retry"], md["__fl_details"] = "14", "unexecuted;after=100000;reason=wrong-endpoint", "x"
		if fail.Load() {
			return nil, errors.New("boom")
		}
		return req.Payload, nil
	})
	asItIs := func(err error) error { return err }
	for how, b := range map[string]*middles{"Fairlead": fairleadMiddles(t, liar.Addr(), asItIs), "old": oldMiddles(t, liar.Addr())} {
		t.Run(how, func(t *testing.T) {
			a := newRuntime(t).NewClient("b", Endpoints(b.addrs...), FixedPolicy(generous(3)))
			for i := range int64(6) {
				fail.Store(i%2 == 0)
				var md Metadata
				_, err := Call[[]byte](t.Context(), a, "Chain.Do", nil, ReplyMetadata(&md))
				if fail.Load() {
					e := wantFate(t, err, status.Unknown, status.FateExecuted)
					if e.RetryAfter() != 0 || e.Reason() != "" || e.Details() != nil || !strings.Contains(e.Message(), "boom") {
						t.Errorf("believed: %+v", e)
					}
				} else if err != nil {
					t.Error(err)
				}
				if n := b.ran.Load(); n != i+1 {
					t.Errorf("B ran %d times in %d calls", n, i+1)
				}
				for k := range md {
					if strings.HasPrefix(k, "__fl") {
						t.Errorf("A's caller sees %s", k)
					}
				}
				if how == "old" && md["user"] != "kept" {
					t.Errorf("metadata %v", md)
				}
			}
		})
	}
}

// An old service in the middle passes A's announcement on. C does not take B for
// A, nor for one that was looking for B, and tells it nothing of ours.
// docs/wire-protocol.md §7
func TestUnexecutedNotForAnAnnouncementThatWasForwarded(t *testing.T) {
	type seen struct {
		peer Peer
		md   Metadata
	}
	calls := make(chan seen, 10)
	cAddr, srv := serveWith(t, newRuntime(t), func(s *Server) {
		HandleRaw(s, "Chain.Do", func(ctx context.Context, b []byte) ([]byte, error) {
			peer, _ := PeerOf(ctx)
			calls <- seen{peer, IncomingMetadata(ctx)}
			if string(b) == "fail" {
				return nil, status.New(status.Unavailable, "boom").WithRetryAfter(time.Hour)
			}
			return b, nil
		})
	}, Service("shop/c"))
	instanceOf(t, srv) // it knows who it is
	pushes := make(chan *rpcxpeer.Message, 10)
	x := rpcxpeer.NewXClient("Chain", []string{cAddr}, rpcxpeer.XConfig{Client: rpcxpeer.ClientConfig{Pushes: pushes}})
	t.Cleanup(x.Close)
	b := oldPeer(t, rpcxpeer.ServerConfig{})
	back := make(chan map[string]string, 10)
	forward := rpcxpeer.Forward(x)
	b.Handle("Chain", "Do", func(ctx context.Context, req *rpcxpeer.Request) ([]byte, error) {
		reply, err := forward(ctx, req)
		back <- rpcxpeer.ResponseMeta(ctx)
		return reply, err
	})
	a := newRuntime(t, WithNamespace("shop"), WithApp("web")).NewClient("b", Endpoints(b.Addr()), FixedPolicy(generous(1)))
	a.to = "shop/b" // as of a client with a registry
	a.table.Replace(nil)
	a.apply(a.Snapshot())
	ctx := WithMetadata(t.Context(), Metadata{"user": "kept"})
	for i := range 3 {
		if _, err := Call[[]byte](ctx, a, "Chain.Do", nil); err != nil {
			t.Fatal(err)
		}
		_, err := Call[[]byte](ctx, a, "Chain.Do", []byte("fail"))
		wantFate(t, err, status.Unknown, status.FateExecuted)
		for range 2 {
			got := receive(t, calls, "the call at C")
			if got.peer.Source != PeerUnknown || got.peer.Name != "" {
				t.Errorf("C takes B for %+v", got.peer)
			}
			for k := range got.md {
				if strings.HasPrefix(k, "__fl") {
					t.Errorf("%d: C's handler sees %s", i, k)
				}
			}
			if got.md["user"] != "kept" {
				t.Errorf("metadata %v", got.md)
			}
			for k := range receive(t, back, "what came back") {
				if strings.HasPrefix(k, "__fl") {
					t.Errorf("%d: C told B %s", i, k)
				}
			}
		}
	}
	if len(pushes) > 0 {
		t.Errorf("C sent B %+v", <-pushes)
	}
}

// waiting is a handler that waits for its context's end, or to be released.
type waiting struct {
	entered chan context.Context
	ended   chan error
	release chan struct{}
}

func newWaiting() *waiting {
	return &waiting{make(chan context.Context, 100), make(chan error, 100), make(chan struct{})}
}

func (w *waiting) handle(ctx context.Context, b []byte) ([]byte, error) {
	w.entered <- ctx
	select {
	case <-ctx.Done():
		w.ended <- ctx.Err()
		return nil, ctx.Err()
	case <-w.release:
		return b, nil
	}
}

// A caller that gives up ends the contexts of the handlers at B and at C: by its
// word, or by losing the connection. What came over the same connections goes on.
// docs/wire-protocol.md §8
func TestCancelThroughAChain(t *testing.T) {
	atC := newWaiting()
	c, _ := serveWith(t, newRuntime(t), func(s *Server) {
		HandleRaw(s, "Chain.Do", atC.handle)
		HandleRaw(s, "Raw.Echo", echoRaw)
	})
	middle := newRuntime(t)
	next := middle.NewClient("c", Endpoints(c), FixedPolicy(generous(3), "Chain.Do"))
	endedAtB := make(chan error, 100)
	ln := listen(t, "")
	srv := middle.NewServer()
	HandleRaw(srv, "Chain.Do", func(ctx context.Context, b []byte) ([]byte, error) {
		_, err := Call[[]byte](ctx, next, "Chain.Do", b)
		if ctx.Err() != nil {
			endedAtB <- ctx.Err()
		}
		return nil, err
	})
	HandleRaw(srv, "Raw.Echo", func(ctx context.Context, b []byte) ([]byte, error) {
		r, err := Call[[]byte](ctx, next, "Raw.Echo", b)
		if err != nil {
			return nil, err
		}
		return *r, nil
	})
	start(t, srv, ln)
	rt := newRuntime(t)
	a := rt.NewClient("b", Endpoints(ln.Addr().String()), FixedPolicy(generous(3), "Chain.Do"))
	wantCallable(t, a) // the peers know each other

	const calls = 10
	stays, endStays := context.WithCancel(t.Context())
	defer endStays()
	other := Go[[]byte](stays, a, "Chain.Do", nil)
	receive(t, atC.entered, "the call that stays")
	ctx, cancel := context.WithCancel(t.Context())
	var pending []*Pending[[]byte]
	for range calls {
		pending = append(pending, Go[[]byte](ctx, a, "Chain.Do", nil))
		receive(t, atC.entered, "the call at C")
	}
	cancel()
	for _, p := range pending {
		_, err := p.Result()
		wantCode(t, err, status.Canceled)
		receive(t, endedAtB, "the end at B")
		receive(t, atC.ended, "the end at C")
	}
	wantCallable(t, a)
	select {
	case <-other.Done():
		t.Error("a call that nobody cancelled has ended")
	case <-endedAtB:
		t.Error("the context of a call that nobody cancelled has ended")
	default:
	}
	if n := rt.counters.Connections.Load(); n != 1 || ln.count() != 1 {
		t.Errorf("%d connections now, %d in all, want the one of before", n, ln.count())
	}
	ln.cut()
	receive(t, endedAtB, "the end at B by the lost connection")
	receive(t, atC.ended, "the end at C by the connection that B lost")
	endStays()
	_, err := other.Result()
	if err == nil {
		t.Error("a call on a lost connection succeeded")
	}
}

// An old service in the middle is told nothing, and nothing breaks: what it
// called goes on, its late answer is dropped, the connections stand.
// docs/wire-protocol.md §8, §11
func TestCancelThroughAnOldMiddle(t *testing.T) {
	atC := newWaiting()
	cLn := listen(t, "")
	srv := newRuntime(t).NewServer()
	HandleRaw(srv, "Chain.Do", atC.handle)
	HandleRaw(srv, "Chain.Echo", echoRaw)
	start(t, srv, cLn)
	x := rpcxpeer.NewXClient("Chain", []string{cLn.Addr().String()}, rpcxpeer.XConfig{})
	t.Cleanup(x.Close)
	b := oldPeer(t, rpcxpeer.ServerConfig{})
	b.Handle("Chain", "Do", rpcxpeer.Forward(x))
	b.Handle("Chain", "Echo", rpcxpeer.Forward(x))
	rt := newRuntime(t)
	a := rt.NewClient("b", Endpoints(b.Addr()), FixedPolicy(generous(3), "Chain.Do"))
	const calls = 5
	var contexts []context.Context
	for range calls {
		ctx, cancel := context.WithCancel(t.Context())
		pending := Go[[]byte](ctx, a, "Chain.Do", nil)
		contexts = append(contexts, receive(t, atC.entered, "the call at C"))
		cancel()
		_, err := pending.Result()
		wantCode(t, err, status.Canceled)
		if r, err := Call[[]byte](t.Context(), a, "Chain.Echo", []byte("x")); err != nil || string(*r) != "x" {
			t.Error(err)
		}
	}
	for i, ctx := range contexts {
		if ctx.Err() != nil {
			t.Errorf("call %d at C has ended: %v", i, ctx.Err())
		}
	}
	close(atC.release) // the late answers
	for range calls {
		if r, err := Call[[]byte](t.Context(), a, "Chain.Do", []byte("x")); err != nil || string(*r) != "x" {
			t.Error(err)
		}
	}
	if n := rt.counters.Connections.Load(); n != 1 || cLn.count() != 1 {
		t.Errorf("%d connections of A, %d of B, want one each", n, cLn.count())
	}
}

// An old caller that gives up says nothing: the handler goes on, and its answer
// finds nobody. When the caller closes its connection, its handlers' contexts end.
// docs/wire-protocol.md §11
func TestCancelOfAnOldCaller(t *testing.T) {
	w := newWaiting()
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) {
		HandleRaw(s, "Wait.For", w.handle)
		HandleRaw(s, "Raw.Echo", echoRaw)
	})
	c := oldCaller(t, addr, rpcxpeer.ClientConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := c.Call(ctx, "Wait", "For", nil)
		ended <- err
	}()
	handler := receive(t, w.entered, "the call")
	cancel()
	if err := receive(t, ended, "the end of the call"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if r, err := c.Call(t.Context(), "Raw", "Echo", []byte("x")); err != nil || string(r) != "x" || handler.Err() != nil {
		t.Errorf("%v; the handler's context: %v", err, handler.Err())
	}
	c.Close()
	if err := receive(t, w.ended, "the end of the handler's context"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
