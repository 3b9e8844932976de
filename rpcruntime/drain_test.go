// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// load calls Once.Run, which is not idempotent, from callers at once until stop,
// and at least least times each.
type load struct {
	calls, failed atomic.Int64
	stop          chan struct{}
	all           sync.WaitGroup
}

func startLoad(t *testing.T, c *Client, callers, least int) *load {
	l := &load{stop: make(chan struct{})}
	for i := range callers {
		l.all.Go(func() {
			for j := 0; ; j++ {
				if j >= least {
					select {
					case <-l.stop:
						return
					default:
					}
				}
				l.calls.Add(1)
				if _, err := Call[[]byte](t.Context(), c, "Once.Run", idBytes(uint64(i)<<32|uint64(j))); err != nil {
					l.failed.Add(1)
					t.Errorf("call %d.%d: %v", i, j, err)
					if l.failed.Load() > 20 {
						return
					}
				}
			}
		})
	}
	return l
}

func (l *load) end() {
	close(l.stop)
	l.all.Wait()
}

// waitFor returns once n more calls have been made.
func (l *load) waitFor(t *testing.T, n int64) {
	t.Helper()
	from := l.calls.Load()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); l.calls.Load() < from+n; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("the load stands still")
		}
	}
}

// Three servers are restarted in turn, at their addresses, twice, under load:
// no call fails and none runs twice.
func TestRollingRestartUnderLoad(t *testing.T) {
	executed := newIDs()
	serveOn := func(ln net.Listener) (stop func() error, used <-chan struct{}) {
		rt := newRuntime(t)
		srv := rt.NewServer()
		first, once := make(chan struct{}), new(sync.Once)
		HandleRaw(srv, "Once.Run", func(_ context.Context, b []byte) ([]byte, error) {
			executed.ran(idOf(b))
			once.Do(func() { close(first) })
			return b, nil
		})
		return start(t, srv, ln), first
	}
	var addrs []string
	var stops []func() error
	for range 3 {
		ln := listen(t, "")
		addrs = append(addrs, ln.Addr().String())
		stop, _ := serveOn(ln)
		stops = append(stops, stop)
	}
	c := newRuntime(t).NewClient("once", Endpoints(addrs...), FixedPolicy(policy.CallFields{FailMode: policy.Failfast}))
	l := startLoad(t, c, 10, 0)
	l.waitFor(t, 200)
	for range 2 {
		for i := range stops {
			if err := stops[i](); err != nil {
				t.Errorf("drain: %v", err)
			}
			l.waitFor(t, 100)
			var used <-chan struct{}
			stops[i], used = serveOn(listen(t, addrs[i]))
			receive(t, used, "a call at the new instance") // the next one's turn only then
		}
	}
	l.end()
	for id, n := range executed.runs {
		if n != 1 {
			t.Errorf("call %x ran %d times", id, n)
		}
	}
	if int64(len(executed.runs)) != l.calls.Load() {
		t.Errorf("%d calls, %d of them ran", l.calls.Load(), len(executed.runs))
	}
}

// A server that is alone drains under load: until the listener closes nothing
// fails, and what fails afterwards was not executed.
func TestDrainOfTheOnlyServerUnderLoad(t *testing.T) {
	executed := newIDs()
	rt := newRuntime(t)
	srv := rt.NewServer(DrainTimeout(2 * time.Second)) // the load never pauses: the grace is used up
	warm, once := make(chan struct{}), new(sync.Once)
	HandleRaw(srv, "Once.Run", func(_ context.Context, b []byte) ([]byte, error) {
		executed.ran(idOf(b))
		if idOf(b)&0xffffffff == 200 {
			once.Do(func() { close(warm) })
		}
		return b, nil
	})
	ln := listen(t, "")
	stop := start(t, srv, ln)
	c := newRuntime(t).NewClient("once", Endpoints(ln.Addr().String()))
	var all sync.WaitGroup
	var ok atomic.Int64
	for i := range 10 {
		all.Go(func() {
			for j := uint64(0); ; j++ {
				_, err := Call[[]byte](t.Context(), c, "Once.Run", idBytes(uint64(i)<<32|j))
				if err == nil {
					ok.Add(1)
					continue
				}
				if status.FateOf(err) != status.FateUnexecuted {
					// It came into the listener's queue when that was closed: then
					// nobody can know.
					t.Logf("fate %s: %v", status.FateOf(err), err)
				}
				return
			}
		})
	}
	receive(t, warm, "the load")
	began := time.Now()
	if err := stop(); err != nil {
		t.Error(err)
	}
	t.Logf("drained in %s", time.Since(began))
	all.Wait()
	t.Logf("all callers saw it %s later", time.Since(began))
	if n := int64(len(executed.runs)); n < ok.Load() {
		t.Errorf("%d calls succeeded, %d ran", ok.Load(), n)
	}
	for id, n := range executed.runs {
		if n != 1 {
			t.Errorf("call %x ran %d times", id, n)
		}
	}
}

// waitingServer is a server whose handler waits for release.
func waitingServer(t *testing.T, heedsContext bool, opts ...ServerOption) (rt *Runtime, ln *cutListener, srv *Server, entered, release chan struct{}) {
	rt = newRuntime(t)
	srv = rt.NewServer(opts...)
	entered, release = make(chan struct{}, 10), make(chan struct{})
	HandleRaw(srv, "Wait.For", func(ctx context.Context, b []byte) ([]byte, error) {
		entered <- struct{}{}
		if !heedsContext {
			<-release
			return b, nil
		}
		select {
		case <-release:
			return b, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return rt, listen(t, ""), srv, entered, release
}

func TestServeReturnsWhenWhatWasReadIsAnswered(t *testing.T) {
	_, ln, srv, entered, release := waitingServer(t, false)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	c := newRuntime(t).NewClient("wait", Endpoints(ln.Addr().String()))
	pending := Go[[]byte](t.Context(), c, "Wait.For", []byte("x"))
	receive(t, entered, "the call")
	cancel()
	select {
	case err := <-done:
		t.Fatalf("Serve returned %v while a handler ran", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	if r, err := pending.Result(); err != nil || string(*r) != "x" {
		t.Errorf("%v", err)
	}
	if err := receive(t, done, "the end of Serve"); err != nil {
		t.Error(err)
	}
	ln = listen(t, "")
	if err := srv.Serve(t.Context(), ln); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve after the drain: %v", err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener was left open: %v", err)
	}
	if err := srv.Drain(t.Context()); err != nil {
		t.Errorf("draining again: %v", err)
	}
}

func TestDrainIsCut(t *testing.T) {
	for name, tc := range map[string]struct {
		heeds   bool
		options []ServerOption
		drain   func(*Server) error
	}{
		"at DrainTimeout": {true, []ServerOption{DrainTimeout(50 * time.Millisecond)}, func(s *Server) error { return s.Drain(context.Background()) }},
		"at DrainTimeout, by a handler that does not heed": {false, []ServerOption{DrainTimeout(50 * time.Millisecond)}, func(s *Server) error { return s.Drain(context.Background()) }},
		"by its context": {true, nil, func(s *Server) error {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			return s.Drain(ctx)
		}},
		"by the context of one that came later": {true, nil, func(s *Server) error {
			first := make(chan error, 1)
			go func() { first <- s.Drain(context.Background()) }()
			for s.drainStarted() != nil {
			}
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			return errors.Join(s.Drain(ctx), <-first)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, ln, srv, entered, release := waitingServer(t, tc.heeds, tc.options...)
			start(t, srv, ln)
			c := newRuntime(t).NewClient("wait", Endpoints(ln.Addr().String()), FixedPolicy(generous(1)))
			pending := Go[[]byte](t.Context(), c, "Wait.For", nil)
			receive(t, entered, "the call")
			began := time.Now()
			if err := tc.drain(srv); err == nil {
				t.Error("a drain that was cut returned no error")
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			_, err := pending.Result()
			wantFate(t, err, status.Unavailable, status.FateUnknown)
			close(release)
		})
	}
}

// drainStarted returns an error while no drain runs.
func (s *Server) drainStarted() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != serverDraining {
		return errors.New("not draining")
	}
	return nil
}

func TestConnectionsMadeInADrainAreServedAndSentAway(t *testing.T) {
	_, ln, srv, entered, release := waitingServer(t, false)
	HandleRaw(srv, "Raw.Echo", echoRaw)
	stop := start(t, srv, ln)
	first := dialRaw(t, ln.Addr().String())
	first.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Wait", "For", "x"))
	receive(t, entered, "the call")
	drained := make(chan error, 1)
	go func() { drained <- stop() }()
	for srv.drainStarted() != nil {
	}
	late := dialRaw(t, ln.Addr().String())
	announcement := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 5, Features: []string{wire.FeatureDrain}})
	late.send(requestBytes(wire.RequestHeader(5, wire.SerializeRaw, false), "Raw", "Echo", "late", wire.KeyAnnounce, string(announcement)))
	var methods []string
	for range 4 {
		f := late.frame()
		if f.Response() {
			methods = append(methods, string(f.Payload))
		} else {
			methods = append(methods, string(f.Method))
		}
	}
	if methods[0] != wire.MethodHello || methods[3] != wire.MethodBye || methods[1] == methods[2] {
		t.Errorf("the newcomer got %v, want hello, then drain and its answer, then bye", methods)
	}
	late.wantEOF()
	close(release)
	first.frame()
	if err := receive(t, drained, "the end of the drain"); err != nil {
		t.Error(err)
	}
}

func TestServeEndsWithItsListener(t *testing.T) {
	srv := newRuntime(t).NewServer()
	ln := listen(t, "")
	done := make(chan error, 1)
	go func() { done <- srv.Serve(context.Background(), ln) }()
	_ = ln.Close()
	if err := receive(t, done, "the end of Serve"); err != nil {
		t.Error(err)
	}
}

func TestServeOnTwoListeners(t *testing.T) {
	srv := newRuntime(t).NewServer()
	HandleRaw(srv, "Raw.Echo", echoRaw)
	a, b := listen(t, ""), listen(t, "")
	stopA, stopB := start(t, srv, a), start(t, srv, b)
	c := newRuntime(t).NewClient("raw", Endpoints(a.Addr().String(), b.Addr().String()), FixedPolicy(policy.CallFields{LoadBalancer: policy.RoundRobin}))
	for range 10 {
		if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err != nil {
			t.Fatal(err)
		}
	}
	if a.count() != 1 || b.count() != 1 {
		t.Errorf("%d and %d connections", a.count(), b.count())
	}
	if err := errors.Join(stopA(), stopB()); err != nil {
		t.Error(err)
	}
}

// failingListener fails once, as one does that is out of file descriptors.
type failingListener struct {
	net.Listener
	failed atomic.Bool
}

func (l *failingListener) Accept() (net.Conn, error) {
	if !l.failed.Swap(true) {
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

func TestAcceptFailureIsSurvived(t *testing.T) {
	srv := newRuntime(t).NewServer()
	HandleRaw(srv, "Raw.Echo", echoRaw)
	ln := listen(t, "")
	start(t, srv, &failingListener{Listener: ln})
	c := newRuntime(t).NewClient("raw", Endpoints(ln.Addr().String()))
	if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err != nil {
		t.Error(err)
	}
}

func TestRuntimeCloseDrainsServersThenClients(t *testing.T) {
	rt, err := New(WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	backend, _ := serveWith(t, newRuntime(t), func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) })
	client := rt.NewClient("backend", Endpoints(backend))
	entered := make(chan struct{})
	srv := rt.NewServer()
	HandleRaw(srv, "Front.Call", func(ctx context.Context, b []byte) ([]byte, error) {
		close(entered)
		for srv.drainStarted() != nil {
		}
		r, err := Call[[]byte](ctx, client, "Raw.Echo", b) // a draining server can still call
		if err != nil {
			return nil, err
		}
		return *r, nil
	})
	ln := listen(t, "")
	done := make(chan error, 1)
	go func() { done <- srv.Serve(context.Background(), ln) }()
	c := newRuntime(t).NewClient("front", Endpoints(ln.Addr().String()))
	pending := Go[[]byte](t.Context(), c, "Front.Call", []byte("x"))
	receive(t, entered, "the call")
	if err := rt.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if r, err := pending.Result(); err != nil || string(*r) != "x" {
		t.Errorf("the call under way: %v", err)
	}
	if err := receive(t, done, "the end of Serve"); err != nil {
		t.Error(err)
	}
	if err := rt.Close(t.Context()); err != nil {
		t.Error(err)
	}
	for _, late := range []*Client{client, rt.NewClient("late", Endpoints(backend)), rt.NewClient("late")} {
		_, err = Call[[]byte](t.Context(), late, "Raw.Echo", nil)
		if wantFate(t, err, status.Unavailable, status.FateUnexecuted); !errors.Is(err, ErrRuntimeClosed) {
			t.Errorf("%v is not ErrRuntimeClosed", err)
		}
	}
	if err := rt.NewServer().Serve(t.Context(), listen(t, "")); !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}

// The end of Close's context ends calls that would go on for long.
func TestRuntimeCloseIsCutByItsContext(t *testing.T) {
	_, ln, srv, entered, release := waitingServer(t, true)
	start(t, srv, ln)
	defer close(release)
	for name, call := range map[string]func(c *Client) error{
		"Go": func(c *Client) error {
			_, err := Go[[]byte](context.Background(), c, "Wait.For", nil).Result()
			return err
		},
		"Call": func(c *Client) error {
			_, err := Call[[]byte](context.Background(), c, "Wait.For", nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			rt, err := New(WithoutRegistry())
			if err != nil {
				t.Fatal(err)
			}
			c := rt.NewClient("wait", Endpoints(ln.Addr().String()), FixedPolicy(policy.CallFields{Timeout: ptr(time.Hour)}))
			result := make(chan error, 1)
			go func() { result <- call(c) }()
			receive(t, entered, "the call")
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			closed := make(chan error, 1)
			go func() { closed <- rt.Close(ctx) }()
			wantFate(t, receive(t, result, "the end of the call"), status.Unavailable, status.FateUnknown)
			if err := receive(t, closed, "the end of Close"); err != nil {
				t.Error(err)
			}
		})
	}
}

// Closing while calls are made, dials included, neither hangs nor leaks: goleak
// looks at the end.
func TestCloseAtAnyMoment(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) })
	for i := range 60 {
		rt, err := New(WithoutRegistry())
		if err != nil {
			t.Fatal(err)
		}
		c := rt.NewClient("raw", Endpoints(addr, deadAddr(t)))
		var all sync.WaitGroup
		var made atomic.Int64
		for range 4 {
			all.Go(func() {
				for {
					_, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil)
					if errors.Is(err, ErrRuntimeClosed) || errors.Is(err, ErrClientClosed) {
						return
					}
					made.Add(1)
				}
			})
		}
		for made.Load() < int64(i) {
		}
		if i%2 == 0 {
			all.Go(c.Close)
		}
		if err := rt.Close(t.Context()); err != nil {
			t.Error(err)
		}
		all.Wait()
		if n := rt.counters.Connections.Load(); n != 0 {
			t.Fatalf("%d connections are left", n)
		}
	}
}
