// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// inWindow makes a client whose peer, played by the test, said a window.
func inWindow(t *testing.T, w wire.Window, cfg Config, f func(t *testing.T, c *ClientConn, peer rawPeer)) {
	pipeWith(t, cfg, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		_, warm := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		first := peer.frame()
		peer.send(helloTo(first, wire.FeatureWindow, wire.FeatureCancel))
		peer.send(controlFrame(wire.MethodWindow, append(wire.AppendWindow(nil, w), "and more"...)))
		peer.send(answerTo(first))
		if err := <-warm; err != nil {
			t.Fatal(err)
		}
		f(t, c, peer)
	})
}

// docs/wire-protocol.md §8
func TestCallsBeyondTheWindowWaitTheirTurn(t *testing.T) {
	inWindow(t, wire.Window{Calls: 2, Bytes: 1 << 20}, Config{}, func(t *testing.T, c *ClientConn, peer rawPeer) {
		var ended []chan error
		var frames []wire.Frame
		for i := range 5 {
			_, e := givenUp(t, c, &Request{Path: "Test", Method: string(rune('a' + i))}, time.Time{})
			ended = append(ended, e)
			synctest.Wait()
			if want := i >= 1; c.AtWindow() != want {
				t.Errorf("with %d calls AtWindow is %v", i+1, !want)
			}
			if i < 2 {
				frames = append(frames, peer.frame())
			}
		}
		if n := c.cfg.Counters.WindowWaits.Load(); n != 3 {
			t.Errorf("%d calls waited, want 3", n)
		}
		for i := 2; i < 5; i++ { // each answer is the next one's turn
			peer.send(answerTo(frames[i-2]))
			f := peer.frame()
			if string(f.Method) != string(rune('a'+i)) {
				t.Errorf("got %s, want the call that waited longest", f.Method)
			}
			frames = append(frames, f)
		}
		for _, f := range frames[3:] {
			peer.send(answerTo(f))
		}
		for _, e := range ended {
			if err := <-e; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if c.AtWindow() {
			t.Error("AtWindow although nothing is in flight")
		}
	})
}

func TestWindowOfBytes(t *testing.T) {
	inWindow(t, wire.Window{Calls: 100, Bytes: 1000}, Config{}, func(t *testing.T, c *ClientConn, peer rawPeer) {
		big := &Request{Path: "Test", Method: "big", Payload: []byte(strings.Repeat("x", 5000))}
		_, one := givenUp(t, c, big, time.Time{})
		f1 := peer.frame() // alone, it passes whatever its size
		_, two := givenUp(t, c, big, time.Time{})
		synctest.Wait()
		_, three := givenUp(t, c, &Request{Path: "Test", Method: "small"}, time.Time{})
		synctest.Wait()
		if !c.AtWindow() || c.InFlight() != 3 {
			t.Errorf("AtWindow %v, %d in flight", c.AtWindow(), c.InFlight())
		}
		peer.send(answerTo(f1))
		f2 := peer.frame()
		if string(f2.Method) != "big" {
			t.Errorf("got %s: the small one overtook", f2.Method)
		}
		peer.send(answerTo(f2))
		f3 := peer.frame()
		peer.send(answerTo(f3))
		for _, e := range []chan error{one, two, three} {
			if err := <-e; err != nil {
				t.Error(err)
			}
		}
	})
}

// A small request that would fit does not overtake a larger one that does not.
func TestTheQueueOfTheWindowIsInOrder(t *testing.T) {
	inWindow(t, wire.Window{Calls: 100, Bytes: 1000}, Config{}, func(t *testing.T, c *ClientConn, peer rawPeer) {
		medium := &Request{Path: "Test", Method: "medium", Payload: make([]byte, 600)}
		_, one := givenUp(t, c, medium, time.Time{})
		f := peer.frame()
		_, two := givenUp(t, c, medium, time.Time{})
		synctest.Wait()
		_, three := givenUp(t, c, &Request{Path: "Test", Method: "small"}, time.Time{})
		synctest.Wait()
		if n := c.cfg.Counters.WindowWaits.Load(); n != 2 {
			t.Errorf("%d calls wait, want 2", n)
		}
		peer.send(answerTo(f))
		for range 2 {
			peer.send(answerTo(peer.frame()))
		}
		for _, e := range []chan error{one, two, three} {
			if err := <-e; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestCallThatGetsNoTurnIsUnexecuted(t *testing.T) {
	inWindow(t, wire.Window{Calls: 1}, Config{MaxCalls: 3}, func(t *testing.T, c *ClientConn, peer rawPeer) {
		stop, flying := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		f := peer.frame()
		began := time.Now()
		_, err := c.Do(t.Context(), began.Add(time.Second), &Request{Path: "Test", Method: "late"})
		wantCode(t, err, status.ResourceExhausted, status.FateUnexecuted)
		wantFate(t, err, status.FateUnexecuted, ReasonWindow)
		if d := time.Since(began); d != time.Second {
			t.Errorf("failed after %s, want 1s", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = c.Do(ctx, time.Time{}, &Request{Path: "Test", Method: "late"})
		cancel()
		wantFate(t, err, status.FateUnexecuted, ReasonWindow)
		giveUp, ended := givenUp(t, c, &Request{Path: "Test", Method: "late"}, time.Time{})
		synctest.Wait()
		giveUp()
		wantCode(t, <-ended, status.Canceled, status.FateUnexecuted)

		// The queue is bounded: 6 calls in all.
		var waiting []chan error
		for range 5 {
			_, e := givenUp(t, c, &Request{Path: "Test", Method: "queued"}, time.Time{})
			waiting = append(waiting, e)
			synctest.Wait()
		}
		_, err = c.Do(t.Context(), time.Time{}, &Request{Path: "Test", Method: "late"})
		wantCode(t, err, status.ResourceExhausted, status.FateUnexecuted)

		stop() // makes room too
		<-flying
		wantCancel(t, peer.frame(), f.Seq)
		if f := peer.frame(); string(f.Method) != "queued" {
			t.Errorf("got %s, want one that queued", f.Method)
		}
		_ = peer.Close()
		for i, e := range waiting {
			fate := status.FateUnexecuted
			if i == 0 {
				fate = status.FateUnknown
			}
			wantCode(t, <-e, status.Unavailable, fate)
		}
		<-c.Done()
		checkLevels(t, c.cfg.Counters)
	})
}

func TestQueuedCallsAreUnexecutedByBye(t *testing.T) {
	inWindow(t, wire.Window{Calls: 1}, Config{}, func(t *testing.T, c *ClientConn, peer rawPeer) {
		_, flying := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		f := peer.frame()
		_, queued := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		synctest.Wait()
		peer.send(controlFrame(wire.MethodBye, wire.AppendBye(nil, 2)))
		wantCode(t, <-queued, status.Unavailable, status.FateUnexecuted)
		peer.send(answerTo(f))
		if err := <-flying; err != nil {
			t.Error(err)
		}
		<-c.Done() // nothing is left to wait for
	})
}

// What a hostile callee may say.
func TestWindowOfNothingLetsOneCallThrough(t *testing.T) {
	inWindow(t, wire.Window{}, Config{}, func(t *testing.T, c *ClientConn, peer rawPeer) {
		for range 3 {
			_, e := givenUp(t, c, &Request{Path: "Test", Method: "Echo", Payload: []byte("x")}, time.Time{})
			peer.send(answerTo(peer.frame()))
			if err := <-e; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestSmallerWindowRevokesNothingAndALargerOneAdmits(t *testing.T) {
	inWindow(t, wire.Window{Calls: 3, Bytes: 1000}, Config{}, func(t *testing.T, c *ClientConn, peer rawPeer) {
		var ended []chan error
		var frames []wire.Frame
		for range 3 {
			_, e := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
			ended, frames = append(ended, e), append(frames, peer.frame())
		}
		peer.send(controlFrame(wire.MethodWindow, wire.AppendWindow(nil, wire.Window{Calls: 1, Bytes: 1000})))
		_, queued := givenUp(t, c, &Request{Path: "Test", Method: "queued"}, time.Time{})
		synctest.Wait()
		peer.send(answerTo(frames[0])) // two are still too many
		if err := <-ended[0]; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		peer.send(controlFrame(wire.MethodWindow, wire.AppendWindow(nil, wire.Window{Calls: 3, Bytes: 1000})))
		f := peer.frame()
		if string(f.Method) != "queued" {
			t.Errorf("got %s", f.Method)
		}
		for _, f := range append(frames[1:], f) {
			peer.send(answerTo(f))
		}
		for _, e := range append(ended[1:], queued) {
			if err := <-e; err != nil {
				t.Error(err)
			}
		}
	})
}

// A caller that keeps within its window is never refused, however fast it is.
func TestCallerWithinTheWindowIsNotRefused(t *testing.T) {
	h := newCallee()
	counters := new(Counters)
	c, s, _ := connect(t, h, Config{}, Config{MaxCalls: 4, MaxRequestBytes: 4096, Counters: counters})
	if _, err := echo(t.Context(), c, "announce"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	payload := strings.Repeat("x", 900)
	const callers = 16
	for range callers {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 200 {
				if _, err := echo(t.Context(), c, payload); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	for range callers {
		<-done
	}
	if n := counters.Refused.Load(); n != 0 {
		t.Errorf("%d requests were refused", n)
	}
	if c.cfg.Counters.WindowWaits.Load() == 0 {
		t.Error("no call waited for the window: the test tests nothing")
	}
	c.Close()
	s.Close()
	checkLevels(t, counters)
}

func TestLoadIsToldWhileUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		h := newCallee()
		told := wire.Load{InFlight: 3, QueueDelay: 1500 * time.Microsecond, Utilisation: 250}
		s := NewServer(far, Config{Load: func() wire.Load { return told }}, h, nil)
		peer := rawPeer{t, near}
		a := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, Features: []string{wire.FeatureLoad}})
		peer.send(request(1, "x", wire.KeyAnnounce, string(a)))
		hello := peer.frame()
		if said, ok := wire.ParseHello(hello.Payload); !ok || !wire.Has(said.Features, wire.FeatureLoad) {
			t.Errorf("hello %q", hello.Payload)
		}
		loads := 0
		count := func(f wire.Frame) wire.Frame {
			for string(f.Method) == wire.MethodLoad {
				if l, ok := wire.ParseLoad(f.Payload); !ok || l != told {
					t.Errorf("told %+v, want %+v", l, told)
				}
				loads++
				f = peer.frame()
			}
			return f
		}
		count(peer.frame())
		for i := range 30 { // one every 10 ms
			time.Sleep(10 * time.Millisecond)
			peer.send(request(uint64(i+2), "x"))
			count(peer.frame())
		}
		if loads != 4 { // at 0, 100, 200 and 300 ms
			t.Errorf("told %d times in 300 ms, want 4", loads)
		}
		time.Sleep(time.Minute)
		peer.send(request(99, "x"))
		count(peer.frame())
		if loads != 5 {
			t.Errorf("told %d times, want once more after a minute of nothing", loads)
		}
		_ = near.Close()
		<-s.Done()
	})
}

func TestCallerKeepsTheLatestLoad(t *testing.T) {
	h := newCallee()
	n := uint32(0)
	c, _, _ := connect(t, h, Config{}, Config{Load: func() wire.Load { n++; return wire.Load{InFlight: n} }}) // by the reader only
	if _, ok := c.PeerLoad(); ok {
		t.Error("a load before any was told")
	}
	if _, err := echo(t.Context(), c, "announce"); err != nil {
		t.Fatal(err)
	}
	if l, ok := c.PeerLoad(); !ok || l.InFlight != 1 {
		t.Errorf("got %+v, %v", l, ok)
	}
	(*clientRole)(c).setLoad([]byte("short"))
	if l, ok := c.PeerLoad(); !ok || l.InFlight != 1 {
		t.Errorf("after one that is too short: %+v, %v", l, ok)
	}
}

func TestNoLoadWithoutASource(t *testing.T) {
	h := newCallee()
	c, _, _ := connect(t, h, Config{}, Config{})
	if _, err := echo(t.Context(), c, "announce"); err != nil {
		t.Fatal(err)
	}
	if _, ok := c.PeerLoad(); ok || wire.Has(c.Peer().Features, wire.FeatureLoad) {
		t.Error("the callee tells a load that it does not know")
	}
}
