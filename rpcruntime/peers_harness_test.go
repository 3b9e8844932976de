// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/rpcxpeer"
)

// puppet is a callee at a socket, without the extensions, whose answers a test
// makes up.
type puppet struct {
	addr string
	// seen gets every message, before it is answered.
	seen chan *rpcxpeer.Message
	// conns counts the connections.
	conns atomic.Int64
}

// newPuppet runs answer for each message, one at a time for each connection.
func newPuppet(t *testing.T, answer func(p puppetConn, m *rpcxpeer.Message)) *puppet {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &puppet{addr: ln.Addr().String(), seen: make(chan *rpcxpeer.Message, 1000)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p.conns.Add(1)
			stop := context.AfterFunc(t.Context(), func() { _ = nc.Close() })
			all.Go(func() {
				defer stop()
				defer func() { _ = nc.Close() }()
				for {
					m, err := rpcxpeer.Read(nc)
					if err != nil {
						return
					}
					p.seen <- m
					answer(puppetConn{t, nc}, m)
				}
			})
		}
	})
	t.Cleanup(func() { // the test's context has ended before
		_ = ln.Close()
		all.Wait()
	})
	return p
}

// puppetConn is where a puppet answers.
type puppetConn struct {
	t *testing.T
	net.Conn
}

func (p puppetConn) send(m rpcxpeer.Message) {
	if _, err := p.Write(m.Encode()); err != nil && p.t.Context().Err() == nil && !errors.Is(err, net.ErrClosed) {
		p.t.Logf("the puppet could not write: %v", err)
	}
}

// answerTo is a good answer to m.
func answerTo(m *rpcxpeer.Message, payload string) rpcxpeer.Message {
	r := *m
	r.Response, r.Compress, r.Meta, r.Payload = true, rpcxpeer.CompressNone, nil, []byte(payload)
	return r
}

// failureOf is an answer to m with an error.
func failureOf(m *rpcxpeer.Message, text string) rpcxpeer.Message {
	r := answerTo(m, "")
	r.Failed, r.Meta = true, map[string]string{rpcxpeer.KeyError: text}
	return r
}

// oldPeer runs a server of rpcx's kind.
func oldPeer(t *testing.T, cfg rpcxpeer.ServerConfig) *rpcxpeer.Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := rpcxpeer.NewServer(ln, cfg)
	t.Cleanup(s.Close)
	return s
}

// oldCaller connects a caller of rpcx's kind.
func oldCaller(t *testing.T, addr string, cfg rpcxpeer.ClientConfig) *rpcxpeer.Client {
	t.Helper()
	c, err := rpcxpeer.Dial(t.Context(), addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// ask sends a message as it is, and reads the next one.
func (p rawPeer) ask(m rpcxpeer.Message) *rpcxpeer.Message {
	p.t.Helper()
	p.send(m.Encode())
	return p.message()
}

func (p rawPeer) message() *rpcxpeer.Message {
	p.t.Helper()
	m, err := rpcxpeer.Read(p)
	if err != nil {
		p.t.Fatalf("read a message: %v", err)
	}
	return m
}

// wantServed asks for an echo: the connection is as good as ever.
func (p rawPeer) wantServed() {
	p.t.Helper()
	r := p.ask(rpcxpeer.Message{Seq: 1<<40 + 7, Path: "Raw", Method: "Echo", Payload: []byte("still there")})
	if r.Failed || r.Seq != 1<<40+7 || string(r.Payload) != "still there" {
		p.t.Errorf("the connection is not as it was: %+v", r)
	}
}

// waitUntil waits for what cannot be waited for otherwise.
func waitUntil(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
