// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// pipeServer is a ServerConn in a synctest bubble, and the other end of its pipe.
func pipeServer(t *testing.T, cfg Config) (rawPeer, *ServerConn) {
	near, far := net.Pipe()
	s := NewServer(far, cfg, newCallee(), nil)
	t.Cleanup(func() {
		_ = near.Close()
		s.Close()
	})
	return rawPeer{t, near}, s
}

// A quiet connection has given back all that only a busy one needs, and goes on
// with the next byte as if nothing had been.
func TestQuietConnectionsRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := pipeServer(t, Config{})
		for i := range uint64(3) {
			p.send(request(i, "payload"))
			if f := p.frame(); f.Seq != i || string(f.Payload) != "payload" {
				t.Fatalf("answer to %d: %d %q", i, f.Seq, f.Payload)
			}
			time.Sleep(quietAfter)
			synctest.Wait()
			if s.r.reading != nil || s.w.writing != &nothing || s.running.buckets != nil {
				t.Fatalf("after a quiet while: reading %v, writing %v, %d buckets", s.r.reading, s.w.writing, len(s.running.buckets))
			}
		}
	})
}

// A frame that began before the quiet, or with it, has its own time and is not
// forgotten.
func TestNoRestWithinAFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, s := pipeServer(t, Config{})
		whole := request(1, "payload")
		for _, b := range whole { // each as a read of its own
			p.send([]byte{b})
			time.Sleep(quietAfter / 32)
		}
		if f := p.frame(); f.Seq != 1 {
			t.Fatalf("answer to %d", f.Seq)
		}
		time.Sleep(2 * quietAfter)
		p.send(whole[:20])
		time.Sleep(4 * quietAfter)
		synctest.Wait()
		if s.r.reading == nil {
			t.Fatal("it rests within a frame")
		}
		p.send(whole[20:])
		if f := p.frame(); f.Seq != 1 {
			t.Fatalf("answer to %d", f.Seq)
		}
	})
}

// Resting changes nothing about when a connection is idle.
func TestRestingConnectionsEndAsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Minute
		p, s := pipeServer(t, Config{IdleTimeout: idle})
		p.send(request(1, "payload"))
		p.frame()
		began := time.Now()
		go func() {
			for {
				if _, err := p.tryFrame(); err != nil {
					_ = p.Close()
					return
				}
			}
		}()
		<-s.Done()
		if took := time.Since(began); took < idle || took > idle+15*time.Second+2*linger {
			t.Errorf("ended as idle after %s, want one tick of 15 s after %s at the latest", took, idle)
		}
	})
}

// A drain and a Close reach a connection that rests.
func TestRestingConnectionsEnd(t *testing.T) {
	for name, end := range map[string]func(s *ServerConn){
		"drain": func(s *ServerConn) { s.Drain(time.Second, 10*time.Second) },
		"close": func(s *ServerConn) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newCallee()
			p, s := serveRaw(t, h, Config{})
			p.send(request(1, "payload"))
			p.frame()
			awaitRest(t, s)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				end(s)
			}()
			for {
				if _, err := p.tryFrame(); err != nil {
					_ = p.Close()
					break
				}
			}
			<-ended
		})
	}
}

// awaitRest waits until nothing but the rest of a connection is left.
func awaitRest(t *testing.T, s *ServerConn) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		s.w.mu.Lock()
		quiet := s.w.writing == &nothing
		s.w.mu.Unlock()
		if quiet {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the connection does not rest")
		}
		time.Sleep(time.Millisecond) // a poll of state that nobody tells of
	}
}

// tlsPair returns the two ends of a TLS connection whose server side reads through
// an Ahead, which also counts what is read below.
func tlsPair(t *testing.T) (near *tls.Conn, far *tls.Conn, below net.Conn) {
	t.Helper()
	a, b := tcpPair(t)
	near, far, done := tlsOver(t, a, b)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return near, far, a
}

// tlsOver makes the client's handshake; done gets the result of the server's.
func tlsOver(t *testing.T, a, b net.Conn) (near *tls.Conn, far *tls.Conn, done chan error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	near = tls.Client(a, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // both ends are this test's
	far = tls.Server(NewAhead(b, nil), &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	done = make(chan error, 1)
	go func() { done <- far.Handshake() }()
	if err := near.Handshake(); err != nil {
		t.Fatal(err)
	}
	return near, far, done
}

// corked holds back all writes but the first until uncork.
type corked struct {
	net.Conn
	passed bool
	held   []byte
}

func (c *corked) Write(b []byte) (int, error) {
	if !c.passed {
		c.passed = true
		return c.Conn.Write(b)
	}
	c.held = append(c.held, b...)
	return len(b), nil
}

func (c *corked) uncork(t *testing.T) {
	t.Helper()
	if _, err := c.Conn.Write(c.held); err != nil {
		t.Fatal(err)
	}
	c.held, c.passed = nil, false
}

// The first request may come with the end of the handshake, which then reads it
// too: a rest below the TLS would not see it.
func TestRequestWithTheHandshake(t *testing.T) {
	a, b := tcpPair(t)
	c := &corked{Conn: a}
	near, far, done := tlsOver(t, c, b)
	p := rawPeer{t, near}
	p.send(request(1, "payload"))
	c.uncork(t) // the client's last word of the handshake, and the request
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s := NewServer(far, Config{}, newCallee(), nil)
	t.Cleanup(s.Close)
	if err := near.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if f := p.frame(); f.Seq != 1 {
		t.Fatalf("answer to %d", f.Seq)
	}
}

// A TLS connection rests below the TLS, loses no byte and no end by it, and begins
// with what the handshake may have read already.
func TestRestBelowTLS(t *testing.T) {
	near, far, below := tlsPair(t)
	h := newCallee()
	s := NewServer(far, Config{}, h, nil)
	t.Cleanup(s.Close)
	p := rawPeer{t, near}
	for i := range uint64(2) {
		p.send(request(i, "payload"))
		if f := p.frame(); f.Seq != i {
			t.Fatalf("answer to %d, want %d", f.Seq, i)
		}
		awaitRest(t, s)
	}
	if s.r.ahead == nil {
		t.Fatal("it does not know what it rests on")
	}
	_ = below.Close() // without a word of TLS
	select {
	case <-h.closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the end is not seen")
	}
}

// Whoever sends bytes that are no record yet does not stay for ever: ticks go on.
func TestTricklingBelowTLSIsIdle(t *testing.T) {
	near, far, below := tlsPair(t)
	_ = near
	h := newCallee()
	s := NewServer(far, Config{IdleTimeout: 2 * quietAfter, HeartbeatInterval: 3 * quietAfter / 2, WriteTimeout: quietAfter}, h, nil)
	t.Cleanup(s.Close)
	var stop atomic.Bool
	defer stop.Store(true)
	go func() {
		record := append([]byte{23, 3, 3, 0x40, 0}, make([]byte, 1<<14)...) // as much as a record may hold
		for i := 0; !stop.Load(); i++ {
			if _, err := below.Write(record[i%len(record) : i%len(record)+1]); err != nil {
				return
			}
			time.Sleep(quietAfter / 50) // the trickle
		}
	}()
	select {
	case <-h.closed:
	case <-time.After(20 * time.Second):
		t.Fatal("a connection on which only pieces of a record come is kept")
	}
}

// What was read ahead comes first, then how reading failed.
func TestAhead(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = near.Close() }()
	a := NewAhead(far, []byte("abc"))
	buf := make([]byte, 2)
	for _, want := range []string{"ab", "c"} {
		if n, err := a.Read(buf); err != nil || string(buf[:n]) != want {
			t.Fatalf("read %q, %v, want %q", buf[:n], err, want)
		}
	}
	a.unread, a.err = []byte("d"), net.ErrClosed
	if n, err := a.Read(buf); n != 1 || err != nil {
		t.Fatalf("read %d, %v", n, err)
	}
	if _, err := a.Read(buf); err == nil {
		t.Fatal("no error")
	}
}

// Connections that announce the same share the words.
func TestAnnouncementsShareWords(t *testing.T) {
	e := NewCallee(Config{}, newCallee())
	one := wire.Announcement{Caller: "a/b", To: "c/d", UID: "1", Features: []string{"x"}}
	two := wire.Announcement{Caller: "a/b", To: "other", UID: "1", Features: []string{"x"}}
	again := one
	if e.share(&one) != &one || e.share(&again) != &one {
		t.Error("the same announcement is kept twice")
	}
	if e.share(&two) != &two {
		t.Error("another announcement is taken for the same")
	}
	if two.To != "other" || two.Caller != "a/b" || &two.Features[0] != &one.Features[0] {
		t.Errorf("%+v after %+v", two, one)
	}
}
