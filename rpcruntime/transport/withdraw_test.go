// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Requests that wait behind a write that does not end are taken out of the
// buffer when they are given up, whatever their size, and nobody else's bytes
// are touched: those that stay arrive whole, in order, and bye counts them right.
func TestWithdrawnRequestsNeverLeave(t *testing.T) {
	const calls = 40
	for round := range 12 {
		pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
			type outcome struct {
				cancel func()
				ended  chan error
				stays  bool
			}
			var made []outcome
			for i := range calls {
				payload := fmt.Sprint(i, ":")
				if (i+round)%7 == 0 {
					payload += strings.Repeat("x", byReference) // by reference
				}
				cancel, ended := givenUp(t, c, &Request{Path: "Test", Method: "Echo", Payload: []byte(payload)}, time.Time{})
				made = append(made, outcome{cancel, ended, true})
				synctest.Wait() // one after the other
			}
			// The first is being written: nobody reads. The rest waits whole.
			for i := 1; i < calls; i++ {
				if (i*(round+3)+round)%3 == 0 || (round == 11 && i > 0) {
					made[i].stays = false
					made[i].cancel()
					wantCode(t, <-made[i].ended, status.Canceled, status.FateUnexecuted)
				}
				if round%2 == 0 && i == calls/2 { // closed up in the middle of it
					c.w.mu.Lock()
					c.w.closeUpLocked()
					c.w.mu.Unlock()
				}
			}
			var first wire.Frame
			stayed := 0
			for i, o := range made {
				if !o.stays {
					continue
				}
				f := peer.frame()
				if stayed == 0 {
					first = f
				}
				stayed++
				if want := fmt.Sprint(i, ":"); !strings.HasPrefix(string(f.Payload), want) {
					t.Fatalf("round %d: got the request %.10q, want that of call %s", round, f.Payload, want)
				}
			}
			peer.send(helloTo(first, drainOnly...))
			peer.send(controlFrame(wire.MethodBye, wire.AppendBye(nil, uint64(stayed/2))))
			synctest.Wait()
			_ = peer.Close()
			n := 0
			for i, o := range made {
				if !o.stays {
					continue
				}
				n++
				err := <-o.ended
				if want := n > stayed/2; want != (status.FateOf(err) == status.FateUnexecuted) {
					t.Errorf("round %d, call %d, the %d. of %d that left: %v", round, i, n, stayed, err)
				}
			}
			<-c.Done()
			checkLevels(t, c.cfg.Counters)
		})
	}
}

// A withdrawn request counts on neither side.
func TestByeCountsNoWithdrawnRequest(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		_, one := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		synctest.Wait() // it is being written
		stop, two := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		synctest.Wait()
		stop()
		wantCode(t, <-two, status.Canceled, status.FateUnexecuted)
		first := peer.frame()
		peer.send(helloTo(first, drainOnly...))
		_, three := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		peer.frame()
		peer.send(controlFrame(wire.MethodBye, wire.AppendBye(nil, 2))) // both were read
		synctest.Wait()
		_ = peer.Close()
		wantFate(t, <-one, status.FateUnknown, ReasonLost)
		wantFate(t, <-three, status.FateUnknown, ReasonLost)
	})
}

// The request that announces carries more than itself.
func TestAnnouncementIsNeverWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		w := wheel.New()
		c := NewClient(near, Config{Wheel: w}, wire.Announcement{Caller: "a/b"}, newCaller())
		c.w.mu.Lock()
		c.w.busy = true // as if somebody wrote
		c.w.mu.Unlock()
		cancel, ended := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		synctest.Wait()
		cancel()
		wantCode(t, <-ended, status.Canceled, status.FateUnknown)
		c.w.goFlush()
		f := rawPeer{t, far}.frame()
		if _, ok := f.Meta.Get(wire.KeyAnnounce); !ok {
			t.Errorf("got %+v, want the request that announces", f)
		}
		c.Close()
		_ = far.Close()
		w.Close()
	})
}

// What is taken out makes room at once, and does not add up while nothing can be
// written.
func TestWithdrawnBytesDoNotAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		w := wheel.New()
		const bound = 8 << 10
		c := NewClient(near, Config{Wheel: w, WriteBuffer: bound, WriteTimeout: time.Hour}, wire.Announcement{}, newCaller())
		payload := make([]byte, 1000)
		_, _ = givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{}) // stuck in Write
		synctest.Wait()
		for range 200 {
			_, err := c.Do(t.Context(), time.Now().Add(time.Second), &Request{Path: "Test", Method: "Echo", Payload: payload, Timeout: time.Second})
			wantCode(t, err, status.DeadlineExceeded, status.FateUnexecuted)
			c.w.mu.Lock()
			if n := len(c.w.data); n > 2*bound+2000 {
				t.Fatalf("%d bytes are kept, of a bound of %d", n, bound)
			}
			c.w.mu.Unlock()
		}
		for range 1500 { // oneway calls too
			_, err := c.Do(t.Context(), time.Now().Add(100*time.Millisecond), &Request{Path: "Test", Method: "Echo", Oneway: true})
			wantCode(t, err, status.DeadlineExceeded, status.FateUnexecuted)
		}
		c.w.mu.Lock()
		if n := len(c.w.oneways); n > bound/wire.MinTotal {
			t.Errorf("%d oneway calls that are over are remembered", n)
		}
		c.w.mu.Unlock()
		_ = far.Close()
		c.Close()
		w.Close()
		checkLevels(t, c.cfg.Counters)
	})
}

func TestWithdrawalMakesRoom(t *testing.T) {
	pipeWith(t, Config{WriteBuffer: 1000}, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		_, one := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		synctest.Wait() // it is being written
		stop, two := givenUp(t, c, &Request{Path: "Test", Method: "Echo", Payload: make([]byte, 2000)}, time.Time{})
		synctest.Wait()
		_, three := givenUp(t, c, &Request{Path: "Test", Method: "third"}, time.Time{})
		synctest.Wait()
		if n := c.cfg.Counters.WriteWaits.Load(); n != 1 {
			t.Fatalf("%d calls wait for room, want 1", n)
		}
		stop()
		wantCode(t, <-two, status.Canceled, status.FateUnexecuted)
		synctest.Wait()
		c.w.mu.Lock()
		if n := c.w.waiting(); n == 0 || n > 1000 {
			t.Errorf("%d bytes wait, want those of the third call", n)
		}
		c.w.mu.Unlock()
		for range 2 {
			peer.send(answerTo(peer.frame()))
		}
		for _, e := range []chan error{one, three} {
			if err := <-e; err != nil {
				t.Error(err)
			}
		}
	})
}
