// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func TestTenThousandCallsAtOnceOnOneConnection(t *testing.T) {
	const calls = 10_000
	h := newCallee()
	var arrived sync.WaitGroup
	arrived.Add(calls)
	release := make(chan struct{})
	h.serve = func(in *Inbound) { // every call must be in flight before one is answered
		arrived.Done()
		<-release
		in.Respond(nil, bytes.Clone(in.Payload), wire.CompressNone)
	}
	c, s, _ := connect(t, h, Config{}, Config{})
	var all sync.WaitGroup
	var wrong atomic.Int64
	for i := range calls {
		all.Go(func() {
			want := fmt.Sprint("payload ", i)
			if got, err := echo(t.Context(), c, want); err != nil || got != want {
				wrong.Add(1)
				t.Logf("call %d: %q, %v", i, got, err)
			}
		})
	}
	arrived.Wait()
	if n := c.InFlight(); n != calls {
		t.Errorf("%d calls in flight at the caller, want %d", n, calls)
	}
	if n := s.InFlight(); n != calls {
		t.Errorf("%d calls in flight at the callee, want %d", n, calls)
	}
	close(release)
	all.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d calls of %d went wrong", wrong.Load(), calls)
	}
	if c.InFlight() != 0 || s.InFlight() != 0 {
		t.Errorf("left in flight: %d and %d", c.InFlight(), s.InFlight())
	}
}

func TestAnswersFindTheirCallsWhateverTheirOrder(t *testing.T) {
	c, peer, _ := callRaw(t, Config{})
	const calls = 50
	var all sync.WaitGroup
	for i := range calls {
		all.Go(func() {
			want := fmt.Sprint(i)
			if got, err := echo(t.Context(), c, want); err != nil || got != want {
				t.Errorf("call %d got %q, %v", i, got, err)
			}
		})
	}
	frames := make([]wire.Frame, calls)
	for i := range frames {
		frames[i] = peer.frame()
	}
	for i := len(frames) - 1; i >= 0; i-- {
		f := frames[i]
		b := wire.Begin(nil, f.Reply(wire.StatusNormal), string(f.Path), string(f.Method))
		peer.send(b.Payload(f.Payload))
	}
	all.Wait()
}

func TestLateAnswerReachesNoStranger(t *testing.T) {
	c, peer, _ := callRaw(t, Config{})
	_, err := c.Do(t.Context(), time.Now().Add(10*time.Millisecond), &Request{Path: "Test", Method: "Echo"})
	if status.CodeOf(err) != status.DeadlineExceeded {
		t.Fatalf("first call: %v, want DeadlineExceeded", err)
	}
	first := peer.frame()
	got := make(chan string)
	go func() {
		s, err := echo(t.Context(), c, "second")
		got <- fmt.Sprint(s, err)
	}()
	second := peer.frame()
	if first.Seq&slotMask != second.Seq&slotMask {
		t.Fatalf("the second call uses slot %d, not slot %d again: the test tests nothing", second.Seq&slotMask, first.Seq&slotMask)
	}
	late := wire.Begin(nil, first.Reply(wire.StatusNormal), "Test", "Echo")
	peer.send(late.Payload([]byte("for the first")))
	mine := wire.Begin(nil, second.Reply(wire.StatusNormal), "Test", "Echo")
	peer.send(mine.Payload([]byte("for the second")))
	if s := <-got; s != "for the second<nil>" {
		t.Errorf("the second call got %q", s)
	}
	if n := c.cfg.Counters.UnknownResponses.Load(); n != 1 {
		t.Errorf("%d unknown responses counted, want 1", n)
	}
}

func TestServerKilledInMidCall(t *testing.T) {
	h := newCallee()
	started := make(chan *Inbound, 1)
	h.serve = func(in *Inbound) { started <- in }
	c, s, events := connect(t, h, Config{}, Config{})
	failed := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "x")
		failed <- err
	}()
	in := <-started
	_ = s.nc.Close()
	wantFate(t, <-failed, status.FateUnknown, ReasonLost)
	if <-events.ended == nil {
		t.Error("the connection ended without a reason")
	}
	in.Respond(nil, nil, wire.CompressNone) // the handler ends too late; nothing must break
	_, err := echo(t.Context(), c, "y")
	wantFate(t, err, status.FateUnexecuted, ReasonUnsent)
}

func TestConnectionsEndTellsRunningHandlers(t *testing.T) {
	h := newCallee()
	told := make(chan error, 1)
	asked := make(chan struct{})
	h.serve = func(in *Inbound) {
		if err := in.OnEnd(enderFunc(func(err error) {
			told <- err
			go in.Respond(nil, nil, wire.CompressNone)
		})); err != nil {
			t.Error(err)
		}
		close(asked)
	}
	peer, _ := serveRaw(t, h, Config{})
	peer.send(request(1, "x"))
	<-asked
	_ = peer.Close()
	if err := <-told; err == nil {
		t.Error("told of the end without a reason")
	}
	<-h.closed
}

type enderFunc func(error)

func (f enderFunc) ConnEnded(err error) { f(err) }
func (f enderFunc) Cancelled()          { f(context.Canceled) }

func TestGarbageEndsOnlyItsConnection(t *testing.T) {
	for name, garbage := range map[string]string{
		"http":            hexOf("GET / HTTP/1.1\r\n"),
		"wrong magic":     "09000010 0000000000000001 00000010 00000000000000000000000000000000",
		"total too small": "08000010 0000000000000001 0000000f 00000000000000000000000000000000",
		"path too long":   "08000010 0000000000000001 00000010 ffffffff000000000000000000000000",
		"payload short":   "08000010 0000000000000001 00000011 00000000000000000000000000000000 41",
		"metadata torn":   "08000010 0000000000000001 00000014 00000000 00000000 00000004 000000ff 00000000",
	} {
		t.Run(name, func(t *testing.T) {
			h := newCallee()
			cfg := Config{Counters: new(Counters)}
			peer, _ := serveRaw(t, h, cfg)
			peer.send(unhex(t, garbage))
			if _, err := peer.tryFrame(); err == nil {
				t.Error("garbage was answered")
			}
			var malformed *wire.MalformedError
			if err := <-h.closed; !errors.As(err, &malformed) {
				t.Errorf("the connection ended with %v, want a *wire.MalformedError", err)
			}
			if h.count() != 0 || cfg.Counters.Malformed.Load() != 1 {
				t.Errorf("%d requests served, %d malformed counted", h.count(), cfg.Counters.Malformed.Load())
			}
		})
	}
}

func hexOf(s string) string { return fmt.Sprintf("%x", s) }

func TestClientThatNeverReadsIsCutOff(t *testing.T) {
	h := newCallee()
	big := bytes.Repeat([]byte("x"), 256<<10)
	h.serve = func(in *Inbound) { in.Respond(nil, big, wire.CompressNone) }
	peer, s := serveRaw(t, h, Config{WriteTimeout: 50 * time.Millisecond, WriteBuffer: 64 << 10})
	for i := range 200 {
		if _, err := peer.Write(request(uint64(i), "")); err != nil {
			break
		}
	}
	select {
	case <-s.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the connection of a client that does not read is still open")
	}
}

func TestReaderAnswersAreBounded(t *testing.T) {
	// A peer that sends heartbeats and reads nothing must not make answers pile up.
	h := newCallee()
	peer, s := serveRaw(t, h, Config{WriteTimeout: 100 * time.Millisecond, WriteBuffer: 32 << 10})
	beat := wire.Begin(nil, wire.HeartbeatHeader(1), "", "")
	frame := beat.Payload(bytes.Repeat([]byte("x"), 4<<10))
	most := 0
	for range 20_000 {
		if _, err := peer.Write(frame); err != nil {
			break
		}
		s.w.mu.Lock()
		most = max(most, s.w.waiting())
		s.w.mu.Unlock()
	}
	<-s.Done()
	if limit := 2*(32<<10) + 8<<10; most > limit {
		t.Errorf("%d bytes of answers waited, want at most %d", most, limit)
	}
}

func TestForwardedAnnouncementIsNotBelieved(t *testing.T) {
	h := newCallee()
	h.announce = func(*wire.Announcement) { t.Error("a forwarded announcement was believed") }
	peer, s := serveRaw(t, h, Config{})
	forwarded := string(wire.AppendAnnouncement(nil, wire.Announcement{Seq: 77, Features: drainOnly, Caller: "shop/other"}))
	peer.send(request(1, "x", wire.KeyAnnounce, forwarded))
	if f := peer.frame(); !f.Response() || f.Seq != 1 || string(f.Payload) != "x" {
		t.Errorf("got %+v, want the echo", f)
	}
	// Nor does it count on a later request that has the right seq.
	peer.send(request(77, "y", wire.KeyAnnounce, forwarded))
	if f := peer.frame(); f.Seq != 77 || string(f.Payload) != "y" {
		t.Errorf("got %+v, want the echo", f)
	}
	if s.Peer() != nil {
		t.Error("the connection has a peer with extensions")
	}
}

func TestHelloIsBelievedOnlyForOurAnnouncement(t *testing.T) {
	c, peer, _ := callRaw(t, Config{})
	done := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "x")
		done <- err
	}()
	f := peer.frame()
	value, ok := f.Meta.Get(wire.KeyAnnounce)
	a, parsed := wire.ParseAnnouncement(value)
	if !ok || !parsed || a.Seq != f.Seq || a.To != "test/echo" {
		t.Fatalf("announcement %q, want one with seq %x", value, f.Seq)
	}
	hello := func(seq uint64) []byte {
		b := wire.Begin(nil, controlHeader(), wire.ControlPath, wire.MethodHello)
		return b.Payload(wire.AppendHello(nil, wire.Hello{Seq: seq, Features: drainOnly}))
	}
	drain := wire.Begin(nil, controlHeader(), wire.ControlPath, wire.MethodDrain)
	peer.send(hello(f.Seq + 1))
	peer.send(drain.Payload(wire.AppendDrain(nil, time.Second)))
	reply := wire.Begin(nil, f.Reply(wire.StatusNormal), "Test", "Echo")
	peer.send(reply.Payload(nil))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if c.Peer() != nil || c.Draining() {
		t.Error("a hello with another seq was believed")
	}
	peer.send(hello(f.Seq))
	go func() {
		_, err := echo(t.Context(), c, "y")
		done <- err
	}()
	f = peer.frame()
	if _, again := f.Meta.Get(wire.KeyAnnounce); again {
		t.Error("the second request announces too")
	}
	reply = wire.Begin(nil, f.Reply(wire.StatusNormal), "Test", "Echo")
	peer.send(reply.Payload(nil))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if c.Peer() == nil {
		t.Error("the right hello was not believed")
	}
}

func TestCalleeIsToldWhoIsMeantBeforeTheFirstRequest(t *testing.T) {
	h := newCallee()
	var to string
	h.announce = func(a *wire.Announcement) { to = a.To }
	h.serve = func(in *Inbound) { in.Respond(nil, []byte(to), wire.CompressNone) } // written before by the reader that serves it
	c, _, _ := connect(t, h, Config{}, Config{})
	if got, err := echo(t.Context(), c, "x"); err != nil || got != "test/echo" {
		t.Errorf("the callee learnt %q, %v", got, err)
	}
}

func TestHeartbeatIsEchoedByteForByte(t *testing.T) {
	peer, _ := serveRaw(t, newCallee(), Config{})
	for _, flags := range []byte{0x40, 0x60} { // oneway ones too
		h := wire.HeartbeatHeader(3)
		h.Flags = flags
		b := wire.Begin(nil, h, "", "")
		b.Meta("k", "v")
		beat := b.Payload([]byte{0xd3, 0x17, 0x97, 0x9c, 0xfe, 0x36, 0x2a, 0, 0})
		peer.send(beat)
		f := peer.frame()
		if v, _ := f.Meta.Get("k"); f.Flags != flags|0x80 || f.Seq != 3 || string(v) != "v" || !bytes.Equal(f.Payload, beat[len(beat)-9:]) {
			t.Errorf("heartbeat with flags %#x: got %+v", flags, f)
		}
	}
}

func TestOversizedRequestIsAnsweredAndTheConnectionKept(t *testing.T) {
	h := newCallee()
	c, _, _ := connect(t, h, Config{}, Config{Limits: wire.Limits{FrameBytes: 32 << 10}})
	if got, err := echo(t.Context(), c, "before"); err != nil || got != "before" {
		t.Fatalf("%q, %v", got, err)
	}
	_, err := echo(t.Context(), c, strings.Repeat("x", 100<<10))
	if err == nil || !strings.Contains(err.Error(), "exceeds the limit") {
		t.Errorf("a request over the limit got %v", err)
	}
	if got, err := echo(t.Context(), c, "after"); err != nil || got != "after" {
		t.Errorf("the connection did not survive: %q, %v", got, err)
	}
	if h.count() != 2 {
		t.Errorf("%d requests were served, want 2", h.count())
	}
	_, err = echo(t.Context(), c, strings.Repeat("x", 300<<10)) // beyond what is thrown away
	if err == nil {
		t.Error("a request of ten times the limit was served")
	}
	<-h.closed
}

func TestOversizedResponseFailsThatCallOnly(t *testing.T) {
	h := newCallee()
	c, _, _ := connect(t, h, Config{Limits: wire.Limits{FrameBytes: 32 << 10}}, Config{})
	if _, err := echo(t.Context(), c, "announce"); err != nil {
		t.Fatal(err)
	}
	_, err := echo(t.Context(), c, strings.Repeat("x", 100<<10))
	if status.CodeOf(err) != status.ResourceExhausted || status.FateOf(err) != status.FateExecuted {
		t.Errorf("got %v (%s), want ResourceExhausted, executed", err, status.FateOf(err))
	}
	if got, err := echo(t.Context(), c, "after"); err != nil || got != "after" {
		t.Errorf("the connection did not survive: %q, %v", got, err)
	}
}

func TestLargeAndSmallFramesKeepTheirOrder(t *testing.T) {
	c, _, _ := connect(t, newCallee(), Config{}, Config{})
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			want := strings.Repeat(string(rune('a'+i%26)), 1+i*7000) // some by reference, some copied
			if got, err := echo(t.Context(), c, want); err != nil || got != want {
				t.Errorf("call %d: %d bytes of %d, %v", i, len(got), len(want), err)
			}
		})
	}
	all.Wait()
}

// A caller that knows of no window is refused what is too much, at once.
func TestCallsBeyondTheBoundsAreRefusedUnexecuted(t *testing.T) {
	h, release := stuck()
	h.serve = func(serve func(*Inbound)) func(*Inbound) {
		return func(in *Inbound) {
			if string(in.Payload) == "announce" {
				in.Respond(nil, nil, wire.CompressNone)
				return
			}
			serve(in)
		}
	}(h.serve)
	peer, s := announced(t, h, Config{MaxCalls: 2}, drainOnly...)
	for s.InFlight() > 0 { // a spin on state
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
	}
	for seq := range uint64(3) {
		peer.send(request(seq+10, "x"))
	}
	f := peer.frame()
	retry, _ := f.Meta.Get(wire.KeyRetry)
	want := wire.Retry{Word: wire.RetryUnexecuted, Reason: wire.ReasonLimit}
	if f.Seq != 12 || f.Status() != wire.StatusError || wire.ParseRetry(retry) != want {
		t.Errorf("got %+v with %q, want a refusal of the third call", f, retry)
	}
	release()
	for range 2 {
		if f := peer.frame(); f.Status() != wire.StatusNormal {
			t.Errorf("got %+v", f)
		}
	}
}

func TestCallerBeyondItsTableFailsUnexecuted(t *testing.T) {
	c, peer, _ := callRaw(t, Config{MaxCalls: 1}) // the peer says no window
	done := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "x")
		done <- err
	}()
	f := peer.frame()
	_, err := echo(t.Context(), c, "y")
	if status.CodeOf(err) != status.ResourceExhausted || status.FateOf(err) != status.FateUnexecuted {
		t.Errorf("got %v", err)
	}
	peer.send(answerTo(f))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCallerThatGivesUpReturnsAtOnce(t *testing.T) {
	h := newCallee()
	release := make(chan struct{})
	started := make(chan struct{})
	h.serve = func(in *Inbound) {
		close(started)
		<-release
		in.Respond(nil, nil, wire.CompressNone)
	}
	c, _, _ := connect(t, h, Config{}, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := echo(ctx, c, "x")
		done <- err
	}()
	<-started
	cancel()
	if err := <-done; status.CodeOf(err) != status.Canceled || status.FateOf(err) != status.FateUnknown {
		t.Errorf("got %v", err)
	}
	close(release)
}

func TestPushReachesTheCaller(t *testing.T) {
	h := newCallee()
	h.serve = func(in *Inbound) {
		if err := in.Conn.Push(context.Background(), wire.SerializeRaw, "notify", "m", []byte("hi")); err != nil {
			t.Error(err)
		}
		in.Respond(nil, nil, wire.CompressNone)
	}
	c, _, events := connect(t, h, Config{}, Config{})
	if _, err := echo(t.Context(), c, "x"); err != nil {
		t.Fatal(err)
	}
	if got := <-events.pushes; got != "notify.m hi" {
		t.Errorf("push %q", got)
	}
}
