// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// cutConn breaks after a number of bytes written.
type cutConn struct {
	net.Conn
	mu   sync.Mutex
	left int
}

var errCut = errors.New("cable cut")

func (c *cutConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	take := min(len(b), c.left)
	n, err := c.Conn.Write(b[:take])
	c.left -= n
	if err == nil && n < len(b) {
		err = errCut
		_ = c.Conn.Close()
	}
	return n, err
}

// At whatever byte the connection breaks: a request whose last byte did not
// leave is unexecuted, and any other is unknown. The callee agrees.
func TestCutAtEveryByteOfTwoRequests(t *testing.T) {
	first := requestSize(t)
	second := wire.FrameLen(4, 4, 0, 1)
	for cut := 0; cut <= first+second; cut++ {
		near, far := net.Pipe()
		events := newCaller()
		h := newCallee()
		h.serve = func(*Inbound) {} // read, never answered
		s := NewServer(far, Config{}, h, nil)
		c := NewClient(&cutConn{Conn: near, left: cut}, Config{Wheel: newWheel(t)}, wire.Announcement{}, events)
		fates := make([]status.Fate, 2)
		for i := range fates {
			// The second is sent only once the first left or failed: in this order.
			errs := make(chan error, 1)
			go func() {
				_, err := c.Do(t.Context(), time.Time{}, &Request{Path: "Test", Method: "Echo", Payload: []byte("x")})
				errs <- err
			}()
			if i == 0 && cut >= first {
				// It left: wait until the callee has read it, then go on.
				for h.count() == 0 {
					if s.Err() != nil {
						t.Fatal(s.Err())
					}
				}
				if cut < first+second {
					defer func() { wantFate(t, <-errs, status.FateUnknown, ReasonLost) }()
				} else {
					defer func() { <-errs }()
				}
				fates[i] = status.FateUnknown
				continue
			}
			if i == 1 && cut == first+second {
				for h.count() < 2 {
					if s.Err() != nil {
						t.Fatal(s.Err())
					}
				}
				_ = near.Close()
			}
			fates[i] = status.FateOf(<-errs)
		}
		want := []status.Fate{status.FateUnexecuted, status.FateUnexecuted}
		if cut >= first {
			want[0] = status.FateUnknown
		}
		if cut >= first+second {
			want[1] = status.FateUnknown
		}
		if fates[0] != want[0] || fates[1] != want[1] {
			t.Errorf("cut at byte %d of %d+%d: fates %v, want %v", cut, first, second, fates, want)
		}
		<-events.ended
		s.Close()
		ran := 0
		for _, f := range want {
			if f == status.FateUnknown {
				ran++
			}
		}
		if h.count() != ran {
			t.Errorf("cut at byte %d: %d requests were read, want %d", cut, h.count(), ran)
		}
		c.Close()
	}
}

// requestSize is the size of a connection's first request, with its announcement.
func requestSize(t *testing.T) int {
	c, peer, _ := callRaw(t, Config{})
	c.announce = wire.Announcement{Features: callerFeatures}
	go func() { _, _ = echo(t.Context(), c, "x") }()
	f := peer.frame()
	return wire.FrameLen(len(f.Path), len(f.Method), len(f.Meta), len(f.Payload))
}

// slowConn accepts a few bytes of the first write and then runs into the deadline.
type slowConn struct {
	net.Conn
	cut atomic.Bool
}

func (c *slowConn) Write(b []byte) (int, error) {
	if c.cut.Swap(true) {
		return c.Conn.Write(b)
	}
	n, err := c.Conn.Write(b[:min(len(b), 7)])
	if err != nil {
		return n, err
	}
	return n, &net.OpError{Op: "write", Err: timeoutError{}}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Is(e error) bool { return e.Error() == "i/o timeout" }

// A caller whose own deadline cuts its write short leaves the rest to the
// flusher, at the very byte: the frames of others stay whole.
func TestWriteCutByTheCallersDeadlineIsResumed(t *testing.T) {
	near, far := net.Pipe()
	events := newCaller()
	h := newCallee()
	s := NewServer(far, Config{}, h, nil)
	c := NewClient(&slowConn{Conn: near}, Config{Wheel: newWheel(t)}, wire.Announcement{}, events)
	defer s.Close()
	defer c.Close()
	errs := make(chan error, 1)
	go func() {
		_, err := c.Do(t.Context(), time.Now().Add(time.Second), &Request{Path: "Test", Method: "Echo", Payload: []byte("first")})
		errs <- err
	}()
	if err := <-errs; err != nil {
		t.Errorf("the call whose write was cut: %v", err)
	}
	if got, err := echo(t.Context(), c, "second"); err != nil || got != "second" {
		t.Errorf("after a resumed write: %q, %v", got, err)
	}
}
