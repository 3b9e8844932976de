// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func onewayRequest(payload string) *Request {
	return &Request{Path: "Test", Method: "Echo", Payload: []byte(payload), Oneway: true}
}

// docs/wire-protocol.md §9
func TestOnewayIsOverOnceItsLastByteWasWritten(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		for _, payload := range []string{"small", strings.Repeat("x", byReference)} {
			_, ended := givenUp(t, c, onewayRequest(payload), time.Time{})
			synctest.Wait()
			prefix := make([]byte, wire.PrefixLen)
			if _, err := peer.Read(prefix); err != nil {
				t.Fatal(err)
			}
			_, size, err := wire.ParsePrefix(prefix)
			if err != nil {
				t.Fatal(err)
			}
			rest := int(size) - wire.PrefixLen
			for read := 0; read < rest-1; { // all but the last byte
				n, err := peer.Read(make([]byte, rest-1-read))
				if err != nil {
					t.Fatal(err)
				}
				read += n
			}
			synctest.Wait()
			select {
			case err := <-ended:
				t.Fatalf("over before its last byte was written: %v", err)
			default:
			}
			if _, err := peer.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if n := c.InFlight(); n != 0 {
			t.Errorf("%d calls in flight", n)
		}
	})
}

// At whatever byte the connection breaks: a oneway call succeeded if the callee
// got all of it, and is surely unexecuted if not.
func TestCutAtEveryByteOfAOnewayRequest(t *testing.T) {
	size := requestSize(t)
	for cut := 0; cut <= size; cut++ {
		near, far := net.Pipe()
		h := newCallee()
		s := NewServer(far, Config{}, h, nil)
		c := NewClient(&cutConn{Conn: near, left: cut}, Config{Wheel: newWheel(t)}, wire.Announcement{}, newCaller())
		_, err := c.Do(t.Context(), time.Time{}, onewayRequest("x"))
		if cut == size {
			if err != nil {
				t.Errorf("all %d bytes left: %v", cut, err)
			}
			for h.count() == 0 {
				if s.Err() != nil {
					t.Fatal(s.Err())
				}
			}
		} else {
			wantFate(t, err, status.FateUnexecuted, ReasonUnsent)
		}
		c.Close()
		s.Close()
		if want := cut / size; h.count() != want {
			t.Errorf("cut at byte %d of %d: %d requests ran, want %d", cut, size, h.count(), want)
		}
		checkLevels(t, c.cfg.Counters)
		checkLevels(t, s.cfg.Counters)
	}
}

func TestOnewayThatIsGivenUp(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		stopFirst, first := givenUp(t, c, onewayRequest("first"), time.Time{})
		synctest.Wait() // it is being written
		stopSecond, second := givenUp(t, c, onewayRequest("second"), time.Time{})
		_, third := givenUp(t, c, onewayRequest("third"), time.Now().Add(time.Second))
		synctest.Wait()
		stopSecond()
		wantCode(t, <-second, status.Canceled, status.FateUnexecuted)
		wantCode(t, <-third, status.DeadlineExceeded, status.FateUnexecuted)
		stopFirst()
		wantCode(t, <-first, status.Canceled, status.FateUnknown)
		_, fourth := givenUp(t, c, onewayRequest("fourth"), time.Time{})
		synctest.Wait()
		for _, want := range []string{"first", "fourth"} {
			if f := peer.frame(); string(f.Payload) != want {
				t.Errorf("got %q, want %q", f.Payload, want)
			}
		}
		if err := <-fourth; err != nil {
			t.Error(err)
		}
	})
}

func TestManyOnewaysAmongCalls(t *testing.T) {
	h := newCallee()
	counters := new(Counters)
	c, s, _ := connect(t, h, Config{Counters: counters, WriteBuffer: 4 << 10}, Config{Counters: counters})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if _, err := c.Do(t.Context(), time.Now().Add(20*time.Second), onewayRequest("x")); err != nil {
					t.Error(err)
				}
				if _, err := echo(t.Context(), c, "y"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	s.Drain(time.Second, 10*time.Second)
	<-c.Done()
	if n := h.count(); n != 1600 {
		t.Errorf("%d requests ran, want 1600", n)
	}
	checkLevels(t, counters)
}
