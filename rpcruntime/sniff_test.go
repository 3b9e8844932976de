// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// echoes makes one call as an old caller does.
func (p rawPeer) echoes(payload string) {
	p.t.Helper()
	p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Raw", "Echo", payload))
	if f := p.frame(); f.Status() != wire.StatusNormal || string(f.Payload) != payload {
		p.t.Errorf("status %d, payload %q", f.Status(), f.Payload)
	}
}

// line makes one call of the other protocol.
func line(t testing.TB, nc net.Conn, in *bufio.Reader, text string) {
	t.Helper()
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
	if got, err := in.ReadString('\n'); err != nil || got != text {
		t.Fatalf("got %q, %v, want %q", got, err, text)
	}
}

// refusals counts the connections that were refused for a reason.
func (r *recorder) refusals(reason string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, e := range r.refused {
		if e.Path == "" && e.Reason == reason {
			n++
		}
	}
	return n
}

func echoServer(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }

// docs/wire-protocol.md §11
func TestOtherProtocolsShareThePort(t *testing.T) {
	rec, other := new(recorder), newLines()
	addr, srv := serveWith(t, newRuntime(t, WithObserver(rec)), echoServer, WithProtocol(other))
	ours, theirs, strange := dialRaw(t, addr), dialRaw(t, addr), dialRaw(t, addr)
	in := bufio.NewReader(theirs)
	ours.echoes("one")
	line(t, theirs, in, "Lone\n")
	ours.echoes("two")
	line(t, theirs, in, "Ltwo\n")
	strange.send([]byte("GET / HTTP/1.1\r\n"))
	if _, err := strange.bytes(); err == nil {
		t.Error("what nobody speaks was answered")
	}
	until(t, "a refusal is counted", func() bool { return rec.refusals(reasonProtocol) == 1 })

	nc := receive(t, other.accepted, "the connection")
	if _, ok := nc.(interface{ CloseWrite() error }); !ok {
		t.Error("a connection of the protocol cannot be half-closed")
	}
	if _, ok := nc.(interface{ ConnectionState() any }); ok {
		t.Error("a connection without TLS has the state of one")
	}
	until(t, "the strange one counts no more", func() bool { return srv.Stats().Connections == 2 })
	_ = theirs.Close()
	until(t, "a connection of the protocol counts no more once it is closed", func() bool { return srv.Stats().Connections == 1 })
	if err := srv.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if n := other.shut.Load(); n != 1 {
		t.Errorf("Shutdown was called %d times", n)
	}
}

// Without TLS and other protocols a connection is the transport's from its
// beginning: it may be silent for as long as it likes.
func TestPlainServersLookAtNothing(t *testing.T) {
	addr, srv := serveWith(t, newRuntime(t), echoServer)
	p := dialRaw(t, addr)
	until(t, "the connection is taken", func() bool {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		return len(srv.conns) == 1 && len(srv.newcomers) == 0
	})
	p.echoes("late")
}

func TestNewcomersCountAsConnections(t *testing.T) {
	rec, other := new(recorder), newLines()
	addr, srv := serveWith(t, newRuntime(t, WithObserver(rec)), echoServer, WithProtocol(other), MaxConnections(3))
	silent, ours, theirs := dialRaw(t, addr), dialRaw(t, addr), dialRaw(t, addr)
	ours.echoes("x")
	line(t, theirs, bufio.NewReader(theirs), "Lx\n")
	until(t, "all three count", func() bool { return srv.Stats().Connections == 3 })
	fourth := dialRaw(t, addr)
	if _, err := fourth.bytes(); err == nil {
		t.Error("one too many was served")
	}
	until(t, "a refusal is counted", func() bool { return rec.refusals(reasonConnections) == 1 })
	_ = silent.Close() // as a probe of the port does: no refusal
	until(t, "one left", func() bool { return srv.Stats().Connections == 2 })
	dialRaw(t, addr).echoes("there is room again")
	if n := rec.refusals(reasonSilent); n != 0 {
		t.Errorf("who leaves was counted as refused %d times", n)
	}
}

// pipes is a listener whose connections live in the bubble of a synctest.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case nc := <-l.conns:
		return nc, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipes) dial() net.Conn {
	theirs, ours := net.Pipe()
	l.conns <- ours
	return theirs
}

// bubble serves in a synctest and drains at its end.
func bubble(t *testing.T, obs Observer, opts ...ServerOption) (*pipes, *Server, func()) {
	t.Helper()
	rt, err := New(WithoutRegistry(), WithObserver(obs))
	if err != nil {
		t.Fatal(err)
	}
	srv := rt.NewServer(opts...)
	echoServer(srv)
	ln := newPipes()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ctx, ln)
	}()
	synctest.Wait()
	return ln, srv, func() {
		cancel()
		<-done
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

// closedAfter returns how long it takes the server to close a connection.
func closedAfter(nc net.Conn) time.Duration {
	began := time.Now()
	_, _ = io.Copy(io.Discard, nc)
	return time.Since(began)
}

func TestHostileSilentNewcomersTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(recorder)
		ln, srv, stop := bubble(t, rec, WithProtocol(newLines()), ServerTLS(serverTLS(newAuthority(t))), AlsoPlaintext())
		defer stop()
		silent := ln.dial()
		if took := closedAfter(silent); took != sniffTimeout {
			t.Errorf("a silent connection was closed after %s", took)
		}
		synctest.Wait()
		if rec.refusals(reasonSilent) != 1 {
			t.Error("it was not counted")
		}
		handshake := ln.dial()
		time.Sleep(3 * time.Second)
		_, _ = handshake.Write([]byte{tlsHandshake})
		time.Sleep(3 * time.Second)
		_, _ = handshake.Write([]byte{3, 1, 0}) // the deadline does not move with each byte
		if took := closedAfter(handshake); took != sniffTimeout-6*time.Second {
			t.Errorf("a handshake that stalls was closed after another %s", took)
		}
		synctest.Wait()
		if rec.refusals(reasonTLS) != 1 {
			t.Error("it was not counted")
		}
		if n := srv.Stats().Connections; n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

func TestDrainEndsSilentNewcomers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := new(recorder)
		ln, srv, stop := bubble(t, rec, WithProtocol(newLines()))
		defer stop()
		silent, late := ln.dial(), ln.dial()
		synctest.Wait()
		drained := make(chan error, 1)
		go func() { drained <- srv.Drain(context.Background()) }()
		// One whose first request is on its way is served still, as by a server
		// without other protocols.
		synctest.Wait()
		time.Sleep(sniffGrace / 2)
		request := requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Raw", "Echo", "late")
		go func() { _, _ = late.Write(request) }()
		p := rawPeer{t, late}
		if f := p.frame(); string(f.Payload) != "late" {
			t.Errorf("payload %q", f.Payload)
		}
		go func() { _, _ = io.Copy(io.Discard, late); _ = late.Close() }()
		if took := closedAfter(silent); took > sniffGrace {
			t.Errorf("a silent connection held a drain for %s", took)
		}
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if rec.refusals(reasonSilent) != 0 {
			t.Error("the drain's own doing was counted as a refusal")
		}
	})
}

func TestDrainWaitsForOtherProtocols(t *testing.T) {
	h, other := newHolding(), newLines()
	srv := newRuntime(t).NewServer(WithProtocol(other))
	HandleRaw(srv, "Raw.Echo", h.ignore)
	ln := listen(t, "")
	stop := start(t, srv, ln)
	p := dialRaw(t, ln.Addr().String())
	p.send([]byte("Lheld\n"))
	receive(t, h.began, "the call")
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	until(t, "Shutdown is called", func() bool { return other.shut.Load() == 1 })
	select {
	case err := <-stopped:
		t.Fatalf("the drain is over, with a call running: %v", err)
	default:
	}
	close(h.letGo)
	if got, err := bufio.NewReader(p).ReadString('\n'); err != nil || got != "Lheld\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if err := receive(t, stopped, "the end of the drain"); err != nil {
		t.Error(err)
	}
}

func TestDrainCutsOtherProtocols(t *testing.T) {
	h, other := newHolding(), newLines()
	srv := newRuntime(t).NewServer(WithProtocol(other))
	HandleRaw(srv, "Raw.Echo", h.heed)
	ln := listen(t, "")
	start(t, srv, ln)
	p := dialRaw(t, ln.Addr().String())
	p.send([]byte("Lheld\n"))
	receive(t, h.began, "the call")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.Drain(ctx); err == nil {
		t.Error("a drain that was cut reports success")
	}
	if err := receive(t, h.stopped, "the handler's end"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestServeFailsWithItsProtocol(t *testing.T) {
	broken := errors.New("broken")
	other := newLines()
	other.serveErr = broken
	srv := newRuntime(t).NewServer(WithProtocol(other))
	stop := start(t, srv, listen(t, ""))
	<-srv.done
	if err := stop(); !errors.Is(err, broken) {
		t.Errorf("Serve returned %v", err)
	}
}

func TestLogsTakeNothingFromPeersAsItIs(t *testing.T) {
	got := loggable("a\x1b[2J\r\nforged\xff" + strings.Repeat("é", 300))
	if strings.ContainsAny(got, "\x1b\r\n") || !utf8.ValidString(got) || len(got) > 2*maxLoggedText {
		t.Errorf("%q", got)
	}
}
