// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Whoever appends first writes for the others, too. These tests hold the writer up,
// by a peer that does not read, and look at who has to wait for that: nobody for
// longer than helpLimit, or beyond its deadline, and no reader and no wheel at all.
// A pipe has no buffer, so a write begins to block with its first byte; in a bubble
// time moves only while everybody waits, so that it is exact.

// wheelTick is how much later than its deadline a call may end.
const wheelTick = time.Millisecond

// crowd starts n calls whose requests stand in the buffer, though nobody writes: who
// comes next writes for them, too.
func crowd(t *testing.T, c *ClientConn, n int) (ended []chan error) {
	t.Helper()
	c.w.mu.Lock()
	c.w.busy = true // as if somebody wrote
	c.w.mu.Unlock()
	for i := range n {
		_, e := givenUp(t, c, &Request{Path: "Test", Method: "Echo", Payload: []byte(fmt.Sprint("crowd ", i))}, time.Time{})
		ended = append(ended, e)
		synctest.Wait() // one after the other
	}
	c.w.mu.Lock()
	c.w.busy = false
	c.w.mu.Unlock()
	return ended
}

// rejoined is a connection of which some bytes have been read already.
type rejoined struct {
	net.Conn
	io.Reader
}

func (r rejoined) Read(b []byte) (int, error) { return r.Reader.Read(b) }

// takeBytes reads n bytes and nothing more, and returns the peer as it was before.
func (p rawPeer) takeBytes(n int) rawPeer {
	p.t.Helper()
	taken := make([]byte, n)
	if _, err := io.ReadFull(p, taken); err != nil {
		p.t.Fatal(err)
	}
	return rawPeer{p.t, rejoined{p.Conn, io.MultiReader(bytes.NewReader(taken), p.Conn)}}
}

// sendAtOnce sends to a reader that must not be busy with anything.
func (p rawPeer) sendAtOnce(what string, b []byte) {
	p.t.Helper()
	began := time.Now()
	p.send(b)
	if d := time.Since(began); d != 0 {
		p.t.Errorf("the reader came to read %s after %s, want at once", what, d)
	}
}

func TestCallerThatWritesForOthersReturnsOnTime(t *testing.T) {
	const others = 30
	for name, tt := range map[string]struct {
		deadline time.Duration // 0: none
		cancel   time.Duration // 0: never
		oneway   bool
		most     time.Duration // when it must have returned
	}{
		"deadline while it writes":     {deadline: 4 * time.Millisecond, most: 4*time.Millisecond + wheelTick},
		"oneway":                       {deadline: 4 * time.Millisecond, oneway: true, most: 4*time.Millisecond + wheelTick},
		"deadline after it wrote":      {deadline: 250 * time.Millisecond, most: 250*time.Millisecond + wheelTick},
		"no time at all":               {deadline: time.Nanosecond, most: wheelTick},
		"given up while it writes":     {cancel: 3 * time.Millisecond, most: helpLimit},
		"given up, deadline in sight":  {cancel: time.Millisecond, deadline: 6 * time.Millisecond, most: 6 * time.Millisecond},
		"given up after it wrote":      {cancel: 50 * time.Millisecond, most: 50 * time.Millisecond},
		"given up, oneway, long after": {cancel: time.Second, oneway: true, most: time.Second},
	} {
		for _, taken := range []int{0, 1, 20, 500} { // bytes that the peer read before it stopped
			t.Run(fmt.Sprint(name, ", taken ", taken), func(t *testing.T) {
				pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
					ended := crowd(t, c, others)
					began := time.Now()
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					var deadline time.Time
					if tt.deadline > 0 {
						deadline = began.Add(tt.deadline)
					}
					if tt.cancel > 0 {
						time.AfterFunc(tt.cancel, cancel)
					}
					returned := make(chan error)
					var after time.Duration
					go func() {
						_, err := c.Do(ctx, deadline, &Request{Path: "Test", Method: "Echo", Payload: []byte("helper"), Oneway: tt.oneway})
						after = time.Since(began)
						returned <- err
					}()
					peer = peer.takeBytes(taken)
					err := <-returned
					if code := status.CodeOf(err); (code != status.DeadlineExceeded && code != status.Canceled) || status.FateOf(err) != status.FateUnknown {
						t.Errorf("it ended with %v", err)
					}
					least := tt.deadline
					if tt.cancel > 0 {
						least = tt.cancel
					}
					if after < least || after > tt.most {
						t.Errorf("it returned after %s, want after %s to %s", after, least, tt.most)
					}
					wantWhole(t, c, peer, ended, "helper")
				})
			})
		}
	}
}

// wantWhole reads what the crowd and the one behind it had sent, answers, and makes
// one more call: nothing was lost or written twice.
func wantWhole(t *testing.T, c *ClientConn, peer rawPeer, ended []chan error, last string) {
	t.Helper()
	var first wire.Frame
	for i := range len(ended) + 1 {
		want := fmt.Sprint("crowd ", i)
		if i == len(ended) {
			want = last
		}
		f := peer.frame()
		if string(f.Payload) != want {
			t.Fatalf("the peer read %q as frame %d, want %q", f.Payload, i, want)
		}
		if i == 0 {
			first = f
			peer.send(helloTo(first, drainOnly...))
		}
		if i < len(ended) {
			peer.send(answerTo(f))
		}
	}
	for i, e := range ended {
		if err := <-e; err != nil {
			t.Errorf("call %d of those that were written for: %v", i, err)
		}
	}
	next := make(chan error, 1)
	go func() {
		got, err := echo(t.Context(), c, "next")
		if err == nil && got != "next" {
			err = fmt.Errorf("the answer is %q", got)
		}
		next <- err
	}()
	f := peer.frame()
	if string(f.Payload) != "next" {
		t.Fatalf("the peer read %q, want the next call", f.Payload)
	}
	peer.send(answerTo(f))
	if err := <-next; err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// Who waits for room behind a writer that is held up keeps its own time.
func TestCallersThatWaitForRoomReturnOnTime(t *testing.T) {
	const waiting = 20
	pipeWith(t, Config{WriteBuffer: 64}, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		began := time.Now()
		_, first := givenUp(t, c, &Request{Path: "Test", Method: "Echo", Payload: []byte("crowd 0")}, time.Time{})
		synctest.Wait() // it is being written
		_, second := givenUp(t, c, &Request{Path: "Test", Method: "Echo", Payload: make([]byte, 64)}, time.Time{})
		synctest.Wait() // and with this one there is no room
		var all sync.WaitGroup
		for i := range waiting {
			all.Go(func() {
				until := time.Duration(i+1) * 7 * time.Millisecond
				_, err := c.Do(t.Context(), began.Add(until), &Request{Path: "Test", Method: "Echo", Payload: []byte("late")})
				wantCode(t, err, status.DeadlineExceeded, status.FateUnexecuted)
				if d := time.Since(began); d != until {
					t.Errorf("call %d returned after %s, want %s", i, d, until)
				}
			})
		}
		all.Wait()
		for range 2 {
			peer.send(answerTo(peer.frame()))
		}
		if err := errors.Join(<-first, <-second); err != nil {
			t.Error(err)
		}
		if n := c.cfg.Counters.WriteWaits.Load(); n < waiting {
			t.Errorf("%d waits for room counted: the test tests nothing", n)
		}
	})
}

// The wheel ends the calls of all connections. A cancel that cannot be written must
// not hold it up.
func TestDeadlinesPassOnTimeWhileCancelsCannotBeWritten(t *testing.T) {
	const calls = 50
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		began := time.Now()
		var all sync.WaitGroup
		for i := range calls {
			all.Go(func() {
				until := time.Duration(20+i) * time.Millisecond
				_, err := c.Do(t.Context(), began.Add(until), &Request{Path: "Test", Method: "Echo"})
				wantCode(t, err, status.DeadlineExceeded, status.FateUnknown)
				if d := time.Since(began); d < until || d > until+wheelTick {
					t.Errorf("call %d returned after %s, want %s", i, d, until)
				}
			})
			f := peer.frame()
			if i == 0 {
				peer.send(helloTo(f, wire.FeatureCancel))
			}
		}
		all.Wait() // nobody reads the cancels meanwhile
		for range calls {
			if f := peer.frame(); string(f.Method) != wire.MethodCancel {
				t.Errorf("got %s, want a cancel", f.Method)
			}
		}
	})
}

// A handler's goroutine writes for others, too: not for long, and the answers are
// written all the same.
func TestHandlerThatWritesForOthersReturnsOnTime(t *testing.T) {
	const calls = 30
	for _, taken := range []int{0, 1, 20} {
		t.Run(fmt.Sprint("taken ", taken), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				h := newCallee()
				var mu sync.Mutex
				var longest time.Duration
				h.serve = func(in *Inbound) {
					began := time.Now()
					in.Respond(nil, bytes.Clone(in.Payload), wire.CompressNone)
					mu.Lock()
					defer mu.Unlock()
					longest = max(longest, time.Since(began))
				}
				s := NewServer(far, Config{}, h, nil)
				peer := rawPeer{t, near}
				peer.sendAtOnce("a request", request(0, "payload"))
				peer = peer.takeBytes(taken)
				for i := 1; i < calls; i++ {
					peer.sendAtOnce("a request", request(uint64(i), "payload"))
				}
				time.Sleep(helpLimit) // virtual
				synctest.Wait()
				mu.Lock()
				if longest != helpLimit {
					t.Errorf("the longest answer took its handler %s, want %s", longest, helpLimit)
				}
				mu.Unlock()
				if n := h.count(); n != calls {
					t.Errorf("%d requests served while the first answer could not be written, want %d", n, calls)
				}
				answered := map[uint64]bool{}
				for range calls {
					f := peer.frame()
					if answered[f.Seq] || string(f.Payload) != "payload" {
						t.Errorf("got %+v again, or not as it was", f)
					}
					answered[f.Seq] = true
				}
				peer.send(request(calls, "next"))
				if f := peer.frame(); f.Seq != calls || string(f.Payload) != "next" {
					t.Errorf("got %+v, want the next answer", f)
				}
				_ = near.Close()
				<-h.closed
				checkLevels(t, s.cfg.Counters)
			})
		})
	}
}

// refuser is a Handler that answers on the reader's own goroutine.
type refuser struct{ closed chan error }

func (refuser) Announced(*ServerConn, *wire.Announcement) {}
func (refuser) Request(in *Inbound) {
	in.Refuse(status.New(status.ResourceExhausted, "no"), wire.Retry{Word: wire.RetryUnexecuted})
}
func (r refuser) Closed(_ *ServerConn, reason error) { r.closed <- reason }

// What the callee's reader has to say itself is written by others, also if it is the
// first to say something.
func TestCalleesReaderBeginsNoWrite(t *testing.T) {
	beat := wire.Begin(nil, wire.HeartbeatHeader(7), "", "")
	for name, frame := range map[string][]byte{
		"a request to refuse":      request(1, "x"),
		"a heartbeat":              beat.Payload([]byte("beat")),
		"a request over the limit": request(1, string(make([]byte, 5<<10))),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				h := refuser{make(chan error, 1)}
				NewServer(far, Config{Limits: wire.Limits{FrameBytes: 4 << 10}}, h, nil)
				peer := rawPeer{t, near}
				peer.sendAtOnce("the first request", request(0, "x"))
				peer.sendAtOnce(name, frame)
				for range 2 {
					peer.frame()
				}
				for range 10 {
					peer.sendAtOnce(name, frame)
					peer.sendAtOnce("what follows on "+name, frame)
					for range 2 {
						peer.frame()
					}
				}
				_ = near.Close()
				<-h.closed
			})
		})
	}
}

// The same with all that a callee may have to say, to a peer that reads nothing of it.
func TestCalleesReaderNeverWrites(t *testing.T) {
	const rounds = 20
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		h := refuser{make(chan error, 1)}
		s := NewServer(far, Config{Limits: wire.Limits{FrameBytes: 4 << 10}, Load: func() wire.Load { return wire.Load{} }}, h, nil)
		peer := rawPeer{t, near}
		a := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 0, Features: callerFeatures})
		peer.sendAtOnce("the announcement", request(0, "x", wire.KeyAnnounce, string(a)))
		for i := range rounds {
			time.Sleep(helpLimit / 2) // virtual; in some rounds nobody writes any more
			peer.sendAtOnce("a request to refuse", request(uint64(1+i), "x"))
			beat := wire.Begin(nil, wire.HeartbeatHeader(7), "", "")
			peer.sendAtOnce("a heartbeat", beat.Payload([]byte("beat")))
			peer.sendAtOnce("a request over the limit", request(uint64(1000+i), string(make([]byte, 5<<10))))
		}
		go func() { s.Drain(0, time.Second) }()
		synctest.Wait()
		got := map[string]int{}
		for {
			f, err := peer.tryFrame()
			if err != nil {
				break
			}
			switch {
			case f.Response() && f.Heartbeat():
				got["heartbeats"]++
			case f.Response() && f.Seq >= 1000:
				got["over the limit"]++
			case f.Response():
				got["refused"]++
			default:
				got[string(f.Method)]++
			}
		}
		for what, want := range map[string]int{
			"heartbeats": rounds, "over the limit": rounds, "refused": rounds + 1, wire.MethodHello: 1, wire.MethodWindow: 1, wire.MethodDrain: 1, wire.MethodBye: 1,
		} {
			if got[what] != want {
				t.Errorf("%s: %d came, want %d; all: %v", what, got[what], want, got)
			}
		}
		_ = near.Close()
		<-h.closed
	})
}

// The same of the caller's: heartbeats, and cancels that waited for the hello.
func TestCallersReaderNeverWrites(t *testing.T) {
	pipe(t, func(t *testing.T, c *ClientConn, peer rawPeer, _ *caller) {
		cancel, gone := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		first := peer.frame()
		_, waits := givenUp(t, c, &Request{Path: "Test", Method: "Echo"}, time.Time{})
		second := peer.frame()
		cancel()
		wantCode(t, <-gone, status.Canceled, status.FateUnknown)
		synctest.Wait() // nobody writes
		peer.sendAtOnce("the hello, on which a cancel is due", helloTo(first, wire.FeatureCancel))
		peer.sendAtOnce("a late answer behind it", answerTo(first))
		wantCancel(t, peer.frame(), first.Seq)
		synctest.Wait()
		time.Sleep(15*time.Second + time.Millisecond) // virtual; a heartbeat has just become due
		if n := c.cfg.Counters.Heartbeats.Load(); n != 1 {
			t.Errorf("%d heartbeats, want 1: the test tests nothing", n)
		}
		peer.sendAtOnce("an answer behind a heartbeat", answerTo(second))
		if err := <-waits; err != nil {
			t.Error(err)
		}
		if f := peer.frame(); !f.Heartbeat() {
			t.Errorf("got %+v, want the heartbeat", f)
		}
	})
}

// The same over a socket, whose kernel takes some of what is written, and with
// payloads by reference: callers of a peer that reads nothing return when their time
// is over, long before the write does, and not a byte is lost or sent twice.
func TestCallersOfAPeerThatDoesNotReadReturn(t *testing.T) {
	const calls, payload = 200, 96 << 10
	c, peer, _ := callRaw(t, Config{WriteTimeout: 10 * time.Minute, WriteBuffer: 4 << 20})
	var all sync.WaitGroup
	ended := make(chan struct{})
	for i := range calls {
		all.Go(func() {
			body := bytes.Repeat([]byte{byte(i)}, payload-i)
			_, err := c.Do(t.Context(), time.Now().Add(time.Duration(i%20)*5*time.Millisecond), &Request{Path: "Test", Method: "Echo", Payload: body})
			if status.CodeOf(err) != status.DeadlineExceeded {
				t.Errorf("call %d: %v, want DeadlineExceeded", i, err)
			}
		})
	}
	go func() {
		all.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("callers wait on after their deadlines")
	}
	next := make(chan error, 1)
	go func() {
		_, err := c.Do(t.Context(), time.Now().Add(time.Minute), &Request{Path: "Test", Method: "Echo", Payload: []byte("next")})
		next <- err
	}()
	for n := 0; ; n++ {
		f := peer.frame()
		if string(f.Payload) == "next" {
			peer.send(answerTo(f))
			break
		}
		if i := payload - len(f.Payload); i < 0 || i >= calls || !bytes.Equal(f.Payload, bytes.Repeat([]byte{byte(i)}, payload-i)) {
			t.Fatalf("frame %d has %d bytes that were not sent so", n, len(f.Payload))
		}
	}
	if err := <-next; err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// A TLS connection is lost for good by a write that is cut short. Callers keep their
// time on it by leaving the writing to the flusher.
func TestCallersOverTLSReturnOnTimeAndLoseNothing(t *testing.T) {
	clientTLS, serverTLS := tlsConfigs(t)
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		w := wheel.New()
		c := NewClient(tls.Client(near, clientTLS), Config{Wheel: w}, wire.Announcement{}, newCaller())
		secured := tls.Server(far, serverTLS)
		shaken := make(chan error, 1)
		go func() { shaken <- secured.Handshake() }()
		synctest.Wait()
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		peer := rawPeer{t, secured}
		ended := crowd(t, c, 30)
		began := time.Now()
		_, err := c.Do(t.Context(), began.Add(4*time.Millisecond), &Request{Path: "Test", Method: "Echo", Payload: []byte("helper")})
		wantCode(t, err, status.DeadlineExceeded, status.FateUnknown)
		if d := time.Since(began); d > 4*time.Millisecond+wheelTick {
			t.Errorf("the caller returned after %s, want 4ms", d)
		}
		wantWhole(t, c, peer, ended, "helper")
		_ = far.Close()
		c.Close()
		w.Close()
	})
}

// tlsConfigs makes the two ends of TLS with a certificate of their own.
func tlsConfigs(t *testing.T) (client, server *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC) // a bubble's clock begins in 2000
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"callee"}, NotBefore: begin, NotAfter: begin.AddDate(100, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{RootCAs: roots, ServerName: "callee"}, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
