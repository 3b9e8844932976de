// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// within bounds every wait; nothing waits for as long when all is well.
const within = 60 * time.Second

// output is written by the proxy and read by the test. While gate is not nil, a
// write waits for it to be closed.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	gate chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	if o.gate != nil {
		<-o.gate
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until what was written has the text.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	giveUp := time.NewTimer(within)
	defer giveUp.Stop()
	for !strings.Contains(o.String(), text) {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-giveUp.C:
			t.Fatalf("%q never came:\n%s", text, o.String())
		}
	}
}

// proxied is a proxy that runs.
type proxied struct {
	t       *testing.T
	out     *output
	log     *output
	address string
	cancel  context.CancelFunc
	ended   chan error
}

func startProxy(t *testing.T, to string, out *output) *proxied {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &proxied{t: t, out: out, log: new(output), cancel: cancel, ended: make(chan error, 1)}
	go func() { p.ended <- Proxy(ctx, "127.0.0.1:0", to, Options{Out: out, Log: p.log}) }()
	t.Cleanup(cancel)
	p.log.await(t, "passing on to")
	_, after, _ := strings.Cut(p.log.String(), "listening at ")
	p.address, _, _ = strings.Cut(after, ",")
	return p
}

func (p *proxied) dial() *net.TCPConn {
	p.t.Helper()
	conn, err := net.Dial("tcp", p.address)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		p.t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// stop ends the proxy as SIGINT does, and waits for it.
func (p *proxied) stop() {
	p.t.Helper()
	p.cancel()
	select {
	case err := <-p.ended:
		if err != nil {
			p.t.Error(err)
		}
	case <-time.After(within):
		p.t.Fatal("the proxy does not end")
	}
}

// serveEach runs do for each connection until the test is over.
func serveEach(t *testing.T, do func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				_ = conn.SetDeadline(time.Now().Add(within))
				do(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

// Every byte is passed on, in order, and a half-close as such: the server
// answers when the client has said all, and the client still hears it.
func TestProxyPassesEveryByte(t *testing.T) {
	answer := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(answer)
	request := append(join(t, "mul", "oneway"), answer[:256<<10]...)
	got := make(chan []byte, 10)
	to := serveEach(t, func(c *net.TCPConn) {
		all, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		got <- all
		_, _ = c.Write(join(t, "mul reply"))
		_, _ = c.Write(answer)
	})
	p := startProxy(t, to, new(output))
	var clients sync.WaitGroup
	for range 3 {
		c := p.dial()
		clients.Go(func() {
			if _, err := c.Write(request); err != nil {
				t.Error(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			all, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(all, append(join(t, "mul reply"), answer...)) {
				t.Errorf("the client got %d bytes, not those that were sent: %v", len(all), err)
			}
			if sent := <-got; !bytes.Equal(sent, request) {
				t.Errorf("the server got %d bytes, not those that were sent", len(sent))
			}
		})
	}
	clients.Wait()
	p.stop()
	text := p.out.String()
	for _, want := range []string{"> " + to + " request seq=1 Arith.Mul", "> " + to + " oneway seq=2", "< " + to + " response seq=1 Arith.Mul json ok", "took="} {
		if n := strings.Count(text, want); n != 3 && want != "took=" || n == 0 {
			t.Errorf("%q is there %d times:\n%.3000s", want, n, text)
		}
	}
	if !strings.Contains(p.log.String(), "3 connections (3 rpcx, 0 TLS)") {
		t.Error(p.log.String())
	}
	checkPrintable(t, text)
}

// A terminal that is stopped stops nothing else: far more passes than is kept,
// and it is said how much was not decoded.
func TestProxyNeverWaitsForItsOutput(t *testing.T) {
	to := serveEach(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	out := &output{gate: make(chan struct{})}
	p := startProxy(t, to, out)
	c := p.dial()
	frame := join(t, "mul")[:16+4+5+4+3+4+17] // with a payload of 64 KiB
	frame = append(append(frame, 0, 1, 0, 0), make([]byte, 64<<10)...)
	copy(frame[12:], []byte{0, 1, 0, 0x38 - 15})
	block := bytes.Repeat(frame, 16)
	total := 0
	var reading sync.WaitGroup
	reading.Go(func() {
		n, err := io.Copy(io.Discard, c)
		if total = int(n); err != nil {
			t.Error(err)
		}
	})
	const blocks = 16 // there and back: twice what may wait
	for range blocks {
		if _, err := c.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	reading.Wait()
	if total != blocks*len(block) {
		t.Errorf("%d bytes came back, want %d", total, blocks*len(block))
	}
	close(out.gate)
	p.stop()
	if text := out.String(); !strings.Contains(text, "passed faster than they could be") || strings.Count(text, "request seq=1 Arith.Mul") < 10 {
		t.Errorf("the output does not say that it misses something:\n%.2000s", text)
	}
}

// An end is passed on as what it was.
func TestProxyPassesResets(t *testing.T) {
	to := serveEach(t, func(c *net.TCPConn) {
		_, _ = io.ReadFull(c, make([]byte, 5))
		reset(c)
	})
	p := startProxy(t, to, new(output))
	c := p.dial()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v", err)
	}
	p.stop()
}

func TestProxyWithoutServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	p := startProxy(t, to, new(output))
	c, err := net.Dial("tcp", p.address)
	if err == nil { // else it was let go before the dial returned
		_ = c.SetDeadline(time.Now().Add(within))
		if _, err = c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the client was not let go: %v", err)
		}
		_ = c.Close()
	}
	p.log.await(t, "cannot be passed on")
	p.stop()
}

// SIGINT ends the connections that are open, too, and what was seen is printed.
func TestProxyEndsWithOpenConnections(t *testing.T) {
	to := serveEach(t, func(c *net.TCPConn) { _, _ = io.Copy(c, c) })
	p := startProxy(t, to, new(output))
	c := p.dial()
	if _, err := c.Write(join(t, "mul", "nope")[:80]); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 80)); err != nil {
		t.Fatal(err)
	}
	p.out.await(t, "< "+to+" request seq=1")
	p.stop()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
	if !strings.Contains(p.out.String(), "a frame of which only 8 bytes came") {
		t.Error(p.out.String())
	}
}

func TestProxyCannotListen(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if err := Proxy(t.Context(), ln.Addr().String(), "127.0.0.1:1", Options{Out: io.Discard, Log: io.Discard}); err == nil {
		t.Error("two listen at one address")
	}
}

// What was dropped is said where it is missing, and what follows is decoded.
func TestProxySaysWhereItMissedSomething(t *testing.T) {
	out := &output{gate: make(chan struct{})}
	e := newEars(&Options{Out: out, Log: io.Discard})
	h := e.meet(clientAt(1), clientAt(2))
	frame := join(t, "mul")
	for h.lost[0] == 0 {
		h.hear(0, frame, time.Unix(0, 0))
	}
	close(out.gate)
	giveUp := time.NewTimer(within)
	defer giveUp.Stop()
	for e.pieces.Load() > 0 {
		select {
		case <-time.After(time.Millisecond):
		case <-giveUp.C:
			t.Fatal("the queue is never empty")
		}
	}
	h.hear(0, join(t, "nope"), time.Unix(0, 0))
	h.end(0)
	h.end(1)
	h.over()
	e.close()
	_, after, _ := strings.Cut(out.String(), "-- 72 bytes are missing: they passed faster than")
	if strings.Count(after, "\n") != 2 || !strings.Contains(after, "request seq=4 Arith.Nope") {
		t.Errorf("behind the gap there is\n%s", after)
	}
}

// Connections that come and go while nothing is printed hold a bounded number of
// places; those above are passed on unseen, which is said.
func TestProxyForgetsWhatItCannotSee(t *testing.T) {
	out := &output{gate: make(chan struct{})}
	e := newEars(&Options{Out: out, Log: io.Discard})
	frame := join(t, "mul")
	for i := range maxHearings + 500 {
		h := e.meet(clientAt(uint16(i)), clientAt(1))
		h.hear(0, frame, time.Unix(0, 0))
		h.end(0)
		h.end(1)
		h.over()
	}
	close(out.gate)
	e.close()
	if e.hearings.Load() != 0 || e.bytes.Load() != 0 || e.pieces.Load() != 0 || e.budget.left != heldBytes {
		t.Errorf("%d connections, %d bytes, %d pieces and %d of memory are held", e.hearings.Load(), e.bytes.Load(), e.pieces.Load(), heldBytes-e.budget.left)
	}
	if text := e.summary(); !strings.Contains(text, fmt.Sprintf("%d connections (", maxHearings+500)) || !strings.Contains(text, "without being decoded") {
		t.Error(text)
	}
}
