// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"net"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func TestSharedBound(t *testing.T) {
	s := NewShared(100)
	if s.Max() != 100 || NewShared(0).Max() != 256<<20 || NewShared(-1).Max() != 256<<20 {
		t.Errorf("bounds %d, %d", s.Max(), NewShared(0).Max())
	}
	if !s.Reserve(60) || s.Reserve(41) || !s.Reserve(40) || s.Bytes() != 100 {
		t.Errorf("%d bytes reserved, want 60 and 40", s.Bytes())
	}
	s.Release(100)
	if !s.Reserve(1000) { // alone
		t.Error("one that is larger than the bound does not pass when it is alone")
	}
	if s.Reserve(1) {
		t.Error("another passes beside it")
	}
	s.Release(1000)
	if s.Bytes() != 0 {
		t.Errorf("%d bytes are left", s.Bytes())
	}
	// Frames half read have half of it.
	if !s.holdPartial(40, 0) || s.holdPartial(11, 0) || !s.holdPartial(10, 40) || s.holdPartial(1, 40) || !s.Reserve(50) {
		t.Errorf("%d bytes are reserved, %d of frames half read", s.Bytes(), s.partial.Load())
	}
	s.releasePartial(50)
	s.Release(50)
	if !s.holdPartial(1000, 0) || s.holdPartial(1, 0) { // alone
		t.Errorf("%d bytes are reserved, %d of frames half read", s.Bytes(), s.partial.Load())
	}
}

// stuck makes a callee whose handlers wait.
func stuck() (h *callee, release func()) {
	h = newCallee()
	ch := make(chan struct{})
	h.serve = func(in *Inbound) {
		<-ch
		in.Respond(nil, nil, wire.CompressNone)
	}
	return h, func() { close(ch) }
}

// docs/wire-protocol.md §4
func TestBytesOfRequestsAreBounded(t *testing.T) {
	for name, cfg := range map[string]Config{
		"of a connection": {MaxRequestBytes: 1000},
		"of a server":     {Shared: NewShared(1000)},
	} {
		t.Run(name, func(t *testing.T) {
			h, release := stuck()
			cfg.Counters = new(Counters)
			peer, s := serveRaw(t, h, cfg)
			peer.send(request(1, strings.Repeat("x", 5000))) // alone
			peer.send(request(2, "y"))
			f := peer.frame()
			text, _ := f.Meta.Get(wire.KeyError)
			if f.Seq != 2 || f.Status() != wire.StatusError || !strings.Contains(string(text), "1000 bytes") {
				t.Errorf("got %+v %q, want a refusal of the second", f, text)
			}
			release()
			if f := peer.frame(); f.Seq != 1 || f.Status() != wire.StatusNormal {
				t.Errorf("got %+v, want the answer to the first", f)
			}
			if n := cfg.Counters.Refused.Load(); n != 1 {
				t.Errorf("%d refused, want 1", n)
			}
			for s.InFlight() > 0 {
				if s.Err() != nil {
					t.Fatal(s.Err())
				}
			}
			peer.send(request(3, "z"))
			if f := peer.frame(); f.Seq != 3 || f.Status() != wire.StatusNormal {
				t.Errorf("got %+v, want an answer: there is room again", f)
			}
			_ = peer.Close()
			<-h.closed
			s.Close()
			checkLevels(t, cfg.Counters)
			if cfg.Shared != nil && cfg.Shared.Bytes() != 0 {
				t.Errorf("%d bytes of the server's bound are lost", cfg.Shared.Bytes())
			}
		})
	}
}

func TestReserve(t *testing.T) {
	for name, cfg := range map[string]Config{
		"of a connection": {MaxRequestBytes: 1000},
		"of a server":     {Shared: NewShared(1000)},
	} {
		t.Run(name, func(t *testing.T) {
			h := newCallee()
			requests := make(chan *Inbound, 2)
			h.serve = func(in *Inbound) { requests <- in }
			cfg.Counters = new(Counters)
			peer, s := serveRaw(t, h, cfg)
			peer.send(request(1, "x"))
			one := <-requests
			if !one.Reserve(5000) {
				t.Error("alone, it may hold more than the bound")
			}
			if !one.Reserve(-4500) {
				t.Error("nothing can be given back")
			}
			peer.send(request(2, "y"))
			two := <-requests
			if two.Reserve(600) {
				t.Error("both together may not")
			}
			if !two.Reserve(400) {
				t.Error("there is room for that")
			}
			if got := cfg.Counters.RequestBytes.Load(); got != 902 {
				t.Errorf("%d bytes are being served, want 902", got)
			}
			one.Respond(nil, nil, wire.CompressNone)
			two.Fail(status.New(status.Internal, "x"), wire.Retry{}, nil, nil)
			peer.frame()
			peer.frame()
			_ = peer.Close()
			<-h.closed
			s.Close()
			checkLevels(t, cfg.Counters)
			if cfg.Shared != nil && cfg.Shared.Bytes() != 0 {
				t.Errorf("%d bytes of the server's bound are lost", cfg.Shared.Bytes())
			}
		})
	}
	foreign := NewInbound(wire.Header{}, "a", "b", nil, func(Answer) {})
	if !foreign.Reserve(1 << 40) {
		t.Error("a request without a connection has no bound here")
	}
}

// Frames half read count too; what finds no room is thrown away and refused, and
// the connection goes on.
func TestFramesHalfReadAreBounded(t *testing.T) {
	h := newCallee()
	cfg := Config{Shared: NewShared(400 << 10), Counters: new(Counters)}
	peer, s := serveRaw(t, h, cfg)
	peer.send(request(1, "first")) // an oversized first request would end the connection
	peer.frame()
	holder, holds := serveRaw(t, h, cfg)
	holder.send(request(1, strings.Repeat("x", 300<<10))[:150<<10])
	for cfg.Shared.Bytes() < 256<<10 { // a spin on state
		if holds.Err() != nil {
			t.Fatal(holds.Err())
		}
	}
	peer.send(request(2, strings.Repeat("y", 200<<10)))
	f := peer.frame()
	if text, _ := f.Meta.Get(wire.KeyError); f.Seq != 2 || f.Status() != wire.StatusError || !strings.Contains(string(text), "all connections") {
		t.Errorf("got %+v %q, want a refusal", f, text)
	}
	for cfg.Shared.Bytes() != 256<<10 { // what is thrown away is not held: a spin on state
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
	}
	peer.send(request(3, "small"))
	if f := peer.frame(); f.Seq != 3 || string(f.Payload) != "small" {
		t.Errorf("got %+v, want the connection to go on", f)
	}
	_ = holder.Close()
	holds.Close()
	peer.send(request(4, strings.Repeat("y", 200<<10)))
	if f := peer.frame(); f.Seq != 4 || len(f.Payload) != 200<<10 {
		t.Errorf("got %d bytes for %d, want an answer: there is room again", len(f.Payload), f.Seq)
	}
	_ = peer.Close()
	s.Close()
	if n := cfg.Shared.Bytes(); n != 0 {
		t.Errorf("%d bytes of the server's bound are lost", n)
	}
	checkLevels(t, cfg.Counters)
}

// A large heartbeat is echoed from memory that the reader does not use again.
func TestLargeHeartbeatIsEchoedIntact(t *testing.T) {
	peer, _ := serveRaw(t, newCallee(), Config{})
	const beats = 20
	go func() {
		for i := range beats {
			b := wire.Begin(nil, wire.HeartbeatHeader(uint64(i)), "", "")
			peer.send(b.Payload(bytes.Repeat([]byte{byte(i)}, 100<<10)))
		}
	}()
	for i := range beats {
		f := peer.frame()
		if f.Seq != uint64(i) || !bytes.Equal(f.Payload, bytes.Repeat([]byte{byte(i)}, 100<<10)) {
			t.Errorf("heartbeat %d came back as %d, with %x...", i, f.Seq, f.Payload[:4])
		}
	}
}

// What was held for a frame that is no request is given back when it is over.
func TestHeldBytesAreGivenBack(t *testing.T) {
	shared := NewShared(0)
	var beats []byte
	for range 3 {
		b := wire.Begin(beats, wire.HeartbeatHeader(1), "", "")
		beats = b.Payload(make([]byte, 100<<10))
	}
	r := readerOf(&feed{rest: beats, piece: 30 << 10}, shared)
	held := false
	for {
		_, _, ok, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		held = held || shared.Bytes() > 0
		if !ok && r.fill() != nil {
			break
		}
	}
	r.compact()
	if n := shared.Bytes(); n != 0 || !held {
		t.Errorf("%d bytes are held between frames (ever: %v)", n, held)
	}
	r.release()
}

func TestHugeHeartbeatIsNotEchoed(t *testing.T) {
	peer, s := serveRaw(t, newCallee(), Config{})
	b := wire.Begin(nil, wire.HeartbeatHeader(1), "", "")
	peer.send(b.Payload(make([]byte, maxHeartbeat+1)))
	peer.send(request(2, "next"))
	if f := peer.frame(); f.Seq != 2 {
		t.Errorf("got %d, want no heartbeat and the answer to 2", f.Seq)
	}
	if n := s.cfg.Counters.OverLimit.Load(); n != 1 {
		t.Errorf("%d frames over a limit counted, want 1", n)
	}
}

// A callee that said bye and does not close must not keep the connection open.
func TestByeEndsTheConnectionOnceNoCallIsLeft(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, events *caller) {
		_, one := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		first := peer.frame()
		peer.send(helloTo(first, drainOnly...))
		_, two := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Now().Add(time.Second))
		peer.frame()
		peer.send(controlFrame(wire.MethodBye, wire.AppendBye(nil, 2)))
		peer.send(answerTo(first))
		if err := <-one; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if err := c.Err(); err != nil {
			t.Fatalf("ended with %v, although a call is left", err)
		}
		wantCode(t, <-two, status.DeadlineExceeded, status.FateUnknown) // ends without a frame
		if err := <-events.ended; !errors.Is(err, errBye) {
			t.Errorf("ended with %v, want the bye", err)
		}
	})
}

// The reader's answers wait twice the bound at most, and whoever reads nothing
// is cut off; then nothing is left of any level.
func TestLevelsAreZeroAfterAPeerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		h := newCallee()
		cfg := Config{WriteBuffer: 4 << 10, Counters: new(Counters)}
		s := NewServer(far, cfg, h, nil)
		for i := range 1000 {
			if _, err := near.Write(request(uint64(i), strings.Repeat("x", 1000))); err != nil {
				break
			}
		}
		<-h.closed
		_ = near.Close()
		s.Close()
		synctest.Wait()
		checkLevels(t, cfg.Counters)
	})
}

// docs/wire-protocol.md §5: what remains of the caller's attempt, however odd.
func TestServerTimeout(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"1500": 1500 * time.Millisecond, "1": time.Millisecond, "0": 1, "-5": 1, "-9223372036855": 1, "-9223372036854775808": 1,
		"": 0, "soon": 0, "9223372036855": 0, "99999999999999999999": 0,
	} {
		b := wire.Begin(nil, wire.Header{}, "", "")
		b.Meta(wire.KeyServerTimeout, value)
		f, err := wire.Parse(b.Payload(nil))
		if err != nil {
			t.Fatal(err)
		}
		if got := serverTimeout(f.Meta); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}
