// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// who answers with n, its instance's number.
func who(n int) func(*Server) {
	return func(s *Server) {
		Handle(s, "Fan.Who", func(context.Context, *mulArgs) (*mulReply, error) { return &mulReply{n}, nil })
	}
}

// fleet is so many instances, of which each answers with its number from 1 on.
func fleet(t testing.TB, n int) (addrs []string) {
	rt := newRuntime(t)
	for i := 1; i <= n; i++ {
		addr, _ := serveWith(t, rt, who(i))
		addrs = append(addrs, addr)
	}
	return addrs
}

func TestBroadcastReachesEveryEndpoint(t *testing.T) {
	var calls atomic.Int64
	rt := newRuntime(t)
	var addrs []string
	for range 5 {
		addr, _ := serveWith(t, rt, func(s *Server) {
			Handle(s, "Fan.Who", func(context.Context, *mulArgs) (*mulReply, error) { calls.Add(1); return &mulReply{7}, nil })
		})
		addrs = append(addrs, addr)
	}
	obs := &recorder{}
	var seen *ClientCall
	c := newRuntime(t, WithObserver(obs)).NewClient("test", Endpoints(addrs...), ClientIntercept(func(next ClientInvoker) ClientInvoker {
		return func(ctx context.Context, call *ClientCall) error {
			if seen != nil {
				t.Error("the interceptor ran for each endpoint")
			}
			seen = call
			return next(ctx, call)
		}
	}))
	var r mulReply
	if err := Broadcast(t.Context(), c, "Fan.Who", &mulArgs{}, &r); err != nil {
		t.Fatal(err)
	}
	if calls.Load() != 5 || r.C != 7 || seen.Attempts != 5 {
		t.Errorf("%d calls, reply %+v, %d attempts", calls.Load(), r, seen.Attempts)
	}
	if len(obs.called) != 1 || obs.called[0].Attempts != 5 || obs.called[0].Code != status.OK || len(obs.attempted) != 0 {
		t.Errorf("observed %+v, %+v", obs.called, obs.attempted)
	}
	for _, state := range c.endpointStates() {
		if n := state.InFlight(); n != 0 {
			t.Errorf("%d calls stay in flight", n)
		}
	}
	seen = nil
	if err := Broadcast(t.Context(), c, "Fan.Who", &mulArgs{}, nil); err != nil {
		t.Errorf("without a reply: %v", err)
	}
}

func TestBroadcastFailsIfAnyEndpointDoes(t *testing.T) {
	dead := deadAddr(t)
	addrs := append(fleet(t, 2), dead)
	obs := &recorder{}
	c := newRuntime(t, WithObserver(obs)).NewClient("test", Endpoints(addrs...), FixedPolicy(policy.CallFields{Timeout: ptr(patience)}))
	var r mulReply
	err := Broadcast(t.Context(), c, "Fan.Who", &mulArgs{}, &r)
	wantFate(t, err, status.Unavailable, status.FateExecuted) // by the others
	var story *FanOutError
	if !errors.As(err, &story) || story.Endpoints != 3 || len(story.Failures) != 1 || story.Failures[0].Address != dead {
		t.Fatalf("story %+v of %v", story, err)
	}
	wantFate(t, story.Failures[0].Err, status.Unavailable, status.FateUnexecuted)
	if !strings.Contains(err.Error(), dead) || strings.Contains(err.Error(), addrs[0]) {
		t.Errorf("the error must name the dead one, and only it: %v", err)
	}
	if r.C == 0 {
		t.Error("the first success left no reply")
	}
	if len(obs.attempted) != 1 || obs.attempted[0].Address != dead || obs.attempted[0].Retry {
		t.Errorf("observed %+v", obs.attempted)
	}
	if !ofCall(err) {
		t.Error("a handler could not tell that this is the error of a call of its own")
	}
}

// One whose reply does not decode has not succeeded.
func TestBroadcastDecodesEveryReply(t *testing.T) {
	for _, first := range []bool{true, false} {
		odd, _ := oldServer(t, func(f wire.Frame) []byte { return reply(f, wire.StatusNormal, "\xc1") })
		addrs := append(fleet(t, 1), odd)
		if first {
			slices.Reverse(addrs)
		}
		c := newRuntime(t).NewClient("test", Endpoints(addrs...))
		var r mulReply
		err := Broadcast(t.Context(), c, "Fan.Who", &mulArgs{}, &r)
		wantFate(t, err, status.Internal, status.FateExecuted)
	}
}

// All endpoints that a client knows count, those that no Picker would choose too.
func TestFanOutsAskUnusableEndpoints(t *testing.T) {
	addrs := fleet(t, 3)
	c := newRuntime(t).NewClient("test", Endpoints(addrs...))
	states := c.endpointStates()
	states[0].Drain()
	states[1].Drop(c.rt.now())
	states[2].DialFailed(c.rt.now(), 1<<63)
	receipts, err := Inform[mulReply](t.Context(), c, "Fan.Who", &mulArgs{})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range receipts {
		if r.Err != nil || r.Reply.C != i+1 {
			t.Errorf("endpoint %d: %+v", i, r)
		}
	}
}

func TestForkTakesTheFirstSuccessAndCancelsTheRest(t *testing.T) {
	rt := newRuntime(t)
	entered, ended := make(chan struct{}, 2), make(chan error, 2)
	slow := func(s *Server) {
		Handle(s, "Fan.Who", func(ctx context.Context, _ *mulArgs) (*mulReply, error) {
			entered <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
	}
	var addrs []string
	for range 2 {
		addr, _ := serveWith(t, rt, slow)
		addrs = append(addrs, addr)
	}
	fast, _ := serveWith(t, rt, func(s *Server) {
		Handle(s, "Fan.Who", func(ctx context.Context, _ *mulArgs) (*mulReply, error) {
			SetReplyMetadata(ctx, "from", "fast")
			for range 2 { // it is not alone
				select {
				case <-entered:
				case <-ctx.Done():
				}
			}
			return &mulReply{3}, nil
		})
	})
	obs := &recorder{}
	c := newRuntime(t, WithObserver(obs)).NewClient("test", Endpoints(append(addrs, deadAddr(t), fast)...), FixedPolicy(policy.CallFields{Timeout: ptr(patience)}))
	var md Metadata
	r, err := Fork[mulReply](t.Context(), c, "Fan.Who", &mulArgs{}, ReplyMetadata(&md))
	if err != nil {
		t.Fatal(err)
	}
	if r.C != 3 || md["from"] != "fast" {
		t.Errorf("reply %+v, metadata %v", r, md)
	}
	for range 2 {
		if err := receive(t, ended, "the end of a loser's handler"); !errors.Is(err, context.Canceled) {
			t.Errorf("a loser ended by %v, and was not cancelled", err)
		}
	}
	for _, e := range obs.attempted {
		if e.Code == status.Canceled {
			t.Errorf("a loser counts as a failure: %+v", e)
		}
	}
}

func TestForkFailsWithEveryStory(t *testing.T) {
	refusing, _ := serveWith(t, newRuntime(t), func(s *Server) {
		Handle(s, "Fan.Who", func(context.Context, *mulArgs) (*mulReply, error) {
			return nil, status.New(status.NotFound, "no such thing")
		})
	})
	dead := deadAddr(t)
	c := newRuntime(t).NewClient("test", Endpoints(refusing, dead))
	r, err := Fork[mulReply](t.Context(), c, "Fan.Who", &mulArgs{})
	wantFate(t, err, status.NotFound, status.FateExecuted)
	if r != nil || !strings.Contains(err.Error(), "no such thing") || !strings.Contains(err.Error(), dead) {
		t.Errorf("reply %v, error %v", r, err)
	}
}

func TestInformHasAReceiptForEachEndpoint(t *testing.T) {
	addrs := fleet(t, 3)
	dead := deadAddr(t)
	all := []string{addrs[2], dead, addrs[0], addrs[1], addrs[0]} // one twice
	c := newRuntime(t).NewClient("test", Endpoints(all...))
	for range 3 {
		receipts, err := Inform[mulReply](t.Context(), c, "Fan.Who", &mulArgs{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range receipts {
			if (r.Err == nil) != (r.Reply != nil) {
				t.Errorf("%+v has both or neither", r)
			}
			if r.Err != nil {
				wantFate(t, r.Err, status.Unavailable, status.FateUnexecuted)
				got = append(got, r.Address)
				continue
			}
			got = append(got, r.Address+"="+fmt.Sprint(r.Reply.C))
		}
		want := []string{addrs[2] + "=3", dead, addrs[0] + "=1", addrs[1] + "=2"}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
}

func TestFanOutsWithoutEndpoints(t *testing.T) {
	inWorld(t, func(w *world) {
		w.changed()
		ctx := w.t.Context()
		_, forked := Fork[mulReply](ctx, w.c, "Fan.Who", &mulArgs{})
		receipts, informed := Inform[mulReply](ctx, w.c, "Fan.Who", &mulArgs{})
		for what, err := range map[string]error{
			"Broadcast": Broadcast(ctx, w.c, "Fan.Who", &mulArgs{}, nil), "Fork": forked, "Inform": informed,
		} {
			if err == nil {
				t.Errorf("%s succeeded without an endpoint", what)
				continue
			}
			wantFate(t, err, status.Unavailable, status.FateUnexecuted)
		}
		if receipts != nil {
			t.Errorf("receipts %v", receipts)
		}
	})
}

// A dead host that answers nothing holds up neither the other endpoints nor
// other calls.
func TestFanOutsDialAtOnce(t *testing.T) {
	hold, begun, entered := make(chan struct{}), make(chan struct{}, 3), make(chan struct{}, 4)
	var addrs []string
	for range 4 {
		addr, _ := serveWith(t, newRuntime(t), func(s *Server) {
			Handle(s, "Fan.Who", func(context.Context, *mulArgs) (*mulReply, error) { entered <- struct{}{}; return &mulReply{}, nil })
		})
		addrs = append(addrs, addr)
	}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "dead") {
			begun <- struct{}{}
			select {
			case <-hold:
			case <-ctx.Done():
			}
			return nil, errors.New("no route to host")
		}
		return dialTCP(ctx, address)
	}
	all := append([]string{"dead1:1", "dead2:1", "dead3:1"}, addrs...)
	c := newRuntime(t, WithDialer(dial)).NewClient("test", Endpoints(all...))
	done := make(chan error, 1)
	go func() {
		receipts, err := Inform[mulReply](context.Background(), c, "Fan.Who", &mulArgs{})
		for i, r := range receipts {
			if dead := i < 3; dead != (r.Err != nil) {
				err = errors.Join(err, fmt.Errorf("receipt %+v", r))
			}
		}
		done <- err
	}()
	for range 3 { // all three are being dialled at the same time
		receive(t, begun, "a dial")
	}
	for range 4 { // and the others are called meanwhile
		receive(t, entered, "a call")
	}
	close(hold)
	if err := receive(t, done, "the end"); err != nil {
		t.Error(err)
	}
}

// More endpoints than goroutines.
func TestFanOutsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, dials atomic.Int64
		release := make(chan struct{})
		rt, err := New(WithoutRegistry(), WithDialer(func(context.Context, string) (net.Conn, error) {
			now.Add(1)
			defer now.Add(-1)
			dials.Add(1)
			<-release
			return nil, errors.New("no")
		}))
		if err != nil {
			t.Fatal(err)
		}
		var addrs []string
		for i := range 3 * maxFanOut {
			addrs = append(addrs, fmt.Sprintf("host%d:1", i))
		}
		c := rt.NewClient("test", Endpoints(addrs...))
		done := make(chan error, 1)
		go func() { done <- Broadcast(context.Background(), c, "Fan.Who", &mulArgs{}, nil) }()
		synctest.Wait()
		if n := now.Load(); n != maxFanOut {
			t.Errorf("%d dials at once, want %d", n, maxFanOut)
		}
		close(release)
		err = <-done
		var story *FanOutError
		if !errors.As(err, &story) || len(story.Failures) != len(addrs) || dials.Load() != int64(len(addrs)) {
			t.Fatalf("%d dials, story %+v", dials.Load(), story)
		}
		if text := err.Error(); !strings.Contains(text, "host255:1") || strings.Contains(text, "host256:1") || !strings.Contains(text, "and 128 more") {
			t.Errorf("text of %d bytes: %.200s", len(text), text)
		}
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// docs/wire-protocol.md §9: what surely never left is sent again, to the same
// endpoint; what left is not.
func TestFanOutsResendWhatWasNotRead(t *testing.T) {
	ids := newIDs()
	handle := func(s *Server) {
		HandleRaw(s, "Raw.Count", func(_ context.Context, b []byte) ([]byte, error) { ids.ran(idOf(b)); return b, nil })
	}
	addr, _ := serveWith(t, newRuntime(t), handle)
	c := newRuntime(t).NewClient("test", Endpoints(addr))
	if _, err := Inform[[]byte](t.Context(), c, "Raw.Count", idBytes(1)); err != nil {
		t.Fatal(err)
	}
	// The client does not know yet that its connection takes no calls.
	state := c.endpointStates()[0]
	l := state.Attached().(*endpoint).link.Load() //nolint:forcetypeassert // ours
	stale := l.conn.Load()
	stale.Close()
	l.conn.Store(stale)
	r := fanResult{}
	o := outgoingCall{client: c, call: ClientCall{Method: "Raw.Count", Arg: idBytes(2), fan: &fan{}}, policy: c.state.Load().method("Raw.Count"), deadline: time.Now().Add(patience)}
	buf, err := o.request(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer freeEncoded(buf)
	o.fanTo(t.Context(), state, &r)
	if r.err != nil {
		t.Errorf("not sent again: %v", r.err)
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.runs[2] != 1 {
		t.Errorf("it ran %d times", ids.runs[2])
	}
}

func TestFanOutDoesNotResendWhatMayHaveRun(t *testing.T) {
	var runs atomic.Int64
	ln := listen(t, "")
	srv := newRuntime(t).NewServer()
	Handle(srv, "Fan.Who", func(context.Context, *mulArgs) (*mulReply, error) {
		runs.Add(1)
		ln.cut()
		return &mulReply{}, nil
	})
	start(t, srv, ln)
	c := newRuntime(t).NewClient("test", Endpoints(ln.Addr().String()), FixedPolicy(generous(3), "Fan.Who"))
	err := Broadcast(t.Context(), c, "Fan.Who", &mulArgs{}, nil)
	wantFate(t, err, status.Unavailable, status.FateUnknown)
	if runs.Load() != 1 {
		t.Errorf("it ran %d times", runs.Load())
	}
}

func TestFanOutEndsWithItsCaller(t *testing.T) {
	entered := make(chan struct{}, 3)
	rt := newRuntime(t)
	var addrs []string
	for range 3 {
		addr, _ := serveWith(t, rt, func(s *Server) {
			Handle(s, "Fan.Who", func(ctx context.Context, _ *mulArgs) (*mulReply, error) {
				entered <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			})
		})
		addrs = append(addrs, addr)
	}
	c := newRuntime(t).NewClient("test", Endpoints(addrs...))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Broadcast(ctx, c, "Fan.Who", &mulArgs{}, nil) }()
	for range 3 {
		receive(t, entered, "a handler")
	}
	cancel()
	err := receive(t, done, "the end")
	wantCode(t, err, status.Canceled)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not say that the caller gave up", err)
	}
}

func TestFanOutArguments(t *testing.T) {
	c := newRuntime(t).NewClient("test", Endpoints(fleet(t, 1)...))
	_, pointer := Fork[*mulReply](t.Context(), c, "Fan.Who", &mulArgs{})
	_, iface := Inform[any](t.Context(), c, "Fan.Who", &mulArgs{})
	_, name := Inform[mulReply](t.Context(), c, "nodot", &mulArgs{})
	for what, err := range map[string]error{
		"pointer": pointer, "interface": iface, "name": name,
		"reply by value": Broadcast(t.Context(), c, "Fan.Who", &mulArgs{}, mulReply{}),
		"nil pointer":    Broadcast(t.Context(), c, "Fan.Who", &mulArgs{}, (*mulReply)(nil)),
		"argument":       Broadcast(t.Context(), c, "Fan.Who", make(chan int), nil),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
			continue
		}
		wantFate(t, err, status.InvalidArgument, status.FateUnexecuted)
	}
}

// An interceptor cannot make up what the endpoints did not say.
func TestFanOutsCannotBeBypassed(t *testing.T) {
	addrs := fleet(t, 2)
	for name, intercept := range map[string]ClientInterceptor{
		"answered itself": func(ClientInvoker) ClientInvoker { return func(context.Context, *ClientCall) error { return nil } },
		"another call": func(next ClientInvoker) ClientInvoker {
			return func(ctx context.Context, call *ClientCall) error {
				return next(ctx, &ClientCall{Service: call.Service, Method: call.Method, Arg: call.Arg, Reply: call.Reply})
			}
		},
	} {
		c := newRuntime(t).NewClient("test", Endpoints(addrs...), ClientIntercept(intercept))
		_, forked := Fork[mulReply](t.Context(), c, "Fan.Who", &mulArgs{})
		_, informed := Inform[mulReply](t.Context(), c, "Fan.Who", &mulArgs{})
		for what, err := range map[string]error{
			"Broadcast": Broadcast(t.Context(), c, "Fan.Who", &mulArgs{}, nil), "Fork": forked, "Inform": informed,
		} {
			if !errors.Is(err, errFanBypassed) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

func TestWorseFate(t *testing.T) {
	fates := []status.Fate{status.FateUnexecuted, status.FateExecuted, status.FateUnknown} // rising
	for i, a := range fates {
		for j, b := range fates {
			if got := worseFate(a, b); got != fates[max(i, j)] {
				t.Errorf("%s and %s: %s", a, b, got)
			}
		}
	}
}
