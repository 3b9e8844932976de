// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// inPlace is a Handler whose requests the connection's reader runs, if it may.
type inPlace struct {
	callee
	run   func(in *Inbound)
	byMe  chan struct{} // gets a value for each that the reader runs
	other sync.WaitGroup
}

type runner struct {
	h  *inPlace
	in *Inbound
}

func (r runner) Run() { r.h.run(r.in) }

func newInPlace(run func(in *Inbound)) *inPlace {
	return &inPlace{callee: *newCallee(), run: run, byMe: make(chan struct{}, 1<<20)}
}

func (h *inPlace) Request(in *Inbound) {
	in.Keep()
	if in.RunHere(runner{h, in}) {
		h.byMe <- struct{}{}
		return
	}
	h.other.Go(func() { h.run(in) })
}

func echoBack(in *Inbound) { in.Respond(nil, bytes.Clone(in.Payload), wire.CompressNone) }

// loneConn joins the two sides and makes calls until both use the shortcut.
func loneConn(t *testing.T, run func(in *Inbound)) (*ClientConn, *ServerConn, *inPlace, *caller) {
	t.Helper()
	near, far := tcpPair(t)
	h, events, w := newInPlace(run), newCaller(), newWheel(t)
	s := NewServer(far, Config{Wheel: w}, h, nil)
	c := NewClient(near, Config{Wheel: w}, wire.Announcement{Caller: "test/caller", To: "test/echo"}, events)
	t.Cleanup(func() {
		c.Close()
		s.Close()
		h.other.Wait()
	})
	beLone(t, c, h)
	return c, s, h, events
}

// beLone makes calls until both sides use the shortcut.
func beLone(t *testing.T, c *ClientConn, h *inPlace) {
	t.Helper()
	for len(h.byMe) > 0 {
		<-h.byMe
	}
	for end := time.Now().Add(20 * time.Second); ; {
		if _, err := echo(t.Context(), c, "warm"); err != nil {
			t.Fatal(err)
		}
		l := c.lone.Load()
		if len(h.byMe) > 0 && l != nil && l.state.Load()&modeMask == modeFree {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the shortcut was never taken")
		}
	}
}

func TestLoneCalls(t *testing.T) {
	c, _, h, _ := loneConn(t, echoBack)
	for i := range 2000 {
		want := fmt.Sprint("call ", i)
		if got, err := echo(t.Context(), c, want); err != nil || got != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if len(h.byMe) == 0 {
		t.Error("no handler was run by the reader")
	}
}

// A handler that the reader runs must not keep others waiting.
func TestLoneHandlerThatBlocks(t *testing.T) {
	release := make(chan struct{})
	c, _, _, _ := loneConn(t, func(in *Inbound) {
		if string(in.Payload) == "block" {
			<-release
		}
		echoBack(in)
	})
	blocked := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "block")
		blocked <- err
	}()
	for range 100 {
		if _, err := echo(t.Context(), c, "pass"); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-blocked:
		t.Fatal("the blocked call ended:", err)
	default:
	}
	close(release)
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
	for range 200 { // by one reader, not two
		if _, err := echo(t.Context(), c, "after"); err != nil {
			t.Fatal(err)
		}
	}
}

// A handler may end its goroutine, which here is the reader.
func TestLoneHandlerThatEndsItsGoroutine(t *testing.T) {
	c, _, _, _ := loneConn(t, func(in *Inbound) {
		exit := string(in.Payload) == "exit"
		echoBack(in)
		if exit {
			runtime.Goexit()
		}
	})
	for range 3 {
		if _, err := echo(t.Context(), c, "exit"); err != nil {
			t.Fatal(err)
		}
		if _, err := echo(t.Context(), c, "after"); err != nil {
			t.Fatal(err)
		}
	}
}

// So may one in whose place another reads by then: its answer has been given.
func TestHandlerThatBlocksAndEndsItsGoroutine(t *testing.T) {
	release := make(chan struct{})
	c, _, _, _ := loneConn(t, func(in *Inbound) {
		exit := string(in.Payload) == "exit"
		if exit {
			<-release
		}
		echoBack(in)
		if exit {
			runtime.Goexit()
		}
	})
	ended := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "exit")
		ended <- err
	}()
	if _, err := echo(t.Context(), c, "pass"); err != nil { // read by the other
		t.Fatal(err)
	}
	close(release)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// A caller that reads its own answer still sees its deadline and its context.
func TestLoneCallerGivesUp(t *testing.T) {
	req := &Request{Path: "Test", Method: "Echo", Payload: []byte("block")}
	tests := map[status.Code]func(c *ClientConn) error{
		status.DeadlineExceeded: func(c *ClientConn) error {
			_, err := c.Do(t.Context(), time.Now().Add(20*time.Millisecond), req)
			return err
		},
		status.Canceled: func(c *ClientConn) error {
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			_, err := c.Do(ctx, time.Time{}, req)
			return err
		},
	}
	for want, do := range tests {
		t.Run(want.String(), func(t *testing.T) {
			release := make(chan struct{})
			c, _, h, _ := loneConn(t, func(in *Inbound) {
				if string(in.Payload) == "block" {
					<-release
				}
				echoBack(in)
			})
			if err := do(c); status.CodeOf(err) != want {
				t.Error(err)
			}
			close(release)
			beLone(t, c, h)
			if c.lone.Load().handBack.Load() {
				t.Error("callers are still asked to hand back")
			}
		})
	}
}

// Of the other callers none is forgotten when the one that reads goes.
func TestLoneCallerAmongOthers(t *testing.T) {
	c, _, h, _ := loneConn(t, echoBack)
	for range 20 {
		beLone(t, c, h)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				for range 50 {
					if _, err := echo(t.Context(), c, "x"); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
	}
}

// What is not an answer is the reader's, whoever reads.
func TestLoneCallerLeavesTheRestToTheReader(t *testing.T) {
	c, s, h, events := loneConn(t, func(in *Inbound) {
		if string(in.Payload) == "push" {
			if err := in.Conn.Push(t.Context(), wire.SerializeRaw, "News", "Item", []byte("hot")); err != nil {
				t.Error(err)
			}
		}
		echoBack(in)
	})
	for range 20 {
		if _, err := echo(t.Context(), c, "push"); err != nil {
			t.Fatal(err)
		}
		if got := <-events.pushes; got != "News.Item hot" {
			t.Fatal(got)
		}
		beLone(t, c, h)
	}
	go s.Drain(time.Second, time.Second)
	select {
	case <-events.draining:
	case <-time.After(20 * time.Second):
		t.Fatal("the drain was not seen")
	}
}

// Whoever takes pushes may hold up the reader, but not the caller that reads.
func TestLoneCallerIsNotHeldUpByPushes(t *testing.T) {
	c, _, _, events := loneConn(t, func(in *Inbound) {
		if string(in.Payload) == "push" {
			for range cap(newCaller().pushes) + 2 {
				if err := in.Conn.Push(t.Context(), wire.SerializeRaw, "News", "Item", nil); err != nil {
					t.Error(err)
				}
			}
		}
		echoBack(in)
	})
	_, err := c.Do(t.Context(), time.Now().Add(50*time.Millisecond), &Request{Path: "Test", Method: "Echo", Payload: []byte("push")})
	if status.CodeOf(err) != status.DeadlineExceeded {
		t.Error(err)
	}
	for range cap(events.pushes) + 2 {
		<-events.pushes
	}
	if _, err := echo(t.Context(), c, "after"); err != nil {
		t.Fatal(err)
	}
}

// The end of a connection is seen although nobody reads, and by the caller that does.
func TestLoneConnectionEnds(t *testing.T) {
	block := make(chan struct{})
	t.Cleanup(func() { close(block) })
	for _, during := range []bool{false, true} {
		for _, side := range []string{"caller", "callee"} {
			t.Run(fmt.Sprintf("%s closes, during a call %v", side, during), func(t *testing.T) {
				began := make(chan struct{}, 1)
				c, s, _, events := loneConn(t, func(in *Inbound) {
					if string(in.Payload) == "block" {
						began <- struct{}{}
						<-block
					}
					echoBack(in)
				})
				ended := make(chan error, 1)
				if during {
					go func() {
						_, err := echo(t.Context(), c, "block")
						ended <- err
					}()
					<-began
				}
				if side == "caller" {
					go c.Close()
				} else {
					go s.end(errors.New("gone"))
				}
				select {
				case <-events.ended:
				case <-time.After(20 * time.Second):
					t.Fatal("the end was not seen")
				}
				if during {
					if err := <-ended; status.CodeOf(err) != status.Unavailable {
						t.Fatal(err)
					}
				}
			})
		}
	}
}
