// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// callee is a Handler whose answers a test decides.
type callee struct {
	serve    func(in *Inbound)          // nil: echo on the reader's behalf
	announce func(a *wire.Announcement) // nil: not looked at
	closed   chan error                 // gets the reason of each connection's end
	mu       sync.Mutex
	requests int
}

func newCallee() *callee { return &callee{closed: make(chan error, 16)} }

func (h *callee) Announced(_ *ServerConn, a *wire.Announcement) {
	if h.announce != nil {
		h.announce(a)
	}
}

func (h *callee) Request(in *Inbound) {
	h.mu.Lock()
	h.requests++
	h.mu.Unlock()
	in.Keep()
	if h.serve != nil {
		go h.serve(in)
		return
	}
	go in.Respond(nil, bytes.Clone(in.Payload), wire.CompressNone)
}

func (h *callee) Closed(_ *ServerConn, reason error) { h.closed <- reason }

func (h *callee) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.requests
}

// caller records the events of a ClientConn.
type caller struct {
	draining chan struct{}
	pushes   chan string
	ended    chan error
}

func newCaller() *caller {
	return &caller{draining: make(chan struct{}, 1), pushes: make(chan string, 16), ended: make(chan error, 1)}
}

func (e *caller) Draining(*ClientConn) { e.draining <- struct{}{} }
func (e *caller) Push(_ *ClientConn, f wire.Frame) {
	e.pushes <- string(f.Path) + "." + string(f.Method) + " " + string(f.Payload)
}
func (e *caller) Ended(_ *ClientConn, reason error) { e.ended <- reason }

// tcpPair returns the two ends of a loopback connection.
func tcpPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	near, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return near, <-accepted
}

func newWheel(t testing.TB) *wheel.Wheel {
	w := wheel.New()
	t.Cleanup(w.Close)
	return w
}

// connect joins a ClientConn and a ServerConn over a real socket.
func connect(t testing.TB, h *callee, clientCfg, serverCfg Config) (*ClientConn, *ServerConn, *caller) {
	t.Helper()
	near, far := tcpPair(t)
	events := newCaller()
	clientCfg.Wheel = newWheel(t)
	s := NewServer(far, serverCfg, h, nil)
	c := NewClient(near, clientCfg, wire.Announcement{Caller: "test/caller", To: "test/echo"}, events)
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c, s, events
}

func echo(ctx context.Context, c *ClientConn, payload string) (string, error) {
	res, err := c.Do(ctx, time.Now().Add(20*time.Second), &Request{Path: "Test", Method: "Echo", Payload: []byte(payload)})
	if err != nil {
		return "", err
	}
	defer res.Release()
	if res.Header.Status() != wire.StatusNormal {
		text, _ := res.Meta.Get(wire.KeyError)
		return "", errors.New(string(text))
	}
	return string(res.Payload), nil
}

// rawPeer is a socket on which a test writes and reads bytes itself.
type rawPeer struct {
	t testing.TB
	net.Conn
}

func (p rawPeer) send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// frame reads one frame.
func (p rawPeer) frame() wire.Frame {
	p.t.Helper()
	f, err := p.tryFrame()
	if err != nil {
		p.t.Fatalf("read a frame: %v", err)
	}
	return f
}

func (p rawPeer) tryFrame() (wire.Frame, error) {
	prefix := make([]byte, wire.PrefixLen)
	if _, err := io.ReadFull(p, prefix); err != nil {
		return wire.Frame{}, err
	}
	_, size, err := wire.ParsePrefix(prefix)
	if err != nil {
		return wire.Frame{}, err
	}
	whole := make([]byte, size)
	copy(whole, prefix)
	if _, err := io.ReadFull(p, whole[wire.PrefixLen:]); err != nil {
		return wire.Frame{}, err
	}
	return wire.Parse(whole)
}

// request builds a request frame by hand.
func request(seq uint64, payload string, meta ...string) []byte {
	b := wire.Begin(nil, wire.RequestHeader(seq, wire.SerializeRaw, false), "Test", "Echo")
	for i := 0; i < len(meta); i += 2 {
		b.Meta(meta[i], meta[i+1])
	}
	return b.Payload([]byte(payload))
}

// serveRaw gives the test the caller's end of a connection to a ServerConn.
func serveRaw(t *testing.T, h *callee, cfg Config) (rawPeer, *ServerConn) {
	near, far := tcpPair(t)
	s := NewServer(far, cfg, h, nil)
	t.Cleanup(func() {
		near.Close()
		s.Close()
	})
	return rawPeer{t, near}, s
}

// callRaw gives the test the callee's end of a connection from a ClientConn.
func callRaw(t *testing.T, cfg Config) (*ClientConn, rawPeer, *caller) {
	near, far := tcpPair(t)
	events := newCaller()
	cfg.Wheel = newWheel(t)
	c := NewClient(near, cfg, wire.Announcement{To: "test/echo"}, events)
	t.Cleanup(func() {
		far.Close()
		c.Close()
	})
	return c, rawPeer{t, far}, events
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantFate(t *testing.T, err error, fate status.Fate, reason string) {
	t.Helper()
	var e *status.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is no *status.Error", err)
	}
	if e.Fate() != fate || e.Reason() != reason {
		t.Fatalf("fate %s reason %q, want %s %q: %v", e.Fate(), e.Reason(), fate, reason, err)
	}
}

// drainOnly are the features of a peer of an earlier version.
var drainOnly = []string{wire.FeatureDrain}
