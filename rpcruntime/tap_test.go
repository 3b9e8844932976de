// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"net"
	"sync"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// tap carries the frames of one connection, keeps the caller's when told, and
// breaks it at a byte of the callee's drain, its answers and its bye.
type tap struct {
	t    *testing.T
	addr string
	ln   net.Listener
	cut  int // below 0: never
	// requests gets one for each ordinary request that came from the caller.
	requests chan struct{}
	drained  chan struct{} // closed when the drain was carried
	broken   chan struct{} // closed when the connection was broken
	all      sync.WaitGroup

	mu             sync.Mutex // guards what follows
	caller, callee net.Conn
	holding        bool
	held           []byte
	// carried counts the ordinary requests that went on to the callee.
	carried uint64
	// said counts the bytes of the drain, and what followed, that came.
	said, answerEnd, byeEnd int
}

func newTap(t *testing.T, target string, cut int) *tap {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &tap{
		t: t, addr: ln.Addr().String(), ln: ln, cut: cut,
		requests: make(chan struct{}, 100), drained: make(chan struct{}), broken: make(chan struct{}),
	}
	p.all.Go(func() {
		caller, err := ln.Accept()
		if err != nil {
			return
		}
		_ = ln.Close() // it carries one connection
		callee, err := net.Dial("tcp", target)
		if err != nil {
			t.Error(err)
			_ = caller.Close()
			return
		}
		p.mu.Lock()
		p.caller, p.callee = caller, callee
		p.mu.Unlock()
		p.all.Go(p.up)
		p.down()
	})
	return p
}

// close ends what is left.
func (p *tap) close() {
	_ = p.ln.Close()
	p.end(false)
	p.all.Wait()
}

func (p *tap) end(reset bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range []net.Conn{p.caller, p.callee} {
		if tcp, ok := c.(*net.TCPConn); ok {
			if reset {
				_ = tcp.SetLinger(0)
			}
			_ = tcp.Close()
		}
	}
}

// hold keeps what the caller sends from now on.
func (p *tap) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holding = true
}

// ends returns where the answer and the bye ended, 0 if they did not come.
func (p *tap) ends() (answer, bye int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.answerEnd, p.byeEnd
}

// up carries what the caller sends.
func (p *tap) up() {
	for {
		b, err := (rawPeer{p.t, p.caller}).bytes()
		if err != nil {
			_ = p.callee.(*net.TCPConn).CloseWrite() // the end, too, is carried
			return
		}
		f, err := wire.Parse(b)
		ordinary := err == nil && string(f.Path) != wire.ControlPath && !f.Heartbeat()
		p.mu.Lock()
		if p.holding {
			p.held = append(p.held, b...)
		} else {
			if ordinary {
				p.carried++
			}
			_, _ = p.callee.Write(b)
		}
		p.mu.Unlock()
		if ordinary {
			p.requests <- struct{}{}
		}
	}
}

// down carries what the callee says.
func (p *tap) down() {
	for {
		b, err := (rawPeer{p.t, p.callee}).bytes()
		if err != nil {
			_ = p.caller.(*net.TCPConn).CloseWrite()
			return
		}
		f, err := wire.Parse(b)
		if err != nil {
			p.t.Error(err)
			return
		}
		if !p.carry(b, f) {
			close(p.broken)
			p.end(p.cut%2 == 0)
			return
		}
		if string(f.Method) == wire.MethodDrain {
			close(p.drained)
		}
	}
}

// carry carries one frame, or as much of it as is let through.
func (p *tap) carry(b []byte, f wire.Frame) (whole bool) {
	method := string(f.Method)
	p.mu.Lock()
	defer p.mu.Unlock()
	// Frames of other kinds come at their own times and count for nothing.
	if method != wire.MethodDrain && method != wire.MethodBye && (!f.Response() || p.said == 0) {
		_, _ = p.caller.Write(b)
		return true
	}
	if p.cut >= 0 && p.said+len(b) > p.cut {
		_, _ = p.caller.Write(b[:p.cut-p.said])
		return false
	}
	p.said += len(b)
	_, _ = p.caller.Write(b)
	switch {
	case f.Response():
		p.answerEnd = p.said
	case method == wire.MethodBye:
		if read, ok := wire.ParseBye(f.Payload); !ok || read != p.carried {
			p.t.Errorf("bye after %d requests, of %d", read, p.carried)
		}
		p.byeEnd = p.said
		p.holding = false
		_, _ = p.callee.Write(p.held) // too late
		// Cut right behind it.
		return p.cut != p.said
	}
	return true
}
