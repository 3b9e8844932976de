// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// controlFrame builds a control frame by hand.
func controlFrame(method string, payload []byte) []byte {
	b := wire.Begin(nil, controlHeader(), wire.ControlPath, method)
	return b.Payload(payload)
}

// helloTo builds the hello that answers a connection's first request.
func helloTo(first wire.Frame, features ...string) []byte {
	return controlFrame(wire.MethodHello, wire.AppendHello(nil, wire.Hello{Seq: first.Seq, Features: features}))
}

// answerTo builds a success.
func answerTo(f wire.Frame) []byte {
	b := wire.Begin(nil, f.Reply(wire.StatusNormal), string(f.Path), string(f.Method))
	return b.Payload(f.Payload)
}

// givenUp starts a call and returns how to give it up and how it ended.
func givenUp(t *testing.T, c *ClientConn, req *Request, deadline time.Time) (cancel func(), ended chan error) {
	ctx, cancel := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() {
		_, err := c.Do(ctx, deadline, req)
		ended <- err
	}()
	return cancel, ended
}

func wantCancel(t *testing.T, f wire.Frame, seq uint64) {
	t.Helper()
	got, ok := wire.ParseCancel(f.Payload)
	if string(f.Path) != wire.ControlPath || string(f.Method) != wire.MethodCancel || !f.Oneway() || !ok || got != seq {
		t.Errorf("got %s.%s %x, want a cancel of %x", f.Path, f.Method, f.Payload, seq)
	}
}

func wantCode(t *testing.T, err error, code status.Code, fate status.Fate) {
	t.Helper()
	if status.CodeOf(err) != code || status.FateOf(err) != fate {
		t.Errorf("got %v (%s), want %s, %s", err, status.FateOf(err), code, fate)
	}
}

// docs/wire-protocol.md §8
func TestCancelFollowsItsRequest(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		cancel, ended := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		f := peer.frame()
		peer.send(helloTo(f, wire.FeatureCancel))
		synctest.Wait()
		cancel()
		wantCode(t, <-ended, status.Canceled, status.FateUnknown)
		wantCancel(t, peer.frame(), f.Seq)
		if n := c.cfg.Counters.Cancels.Load(); n != 1 {
			t.Errorf("%d cancels counted, want 1", n)
		}
	})
}

func TestCancelDueBeforeHelloIsKept(t *testing.T) {
	for name, tt := range map[string]struct {
		features []string
		answer   bool // the peer answers first, as an old one does
		sent     bool
	}{
		"hello with the feature":             {features: []string{wire.FeatureCancel}, sent: true},
		"hello without it":                   {features: drainOnly},
		"an answer, then a hello for nobody": {features: []string{wire.FeatureCancel}, answer: true},
	} {
		t.Run(name, func(t *testing.T) {
			pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
				cancel, ended := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
				first := peer.frame()
				cancel()
				wantCode(t, <-ended, status.Canceled, status.FateUnknown)
				if tt.answer {
					peer.send(answerTo(first))
				}
				peer.send(helloTo(first, tt.features...))
				synctest.Wait()
				if tt.sent {
					wantCancel(t, peer.frame(), first.Seq)
				}
				_, _ = givenUp(t, c, &Request{Path: "Test", Method: "Next"}, time.Time{})
				if f := peer.frame(); string(f.Method) != "Next" {
					t.Errorf("got %s.%s, want the next request and nothing else", f.Path, f.Method)
				}
			})
		})
	}
}

func TestKeptCancelsAreBounded(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		for range maxKept + 10 {
			cancel, ended := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
			peer.frame()
			cancel()
			<-ended
		}
		c.w.mu.Lock()
		defer c.w.mu.Unlock()
		if n := len(c.cancels.kept); n != maxKept {
			t.Errorf("%d cancels are kept, want %d", n, maxKept)
		}
	})
}

func TestDeadlineSendsNoCancelToThoseThatKnowIt(t *testing.T) {
	for name, told := range map[string]bool{"told": true, "not told": false} {
		t.Run(name, func(t *testing.T) {
			pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
				_, warm := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
				first := peer.frame()
				peer.send(helloTo(first, wire.FeatureCancel))
				peer.send(answerTo(first))
				if err := <-warm; err != nil {
					t.Fatal(err)
				}
				req := &Request{Path: "Test", Method: "Echo"}
				if told {
					req.Timeout = time.Second
				}
				_, ended := givenUp(t, c, req, time.Now().Add(time.Second))
				f := peer.frame()
				wantCode(t, <-ended, status.DeadlineExceeded, status.FateUnknown)
				if !told {
					wantCancel(t, peer.frame(), f.Seq)
				}
				_, _ = givenUp(t, c, &Request{Path: "Test", Method: "Next"}, time.Time{})
				if f := peer.frame(); string(f.Method) != "Next" {
					t.Errorf("got %s.%s, want the next request and nothing else", f.Path, f.Method)
				}
			})
		})
	}
}

// What is half written when its deadline passes will be read late, and would then
// have all of its time.
func TestDeadlineOfARequestHalfWrittenSendsACancel(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		_, warm := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		first := peer.frame()
		peer.send(helloTo(first, wire.FeatureCancel))
		peer.send(answerTo(first))
		if err := <-warm; err != nil {
			t.Fatal(err)
		}
		_, ended := givenUp(t, c, &Request{Path: "Test", Method: "Echo", Timeout: time.Second}, time.Now().Add(time.Second))
		synctest.Wait()
		if _, err := peer.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		wantCode(t, <-ended, status.DeadlineExceeded, status.FateUnknown)
		rest := make([]byte, wire.PrefixLen-1)
		if _, err := peer.Read(rest); err != nil {
			t.Fatal(err)
		}
		_, size, err := wire.ParsePrefix(append([]byte{wire.Magic}, rest...))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(peer, make([]byte, size-wire.PrefixLen)); err != nil {
			t.Fatal(err)
		}
		if f := peer.frame(); string(f.Method) != wire.MethodCancel {
			t.Errorf("got %+v, want a cancel", f)
		}
	})
}

// checkLevels checks that nothing is left when all is over, but for handlers that
// have answered and are about to end.
func checkLevels(t *testing.T, c *Counters) {
	t.Helper()
	levels := map[string]*atomic.Int64{
		"connections": &c.Connections, "client calls": &c.ClientCalls, "server calls": &c.ServerCalls,
		"request bytes": &c.RequestBytes, "write buffered": &c.WriteBuffered,
	}
	for name, level := range levels {
		for range 1_000_000 { // a spin on state
			if level.Load() == 0 {
				break
			}
			runtime.Gosched()
		}
		if n := level.Load(); n != 0 {
			t.Errorf("%s is %d when all is over", name, n)
		}
	}
}

// told is an Ender that says so.
type told struct{ cancelled, ended chan struct{} }

func (e told) ConnEnded(error) { close(e.ended) }
func (e told) Cancelled()      { close(e.cancelled) }

func TestCancelEndsTheHandlersContext(t *testing.T) {
	h := newCallee()
	started, release, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
	ender := told{make(chan struct{}), make(chan struct{})}
	h.serve = func(in *Inbound) {
		if string(in.Payload) != "slow" {
			in.Respond(nil, nil, wire.CompressNone)
			return
		}
		if err := in.OnEnd(ender); err != nil {
			t.Error(err)
		}
		close(started)
		<-release
		in.Respond(nil, []byte("too late"), wire.CompressNone)
		close(over)
	}
	counters := new(Counters)
	c, s, _ := connect(t, h, Config{Counters: counters}, Config{Counters: counters})
	if _, err := echo(t.Context(), c, "announce"); err != nil {
		t.Fatal(err)
	}
	cancel, ended := givenUp(t, c, &Request{Path: "Test", Method: "Echo", Payload: []byte("slow")}, time.Time{})
	<-started
	cancel()
	wantCode(t, <-ended, status.Canceled, status.FateUnknown)
	<-ender.cancelled
	if n := s.InFlight(); n != 1 {
		t.Errorf("%d requests in flight, want 1: it counts until its handler returns", n)
	}
	close(release)
	<-over
	for s.InFlight() > 0 { // a spin on state
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
	}
	if _, err := echo(t.Context(), c, "next"); err != nil { // behind whatever was written
		t.Fatal(err)
	}
	if n := counters.UnknownResponses.Load(); n != 0 {
		t.Errorf("%d answers came for a call that was given up", n)
	}
	if n := counters.Cancelled.Load(); n != 1 {
		t.Errorf("%d requests counted as cancelled, want 1", n)
	}
	c.Close()
	s.Close()
	checkLevels(t, counters)
}

// announced gives the test a connection to a ServerConn that believes it to have
// announced these features, with the answers to that read.
func announced(t *testing.T, h *callee, cfg Config, features ...string) (rawPeer, *ServerConn) {
	t.Helper()
	peer, s := serveRaw(t, h, cfg)
	a := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, Features: features})
	peer.send(request(1, "announce", wire.KeyAnnounce, string(a)))
	for {
		if f := peer.frame(); f.Response() {
			return peer, s
		}
	}
}

func TestCancelBeforeTheHandlerBegan(t *testing.T) {
	h := newCallee()
	got, proceed := make(chan error, 1), make(chan struct{})
	h.serve = func(in *Inbound) {
		if string(in.Payload) == "slow" {
			<-proceed
			got <- in.OnEnd(told{})
		}
		in.Respond(nil, in.Payload, wire.CompressNone)
	}
	peer, s := announced(t, h, Config{}, wire.FeatureCancel)
	peer.send(request(7, "slow"))
	peer.send(controlFrame(wire.MethodCancel, append(wire.AppendCancel(nil, 7), "and more"...)))
	peer.send(controlFrame(wire.MethodCancel, []byte{7})) // too short: ignored
	peer.send(request(8, "next"))
	if f := peer.frame(); f.Seq != 8 {
		t.Errorf("got an answer to %d, want to 8 only", f.Seq)
	}
	close(proceed)
	if err := <-got; !errors.Is(err, ErrCancelled) {
		t.Errorf("OnEnd: %v, want ErrCancelled", err)
	}
	peer.send(request(9, "last"))
	if f := peer.frame(); f.Seq != 9 {
		t.Errorf("got an answer to %d, want to 9 only", f.Seq)
	}
	if n := s.cfg.Counters.Cancelled.Load(); n != 1 {
		t.Errorf("%d cancelled, want 1", n)
	}
}

func TestCancelOfAPeerThatMayNotIsIgnored(t *testing.T) {
	for name, features := range map[string][]string{"without the feature": drainOnly, "that announced nothing": nil} {
		t.Run(name, func(t *testing.T) {
			h := newCallee()
			proceed := make(chan struct{})
			h.serve = func(in *Inbound) {
				if string(in.Payload) == "slow" {
					<-proceed
				}
				in.Respond(nil, in.Payload, wire.CompressNone)
			}
			var peer rawPeer
			if features != nil {
				peer, _ = announced(t, h, Config{}, features...)
			} else {
				peer, _ = serveRaw(t, h, Config{})
			}
			peer.send(request(7, "slow"))
			peer.send(controlFrame(wire.MethodCancel, wire.AppendCancel(nil, 7)))
			peer.send(request(8, "next"))
			if f := peer.frame(); f.Seq != 8 {
				t.Errorf("got an answer to %d, want to 8", f.Seq)
			}
			close(proceed)
			if f := peer.frame(); f.Seq != 7 {
				t.Errorf("got an answer to %d, want to 7", f.Seq)
			}
		})
	}
}

// Each cancel ends one request of its seq, the newest; the others are answered.
func TestCancelWithASeqUsedTwice(t *testing.T) {
	h := newCallee()
	proceed := make(chan struct{})
	var arrived sync.WaitGroup
	arrived.Add(3)
	h.serve = func(in *Inbound) {
		if string(in.Payload) != "announce" && string(in.Payload) != "last" {
			arrived.Done()
			<-proceed
		}
		in.Respond(nil, in.Payload, wire.CompressNone)
	}
	peer, s := announced(t, h, Config{}, wire.FeatureCancel)
	for _, payload := range []string{"a", "b", "c"} {
		peer.send(request(7, payload))
	}
	peer.send(controlFrame(wire.MethodCancel, wire.AppendCancel(nil, 7)))
	peer.send(controlFrame(wire.MethodCancel, wire.AppendCancel(nil, 7)))
	arrived.Wait()
	for s.cfg.Counters.Cancelled.Load() < 2 { // a spin on state
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
	}
	close(proceed)
	if f := peer.frame(); f.Seq != 7 || string(f.Payload) != "a" {
		t.Errorf("got %+v, want the answer to the oldest", f)
	}
	peer.send(controlFrame(wire.MethodCancel, wire.AppendCancel(nil, 7))) // of nothing
	peer.send(request(9, "last"))
	if f := peer.frame(); f.Seq != 9 {
		t.Errorf("got an answer to %d, want to 9", f.Seq)
	}
}

// Cancels and answers race; whoever gives up gets nothing, and nobody else's
// call is touched.
func TestCancelRacesWithAnswer(t *testing.T) {
	h := newCallee()
	counters := new(Counters)
	c, s, _ := connect(t, h, Config{Counters: counters}, Config{Counters: counters})
	if _, err := echo(t.Context(), c, "announce"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if i%2 == 0 {
					go cancel()
				}
				want := fmt.Sprint(i, " ", n)
				got, err := echo(ctx, c, want)
				if err == nil && got != want {
					t.Errorf("call %s got the answer %s", want, got)
				}
				if err != nil && (i%2 == 1 || status.CodeOf(err) != status.Canceled) {
					t.Errorf("call %s: %v", want, err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	s.Drain(time.Second, 10*time.Second)
	<-c.Done()
	checkLevels(t, counters)
}

// A drain beside calls given up: what the callee ran is what it may have run.
func TestCancelRacesWithDrain(t *testing.T) {
	for range 10 {
		h := newCallee()
		counters := new(Counters)
		c, s, _ := connect(t, h, Config{Counters: counters}, Config{Counters: counters})
		if _, err := echo(t.Context(), c, "announce"); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		var mu sync.Mutex
		ran, mayHaveRun := 1, 1
		warm := make(chan struct{}, 6)
		for i := range 6 {
			all.Go(func() {
				for n := 0; ; n++ {
					if n == 5 {
						warm <- struct{}{}
					}
					ctx, cancel := context.WithCancel(t.Context())
					if i%2 == 0 {
						go cancel()
					}
					_, err := echo(ctx, c, "x")
					cancel()
					fate := status.FateOf(err)
					mu.Lock()
					if err == nil {
						ran++
					}
					if err == nil || fate != status.FateUnexecuted {
						mayHaveRun++
					}
					mu.Unlock()
					if fate == status.FateUnexecuted && status.CodeOf(err) != status.Canceled {
						return // the connection is over
					}
				}
			})
		}
		for range 6 {
			<-warm
		}
		s.Drain(0, 10*time.Second)
		all.Wait()
		if n := h.count(); n < ran || n > mayHaveRun {
			t.Errorf("%d requests ran; %d were answered, and %d may have run", n, ran, mayHaveRun)
		}
		<-c.Done()
		checkLevels(t, counters)
	}
}
