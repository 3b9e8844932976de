// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// pipe makes a client over net.Pipe, whose far end the test plays, in a bubble.
func pipe(t *testing.T, f func(t *testing.T, c *ClientConn, peer rawPeer, events *caller)) {
	t.Helper()
	pipeWith(t, Config{}, f)
}

func pipeWith(t *testing.T, cfg Config, f func(t *testing.T, c *ClientConn, peer rawPeer, events *caller)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		events := newCaller()
		w := wheel.New()
		cfg.Wheel = w
		c := NewClient(near, cfg, wire.Announcement{}, events)
		f(t, c, rawPeer{t, far}, events)
		c.Close()
		_ = far.Close()
		w.Close()
	})
}

func TestSilentPeerWithExtensionsIsGivenUp(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		began := time.Now()
		failed := make(chan error, 1)
		go func() {
			_, err := c.Do(t.Context(), time.Time{}, &Request{Path: "Test", Method: "Echo"})
			failed <- err
		}()
		f := peer.frame()
		hello := wire.Begin(nil, controlHeader(), wire.ControlPath, wire.MethodHello)
		peer.send(hello.Payload(wire.AppendHello(nil, wire.Hello{Seq: f.Seq, Features: drainOnly})))
		if beat := peer.frame(); !beat.Heartbeat() {
			t.Errorf("got %+v, want a heartbeat", beat)
		}
		if d := time.Since(began); d != 15*time.Second {
			t.Errorf("the heartbeat came after %s, want 15s", d)
		}
		wantFate(t, <-failed, status.FateUnknown, ReasonLost)
		var dead *deadError
		if !errors.As(c.Err(), &dead) || time.Since(began) != 30*time.Second {
			t.Errorf("ended after %s with %v", time.Since(began), c.Err())
		}
	})
}

func TestSilentOldPeerIsSlowNotDead(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		done := make(chan error, 1)
		go func() {
			_, err := c.Do(t.Context(), time.Time{}, &Request{Path: "Test", Method: "Echo"})
			done <- err
		}()
		f := peer.frame()
		for range 4 { // a minute of heartbeats without an answer
			if beat := peer.frame(); !beat.Heartbeat() {
				t.Errorf("got %+v, want a heartbeat", beat)
			}
		}
		reply := wire.Begin(nil, f.Reply(wire.StatusNormal), "Test", "Echo")
		peer.send(reply.Payload(nil))
		if err := <-done; err != nil {
			t.Errorf("the call failed: %v", err)
		}
		if n := c.cfg.Counters.SlowHeartbeats.Load(); n != 1 {
			t.Errorf("%d slow heartbeats counted, want 1", n)
		}
	})
}

func TestIdleConnectionIsClosedAndASubscribedOneKept(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, events *caller) {
		began := time.Now()
		if err := <-events.ended; !errors.Is(err, errIdle) {
			t.Errorf("ended with %v, want idle", err)
		}
		if d := time.Since(began); d < 5*time.Minute || d > 5*time.Minute+30*time.Second {
			t.Errorf("ended after %s, want about 5m", d)
		}
		if _, err := c.Do(t.Context(), time.Time{}, &Request{Path: "Test", Method: "Echo"}); status.FateOf(err) != status.FateUnexecuted {
			t.Errorf("a call on it: %v, want unexecuted", err)
		}
		_ = peer
	})
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		c.SetSubscribed(true)
		for range 40 { // ten minutes of answered heartbeats
			f := peer.frame()
			f.Flags |= 0x80
			b := wire.Begin(nil, f.Header, "", "")
			peer.send(b.Payload(f.Payload))
		}
		if err := c.Err(); err != nil {
			t.Errorf("a connection with a subscription ended: %v", err)
		}
	})
}

func TestDeadlineEndsACall(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		began := time.Now()
		go peer.frame()
		_, err := c.Do(t.Context(), began.Add(250*time.Millisecond), &Request{Path: "Test", Method: "Echo"})
		if status.CodeOf(err) != status.DeadlineExceeded || status.FateOf(err) != status.FateUnknown {
			t.Errorf("got %v", err)
		}
		if d := time.Since(began); d < 250*time.Millisecond || d > 255*time.Millisecond {
			t.Errorf("ended after %s, want 250ms", d)
		}
	})
}

func TestFrameThatIsNotCompletedEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		h := newCallee()
		NewServer(far, Config{}, h, nil)
		peer := rawPeer{t, near}
		began := time.Now()
		frame := request(1, "x")
		peer.send(frame[:1])
		time.Sleep(9 * time.Second) // virtual
		peer.send(frame[1:20])      // a byte now and then does not buy more time
		err := <-h.closed
		var stalled *stalledError
		if !errors.As(err, &stalled) || time.Since(began) != 10*time.Second {
			t.Errorf("ended after %s with %v, want stalled after 10s", time.Since(began), err)
		}
		_ = near.Close()
	})
}

// On a busy connection reads rarely end where a frame does. That each frame is
// completed in time is enough.
func TestEachFrameHasATimeOfItsOwn(t *testing.T) {
	for name, limits := range map[string]wire.Limits{
		"served":      {},
		"thrown away": {FrameBytes: 64, MetadataBytes: 32},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				h := newCallee()
				s := NewServer(far, Config{Limits: limits}, h, nil)
				peer := rawPeer{t, near}
				go func() { _, _ = io.Copy(io.Discard, near) }()
				peer.send(request(0, "x"))
				frame := request(1, strings.Repeat("x", 100))
				half := len(frame) / 2
				peer.send(frame[:half])
				for range 60 { // a minute in which no read ends with a frame
					time.Sleep(time.Second)
					if _, err := near.Write(append(bytes.Clone(frame[half:]), frame[:half]...)); err != nil {
						t.Fatalf("the connection ended: %v, %v", err, s.Err())
					}
				}
				_ = near.Close()
				<-h.closed
			})
		})
	}
}

func TestQuietConnectionHoldsNoBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		h := newCallee()
		s := NewServer(far, Config{}, h, nil)
		peer := rawPeer{t, near}
		peer.send(request(0, strings.Repeat("x", 3000)))
		peer.frame()
		held := func() int {
			s.w.mu.Lock()
			defer s.w.mu.Unlock()
			return cap(s.w.data) + cap(s.w.spare) + cap(s.w.cur.data) + cap(s.w.ctl)
		}
		synctest.Wait()
		if held() == 0 {
			t.Error("nothing is kept for the next answer: the test tests nothing")
		}
		time.Sleep(16 * time.Second)
		if n := held(); n != 0 {
			t.Errorf("a quiet connection holds %d bytes to write from", n)
		}
		peer.send(request(1, "again"))
		if f := peer.frame(); string(f.Payload) != "again" {
			t.Errorf("got %+v", f)
		}
		_ = near.Close()
		<-h.closed
	})
}

func TestIdleServerConnectionIsDrainedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		h := newCallee()
		NewServer(far, Config{}, h, nil)
		peer := rawPeer{t, near}
		a := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, Features: drainOnly})
		peer.send(request(1, "x", wire.KeyAnnounce, string(a)))
		for _, want := range []string{wire.MethodHello, "Echo", wire.MethodDrain, wire.MethodBye} {
			if f := peer.frame(); string(f.Method) != want {
				t.Errorf("got %s, want %s", f.Method, want)
			}
		}
		if f, err := peer.tryFrame(); err == nil {
			t.Errorf("after bye came %+v", f)
		}
		<-h.closed
	})
}

func TestSubscriberThatWentSilentIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		h := newCallee()
		s := NewServer(far, Config{}, h, nil)
		s.SetSubscribed(true)
		peer := rawPeer{t, near}
		a := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, Features: drainOnly})
		peer.send(request(1, "x", wire.KeyAnnounce, string(a)))
		peer.frame()   // hello
		peer.frame()   // the echo
		for range 40 { // ten minutes of heartbeats keep it
			time.Sleep(15 * time.Second)
			b := wire.Begin(nil, wire.HeartbeatHeader(2), "", "")
			peer.send(b.Payload(nil))
			peer.frame()
		}
		last := time.Now()
		var dead *deadError
		if err := <-h.closed; !errors.As(err, &dead) || time.Since(last) != 45*time.Second {
			t.Errorf("ended after %s with %v, want given up after 45s", time.Since(last), err)
		}
		_ = near.Close()
	})
}
