// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"encoding/binary"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// deadAddr is an address at which nobody listens.
func deadAddr(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func TestFailoverGoesToEndpointsNotYetTried(t *testing.T) {
	rec := new(recorder)
	rt := newRuntime(t, WithObserver(rec))
	var ran [3]atomic.Int64
	var addrs []string
	for i := range ran {
		addr, _ := serveWith(t, rt, func(s *Server) {
			HandleRaw(s, "Raw.Fail", func(context.Context, []byte) ([]byte, error) {
				ran[i].Add(1)
				return nil, status.New(status.Unavailable, "not now")
			})
		})
		addrs = append(addrs, addr)
	}
	for name, tc := range map[string]struct {
		fields     policy.CallFields
		idempotent []string
		attempts   int64
	}{
		"failover over all":     {generous(5), []string{"Raw.Fail"}, 3},
		"as many as allowed":    {generous(2), []string{"Raw.Fail"}, 2},
		"failfast":              {policy.CallFields{FailMode: policy.Failfast, Attempts: ptr(int32(3))}, []string{"Raw.Fail"}, 1},
		"executed, not retried": {generous(3), nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range ran {
				ran[i].Store(0)
			}
			c := rt.NewClient("raw", Endpoints(addrs...), FixedPolicy(tc.fields, tc.idempotent...))
			_, err := Call[[]byte](t.Context(), c, "Raw.Fail", nil)
			e := wantFate(t, err, status.Unavailable, status.FateExecuted)
			var total int64
			for i := range ran {
				n := ran[i].Load()
				if n > 1 {
					t.Errorf("endpoint %d was tried %d times", i, n)
				}
				total += n
			}
			if total != tc.attempts {
				t.Errorf("%d attempts, want %d", total, tc.attempts)
			}
			if n := strings.Count(e.Message(), "not now"); n != int(tc.attempts) {
				t.Errorf("the error tells of %d attempts: %s", n, e.Message())
			}
		})
	}
}

func TestUnreachableEndpointsAreAvoided(t *testing.T) {
	rt := newRuntime(t)
	addr, _ := serveWith(t, rt, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) })
	c := rt.NewClient("raw", Endpoints(deadAddr(t), addr, deadAddr(t)))
	for range 100 { // not idempotent: nothing was executed, so all succeed
		if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err != nil {
			t.Fatal(err)
		}
	}
}

// What an endpoint did not take is sent elsewhere for free, once.
func TestFreeResendIsNoAttempt(t *testing.T) {
	rt := newRuntime(t)
	var addrs []string
	for range 2 {
		addr, _ := serveWith(t, rt, func(s *Server) {
			HandleRaw(s, "Raw.Fail", func(context.Context, []byte) ([]byte, error) {
				return nil, status.New(status.Unavailable, "not now")
			})
		})
		addrs = append(addrs, addr)
	}
	addrs = append(addrs, deadAddr(t))
	deadFirst := 0
	for range 50 {
		c := newRuntime(t).NewClient("raw", Endpoints(addrs...), FixedPolicy(generous(2), "Raw.Fail"))
		_, err := Call[[]byte](t.Context(), c, "Raw.Fail", nil)
		e := wantFate(t, err, status.Unavailable, status.FateExecuted)
		story := e.Message()
		if strings.Index(story, "connection refused") < strings.Index(story, "not now") && strings.Contains(story, "refused") {
			deadFirst++
			if strings.Count(story, "not now") != 2 {
				t.Errorf("want two attempts besides the free one: %s", story)
			}
		}
	}
	if deadFirst == 0 {
		t.Error("the dead endpoint never came first")
	}
}

// With everything down, calls fail at once, and retries keep within the budget.
func TestTotalFailureIsNoStorm(t *testing.T) {
	rec := new(recorder)
	rt := newRuntime(t, WithObserver(rec))
	var dials atomic.Int64
	client := newRuntime(t, WithObserver(rec), WithDialer(func(ctx context.Context, address string) (net.Conn, error) {
		dials.Add(1)
		return dialTCP(ctx, address)
	}))
	var runs atomic.Int64
	var addrs []string
	for range 3 {
		addr, _ := serveWith(t, rt, func(s *Server) {
			HandleRaw(s, "Raw.Fail", func(context.Context, []byte) ([]byte, error) {
				runs.Add(1)
				return nil, status.New(status.Unavailable, "down")
			})
		})
		addrs = append(addrs, addr)
	}
	fields := policy.CallFields{
		Attempts: ptr(int32(3)), Backoff: &policy.Backoff{Base: time.Nanosecond, Max: time.Nanosecond},
		Budget: &policy.Budget{Percent: 20, Interval: time.Minute}, MinRetryRate: &policy.Rate{Count: 5, Interval: time.Minute},
	}
	const calls = 1000
	c := client.NewClient("raw", Endpoints(addrs...), FixedPolicy(fields, "Raw.Fail"))
	for range calls {
		if _, err := Call[[]byte](t.Context(), c, "Raw.Fail", nil); err == nil {
			t.Fatal("a call succeeded")
		}
	}
	if n := runs.Load(); n > calls*120/100+5 || n < calls*110/100 {
		t.Errorf("%d attempts for %d calls, want at most 20 %% and 5 more", n, calls)
	}

	dead := client.NewClient("dead", Endpoints(deadAddr(t), deadAddr(t)), FixedPolicy(fields))
	dials.Store(0)
	began := time.Now()
	for range calls {
		_, err := Call[[]byte](t.Context(), dead, "Raw.Fail", nil)
		wantFate(t, err, status.Unavailable, status.FateUnexecuted)
	}
	if n, most := dials.Load(), 4+2*int64(time.Since(began)/dialPause); n > most {
		t.Errorf("%d dials for %d calls, want at most %d", n, calls, most)
	}
	for _, e := range rec.called {
		if e.Attempts > 4 {
			t.Fatalf("a call made %d attempts", e.Attempts)
		}
	}
}

// The endpoints say that they are others: all are dropped, and calls end at once
// instead of waiting for one that will not come.
func TestWrongEndpointIsDroppedAtOnce(t *testing.T) {
	rec := new(recorder)
	rt, client := newRuntime(t, WithObserver(rec)), newRuntime(t)
	echo := func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }
	wrong, _ := serveWith(t, rt, echo, Service("shop/other"))
	right, _ := serveWith(t, rt, echo, Service("shop/arith"))

	c := client.NewClient("arith", Endpoints(wrong, right), FixedPolicy(generous(2)))
	c.to = "shop/arith" // as of a client with a registry
	c.table.Replace(nil)
	c.apply(c.Snapshot())
	for range 20 {
		if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err != nil {
			t.Fatal(err)
		}
	}
	bad := client.NewClient("arith", Endpoints(wrong), FixedPolicy(generous(100)))
	bad.to = "shop/arith"
	bad.table.Replace(nil)
	bad.apply(bad.Snapshot())
	for range 3 {
		_, err := Call[[]byte](t.Context(), bad, "Raw.Echo", nil)
		wantFate(t, err, status.Unavailable, status.FateUnexecuted)
	}
	if n := rt.counters.WrongEndpoint.Load(); n > 2 { // one for each client
		t.Errorf("the wrong endpoint was asked %d times", n)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.refused) == 0 || rec.refused[0].Reason != wire.ReasonWrongEndpoint {
		t.Errorf("told of %+v", rec.refused)
	}
}

// A server that learns who it is refuses what is meant for another, and applies
// its limits, on connections that stand already too.
func TestIdentityLearntLate(t *testing.T) {
	rt := newRuntime(t)
	addr, srv := serveWith(t, rt, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) })
	send := func(p rawPeer, seq uint64, meta ...string) wire.Frame {
		p.send(requestBytes(wire.RequestHeader(seq, wire.SerializeRaw, false), "Raw", "Echo", "", meta...))
		for {
			if f := p.frame(); f.Response() {
				return f
			}
		}
	}
	stranger, plain := dialRaw(t, addr), dialRaw(t, addr)
	announcement := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, To: "shop/other"})
	if f := send(stranger, 1, wire.KeyAnnounce, string(announcement)); f.Status() != wire.StatusNormal {
		t.Fatal("refused before the server knew who it is")
	}
	send(plain, 1)
	srv.mu.Lock()
	srv.addServiceLocked("shop/arith", false)
	srv.mu.Unlock()
	(*srv.services.Load())[0].Changed(&policy.Snapshot{Limits: []policy.Limit{{Name: "all", Rate: &policy.Rate{Count: 1, Interval: time.Hour}}}}, 0)

	f := send(stranger, 2)
	mark, _ := f.Meta.Get(wire.KeyRetry)
	if r := wire.ParseRetry(mark); f.Status() != wire.StatusError || r.Word != wire.RetryUnexecuted || r.Reason != wire.ReasonWrongEndpoint {
		t.Errorf("answered %v %q", f.Status(), mark)
	}
	if f := send(plain, 2); f.Status() != wire.StatusNormal {
		t.Error("refused within the limit")
	}
	if f := send(plain, 3); f.Status() != wire.StatusError {
		t.Error("the limit was not applied to a connection that stood before")
	}
}

func TestServerRestartedAtTheSameAddressIsFoundAgain(t *testing.T) {
	ln := listen(t, "")
	addr := ln.Addr().String()
	c := newRuntime(t).NewClient("raw", Endpoints(addr), FixedPolicy(generous(1)))
	for i := range 3 {
		rt := newRuntime(t)
		srv := rt.NewServer()
		HandleRaw(srv, "Raw.Echo", echoRaw)
		if i > 0 {
			ln = listen(t, addr)
		}
		stop := start(t, srv, ln)
		ok := 0
		for deadline := time.Now().Add(patience); ok < 10 && time.Now().Before(deadline); {
			if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err == nil {
				ok++
			} else {
				wantFate(t, err, status.Unavailable, status.FateUnexecuted)
			}
		}
		if ok < 10 {
			t.Fatalf("round %d: the server was not found again", i)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		_, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil)
		wantFate(t, err, status.Unavailable, status.FateUnexecuted)
	}
}

func TestIdleConnectionIsReplaced(t *testing.T) {
	ln := listen(t, "")
	rt := newRuntime(t)
	srv := rt.NewServer()
	srv.opts.transport.IdleTimeout = 10 * time.Millisecond
	HandleRaw(srv, "Raw.Echo", echoRaw)
	start(t, srv, ln)
	client := newRuntime(t)
	c := client.NewClient("raw", Endpoints(ln.Addr().String()), FixedPolicy(policy.CallFields{FailMode: policy.Failfast}))
	for i := range 3 {
		if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err != nil {
			t.Fatal(err)
		}
		if n := ln.count(); n <= i {
			t.Fatalf("round %d: %d connections", i, n)
		}
		for deadline := time.Now().Add(patience); client.counters.Connections.Load() > 0; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatal("the idle connection stays")
			}
		}
	}
}

// An endpoint that drained its connection away is about to close its listener:
// calls prefer others for a moment.
func TestEndpointThatDrainedIsLeftAloneForAMoment(t *testing.T) {
	srv, ln := newRuntime(t).NewServer(), listen(t, "")
	HandleRaw(srv, "Raw.Echo", echoRaw)
	stop := start(t, srv, ln)
	client := newRuntime(t)
	c := client.NewClient("raw", Endpoints(ln.Addr().String()))
	if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); client.counters.Connections.Load() > 0 && time.Now().Before(deadline); runtime.Gosched() {
	}
	if state, _ := c.table.Lookup(ln.Addr().String()); state.DialAt() == 0 {
		t.Error("it may be dialled at once")
	}
}

func TestBrokenConnectionIsReplaced(t *testing.T) {
	ln := listen(t, "")
	srv := newRuntime(t).NewServer()
	HandleRaw(srv, "Raw.Echo", echoRaw)
	start(t, srv, ln)
	c := newRuntime(t).NewClient("raw", Endpoints(ln.Addr().String()), FixedPolicy(generous(2), "Raw.Echo"))
	for i := range 5 {
		ok := false
		for deadline := time.Now().Add(patience); !ok && time.Now().Before(deadline); {
			_, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil)
			ok = err == nil
		}
		if !ok || ln.count() != i+1 {
			t.Fatalf("round %d: served %v, %d connections", i, ok, ln.count())
		}
		ln.cut()
	}
}

// ids counts how often each call was executed.
type ids struct {
	mu   sync.Mutex
	runs map[uint64]int
}

func (x *ids) ran(id uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.runs[id]++
}

func idOf(b []byte) uint64     { return binary.BigEndian.Uint64(b) }
func idBytes(id uint64) []byte { return binary.BigEndian.AppendUint64(nil, id) }
func newIDs() *ids             { return &ids{runs: map[uint64]int{}} }

// Connections are cut all the time, at whatever moment each call is in. Calls of
// methods that are not idempotent run at most once, and their errors say truly
// whether they ran. Calls of idempotent methods all succeed.
func TestKilledServersUnderLoad(t *testing.T) {
	executed := newIDs()
	var addrs []string
	for i := range 3 {
		ln := listen(t, "")
		srv := newRuntime(t).NewServer()
		var served atomic.Int64
		handle := func(_ context.Context, b []byte) ([]byte, error) {
			if n := served.Add(1); n%61 == int64(7*i) { // before, between and after: the others are anywhere
				ln.cut()
			}
			executed.ran(idOf(b))
			return b, nil
		}
		HandleRaw(srv, "Once.Run", handle)
		HandleRaw(srv, "Again.Run", handle)
		start(t, srv, ln)
		addrs = append(addrs, ln.Addr().String())
	}
	fields := generous(3)
	c := newRuntime(t).NewClient("raw", Endpoints(addrs...), FixedPolicy(fields, "Again.Run"))
	const callers, calls = 10, 300
	var failed, unexecuted, idempotentFailed atomic.Int64
	results := make([]map[uint64]error, callers)
	var all sync.WaitGroup
	for i := range callers {
		results[i] = map[uint64]error{}
		all.Go(func() {
			for j := range calls {
				id := uint64(i)<<32 | uint64(j)
				if j%2 == 0 {
					if _, err := Call[[]byte](t.Context(), c, "Again.Run", idBytes(id|1<<63)); err != nil {
						idempotentFailed.Add(1)
						t.Logf("idempotent: %v", err)
					}
					continue
				}
				_, err := Call[[]byte](t.Context(), c, "Once.Run", idBytes(id))
				results[i][id] = err
				if err != nil {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	executed.mu.Lock()
	defer executed.mu.Unlock()
	for _, r := range results {
		for id, err := range r {
			n := executed.runs[id]
			switch {
			case n > 1:
				t.Errorf("call %x ran %d times", id, n)
			case err == nil && n != 1:
				t.Errorf("call %x succeeded and ran %d times", id, n)
			case err != nil && status.FateOf(err) == status.FateUnexecuted:
				unexecuted.Add(1)
				if n != 0 {
					t.Errorf("call %x ran, although its error says unexecuted: %v", id, err)
				}
			}
		}
	}
	// Three cuts in a row may meet one call, which has three attempts.
	if n := idempotentFailed.Load(); n > callers*calls/200 {
		t.Errorf("%d idempotent calls failed", n)
	}
	if failed.Load() == 0 {
		t.Error("no call was hit: the test shows nothing")
	}
	t.Logf("%d of %d not idempotent calls failed, %d of them unexecuted; %d idempotent ones", failed.Load(), callers*calls/2, unexecuted.Load(), idempotentFailed.Load())
}

// What a limit refuses is unexecuted, tells when to come again, and its endpoint
// alone is avoided until then.
func TestLimits(t *testing.T) {
	rec := new(recorder)
	rt := newRuntime(t, WithObserver(rec))
	var ran [2]atomic.Int64
	var addrs []string
	var servers []*Server
	for i := range ran {
		addr, srv := serveWith(t, rt, func(s *Server) {
			HandleRaw(s, "Raw.Echo", func(ctx context.Context, b []byte) ([]byte, error) {
				ran[i].Add(1)
				return b, nil
			})
		}, Service("shop/raw"))
		addrs, servers = append(addrs, addr), append(servers, srv)
	}
	limited := instanceOf(t, servers[0])
	limited.Changed(&policy.Snapshot{Limits: []policy.Limit{{
		Name: "slow", Source: policy.Source{Kind: "RPCLimitPolicy", Namespace: "shop", Name: "raw"}, Rate: &policy.Rate{Count: 1, Interval: time.Hour},
	}}}, 0)
	client := newRuntime(t)
	only := client.NewClient("raw", Endpoints(addrs[0]), FixedPolicy(generous(1)))
	if _, err := Call[[]byte](t.Context(), only, "Raw.Echo", nil); err != nil {
		t.Fatal(err)
	}
	_, err := Call[[]byte](t.Context(), only, "Raw.Echo", nil)
	e := wantFate(t, err, status.ResourceExhausted, status.FateUnexecuted)
	if e.RetryAfter() < 50*time.Minute || e.RetryAfter() > time.Hour || !strings.Contains(e.Message(), "shop/raw") {
		t.Errorf("advice %s: %v", e.RetryAfter(), err)
	}
	both := client.NewClient("raw", Endpoints(addrs...), FixedPolicy(generous(2)))
	rec.mu.Lock()
	rec.refused = nil
	rec.mu.Unlock()
	for range 50 {
		if _, err := Call[[]byte](t.Context(), both, "Raw.Echo", nil); err != nil {
			t.Fatal(err)
		}
	}
	rec.mu.Lock()
	refused := len(rec.refused)
	rec.mu.Unlock()
	if ran[0].Load() != 1 || ran[1].Load() != 50 || refused > 1 {
		t.Errorf("the limited endpoint ran %d, the other %d; %d were refused, want 1, 50 and at most 1", ran[0].Load(), ran[1].Load(), refused)
	}
	limited.Invalid(status.New(status.NotFound, "gone"))
	_, err = Call[[]byte](t.Context(), only, "Raw.Echo", nil)
	wantCode(t, err, status.ResourceExhausted) // a server does not become unlimited by an accident
	limited.Changed(&policy.Snapshot{Methods: policy.Methods{RefuseUndeclared: true}}, 0)
	_, err = Call[[]byte](t.Context(), only, "Raw.Echo", nil)
	wantFate(t, err, status.Unimplemented, status.FateUnexecuted)
	limited.Changed(&policy.Snapshot{}, 0)
	if _, err := Call[[]byte](t.Context(), only, "Raw.Echo", nil); err != nil {
		t.Error(err)
	}
}

// A place is free again before the answer is sent: one caller, one call at a
// time, never meets a limit of one.
func TestConcurrencyOfOneServesOneCallerForEver(t *testing.T) {
	rt := newRuntime(t)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	addr, srv := serveWith(t, rt, func(s *Server) {
		HandleRaw(s, "Raw.Echo", echoRaw)
		HandleRaw(s, "Raw.Wait", func(_ context.Context, b []byte) ([]byte, error) {
			entered <- struct{}{}
			<-release
			return b, nil
		})
	}, Service("shop/raw"), MaxConcurrentCalls(1))
	instanceOf(t, srv).Changed(&policy.Snapshot{Limits: []policy.Limit{{Name: "one", MaxConcurrent: 1}}}, 0)
	c := newRuntime(t).NewClient("raw", Endpoints(addr), FixedPolicy(generous(1)))
	for range 2000 {
		if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil); err != nil {
			t.Fatal(err)
		}
	}
	pending := Go[[]byte](t.Context(), c, "Raw.Wait", nil)
	receive(t, entered, "the call")
	_, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil)
	wantFate(t, err, status.ResourceExhausted, status.FateUnexecuted)
	close(release)
	if _, err := pending.Result(); err != nil {
		t.Error(err)
	}
}

func TestMaxConcurrentCalls(t *testing.T) {
	rt := newRuntime(t)
	entered, release := make(chan struct{}, 10), make(chan struct{})
	addr, _ := serveWith(t, rt, func(s *Server) {
		HandleRaw(s, "Raw.Wait", func(_ context.Context, b []byte) ([]byte, error) {
			entered <- struct{}{}
			<-release
			return b, nil
		})
	}, MaxConcurrentCalls(2), MaxConcurrentCalls(0))
	c := rt.NewClient("raw", Endpoints(addr), FixedPolicy(generous(1)))
	a, b := Go[[]byte](t.Context(), c, "Raw.Wait", nil), Go[[]byte](t.Context(), c, "Raw.Wait", nil)
	receive(t, entered, "the first")
	receive(t, entered, "the second")
	_, err := Call[[]byte](t.Context(), c, "Raw.Wait", nil)
	wantFate(t, err, status.ResourceExhausted, status.FateUnexecuted)
	close(release)
	for _, p := range []*Pending[[]byte]{a, b} {
		if _, err := p.Result(); err != nil {
			t.Error(err)
		}
	}
}

func TestMaxConnections(t *testing.T) {
	rec := new(recorder)
	rt := newRuntime(t, WithObserver(rec))
	addr, _ := serveWith(t, rt, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }, MaxConnections(1))
	first := dialRaw(t, addr)
	echo := requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Raw", "Echo", "x")
	first.send(echo)
	first.frame()
	dialRaw(t, addr).wantEOF()
	first.send(echo)
	first.frame()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if len(rec.refused) != 1 || rec.refused[0].Reason != "connections" {
		t.Errorf("told of %+v", rec.refused)
	}
}
