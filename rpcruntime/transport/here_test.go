// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// serveInPlace gives the test the caller's end of a connection whose reader runs
// handlers.
func serveInPlace(t *testing.T, cfg Config, run func(in *Inbound)) (rawPeer, *ServerConn, *inPlace) {
	near, far := tcpPair(t)
	h := newInPlace(run)
	cfg.Wheel = newWheel(t)
	s := NewServer(far, cfg, h, nil)
	t.Cleanup(func() {
		near.Close()
		s.Close()
		h.other.Wait()
	})
	return rawPeer{t, near}, s, h
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// requests builds requests with the payloads, of seqs that count from 1.
func requests(payloads ...string) []byte {
	var b []byte
	for i, p := range payloads {
		b = append(b, request(uint64(i+1), p)...)
	}
	return b
}

// answers reads n answers, and returns their payloads in order.
func (p rawPeer) answers(n int) []string {
	p.t.Helper()
	if err := p.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		p.t.Fatal(err)
	}
	var got []string
	for range n {
		got = append(got, string(p.frame().Payload))
	}
	return got
}

// The answers of handlers that the reader ran go out in one write.
func TestAnswersOfOneReadAreWrittenTogether(t *testing.T) {
	counters := new(Counters)
	peer, _, h := serveInPlace(t, Config{Counters: counters}, echoBack)
	want := []string{"1", "2", "3", "4", "5", "6", "7", "8"}
	peer.send(requests(want...))
	if got := peer.answers(len(want)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	eventually(t, "all is written", func() bool { return counters.WriteBuffered.Load() == 0 })
	if n := counters.Writes.Load(); n != 1 {
		t.Errorf("%d writes", n)
	}
	if n := len(h.byMe); n != len(want) {
		t.Errorf("the reader ran %d", n)
	}
}

// Answers that are worth a write do not wait for the rest.
func TestAnswersDoNotWaitForManyOthers(t *testing.T) {
	counters := new(Counters)
	peer, _, _ := serveInPlace(t, Config{Counters: counters}, func(in *Inbound) {
		if string(in.Payload) == "last" && counters.Writes.Load() == 0 {
			t.Error("nothing is written yet")
		}
		echoBack(in)
	})
	peer.send(requests(string(make([]byte, hereBatch)), "last"))
	peer.answers(2)
}

// A caller that sends and does not read is held to the bound of what waits for it.
func TestReaderKeepsTheBoundOfAnswers(t *testing.T) {
	const bound, size, calls = 64 << 10, 32 << 10, 300
	counters := new(Counters)
	peer, _, _ := serveInPlace(t, Config{WriteBuffer: bound, Counters: counters}, func(in *Inbound) {
		if n := counters.WriteBuffered.Load(); n > 2*(bound+size) { // half of it being written
			t.Errorf("%d bytes wait", n)
		}
		in.Respond(nil, make([]byte, size), wire.CompressNone)
	})
	peer.send(requests(make([]string, calls)...))
	peer.answers(calls)
}

// Nor does it keep the reader from reading, whatever it is that waits.
func TestReaderThatWritesIsReplaced(t *testing.T) {
	began := make(chan struct{}, 1)
	peer, s, _ := serveInPlace(t, Config{}, func(in *Inbound) {
		if string(in.Payload) == "last" {
			began <- struct{}{}
		}
		in.Respond(nil, make([]byte, hereBatch/2), wire.CompressNone)
	})
	far, ok := s.nc.(*net.TCPConn)
	if !ok || far.SetWriteBuffer(16<<10) != nil {
		t.Fatal("no small buffer")
	}
	const calls = 100
	for i := range calls { // each a read, and a write, of its own as long as there is room
		peer.send(request(uint64(i+1), "x"))
	}
	peer.send(request(calls+1, "last"))
	select {
	case <-began:
	case <-time.After(20 * time.Second):
		t.Fatal("the reader is held up by its own writing")
	}
	peer.answers(calls + 1)
}

// A handler that blocks holds up neither the answers before it nor the requests
// behind it.
func TestHandlerThatBlocksAmongOthers(t *testing.T) {
	release := make(chan struct{})
	peer, _, _ := serveInPlace(t, Config{}, func(in *Inbound) {
		if string(in.Payload) == "block" {
			<-release
		}
		echoBack(in)
	})
	peer.send(requests("a", "b", "block", "c", "d"))
	got := peer.answers(4)
	slices.Sort(got)
	if !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("got %q", got)
	}
	close(release)
	if got := peer.answers(1); got[0] != "block" {
		t.Errorf("got %q", got)
	}
	peer.send(requests("after"))
	peer.answers(1)
}

// Once the handlers of a read have taken their time, others run the rest.
func TestReaderRunsHandlersForATime(t *testing.T) {
	peer, _, h := serveInPlace(t, Config{}, func(in *Inbound) {
		if string(in.Payload) == "late" {
			in.Conn.r.lastRead = in.Conn.r.lastRead.Add(-ownTime) // the reader runs it
		}
		echoBack(in)
	})
	payloads := slices.Repeat([]string{"x"}, 3*letRun)
	payloads[0] = "late"
	for range 2 { // from each read anew
		peer.send(requests(payloads...))
		peer.answers(len(payloads))
		if n := len(h.byMe); n != letRun {
			t.Errorf("the reader ran %d of %d", n, len(payloads))
		}
		for len(h.byMe) > 0 {
			<-h.byMe
		}
	}
}

// A drain that begins while answers wait to be written does not keep them.
func TestDrainWritesWhatTheReaderHasAnswered(t *testing.T) {
	for _, others := range [][]string{nil, {"held"}} {
		t.Run(fmt.Sprint("beside ", others), func(t *testing.T) {
			release, over := make(chan struct{}), make(chan struct{})
			peer, s, _ := serveInPlace(t, Config{}, func(in *Inbound) {
				switch string(in.Payload) {
				case "held":
					<-release
					defer func() { <-over }() // and writes nothing itself
				case "drain":
					in.Conn.startDrain(0, time.Minute)
					for !in.Conn.stopping.Load() { // the reader stops behind it
						runtime.Gosched()
					}
				}
				echoBack(in)
			})
			peer.send(requests(append(others, "a", "drain")...))
			if got := peer.answers(2); !slices.Equal(got, []string{"a", "drain"}) {
				t.Errorf("got %q", got)
			}
			close(release)
			if got := peer.answers(len(others)); !slices.Equal(got, others) {
				t.Errorf("got %q", got)
			}
			<-s.Done()
			close(over)
		})
	}
}

func TestAlone(t *testing.T) {
	release := make(chan struct{})
	alone := make(chan string, 8)
	peer, _, _ := serveInPlace(t, Config{}, func(in *Inbound) {
		alone <- fmt.Sprint(string(in.Payload), " ", in.Alone())
		if string(in.Payload) == "held" {
			<-release
		}
		echoBack(in)
	})
	want := func(lines ...string) {
		t.Helper()
		for _, line := range lines {
			if got := <-alone; got != line {
				t.Errorf("got %s, want %s", got, line)
			}
		}
	}
	peer.send(requests("one"))
	want("one true")
	peer.answers(1)
	peer.send(requests("first", "held"))
	want("first false", "held true") // the last that was read: the first has been answered
	peer.send(request(9, "beside"))
	want("beside false")
	close(release)
	peer.answers(3)
}

// Where there is hardly any room for answers they come all the same.
func TestReaderWithoutRoomForAnswers(t *testing.T) {
	peer, _, _ := serveInPlace(t, Config{WriteBuffer: 1}, echoBack)
	want := slices.Repeat([]string{"x"}, 200)
	peer.send(requests(want...))
	if got := peer.answers(len(want)); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// A connection that is quiet holds nothing for it.
func TestQuietConnectionForgetsHandlers(t *testing.T) {
	peer, s, _ := serveInPlace(t, Config{}, echoBack)
	for range 2 {
		peer.send(requests("x"))
		peer.answers(1)
		eventually(t, "nothing is held", func() bool { return s.lone.Load() == nil })
	}
}
