// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; it passes only when something is wrong.
const patience = 20 * time.Second

type mulArgs struct{ A, B int }

type mulReply struct{ C int }

func mul(_ context.Context, a *mulArgs) (*mulReply, error) { return &mulReply{a.A * a.B}, nil }

func echoRaw(_ context.Context, b []byte) ([]byte, error) { return b, nil }

func newRuntime(t testing.TB, opts ...RuntimeOption) *Runtime {
	t.Helper()
	rt, err := New(append([]RuntimeOption{WithoutRegistry()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := rt.Close(ctx); err != nil {
			t.Errorf("closing the runtime: %v", err)
		}
	})
	return rt
}

// listen returns a listener on addr, or on a free port of the loopback.
func listen(t testing.TB, addr string) *cutListener {
	t.Helper()
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return &cutListener{Listener: ln, conns: map[net.Conn]struct{}{}}
}

// cutListener can cut the connections that it accepted, as a killed process does.
type cutListener struct {
	net.Listener
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	// accepted counts connections.
	accepted int
}

func (l *cutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns[c] = struct{}{}
		l.accepted++
		l.mu.Unlock()
	}
	return c, err
}

func (l *cutListener) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.accepted
}

// cut resets every connection; unread and unsent bytes are lost.
func (l *cutListener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	clear(l.conns)
}

// start serves srv on ln; stop drains it and returns what Serve returned.
func start(t testing.TB, srv *Server, ln net.Listener) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = srv.Serve(ctx, ln)
	}()
	stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

// serveWith runs a server with the handlers that setup registers.
func serveWith(t testing.TB, rt *Runtime, setup func(*Server), opts ...ServerOption) (addr string, srv *Server) {
	t.Helper()
	srv = rt.NewServer(opts...)
	setup(srv)
	ln := listen(t, "")
	start(t, srv, ln)
	return ln.Addr().String(), srv
}

// instanceOf returns the first service of a server, once that serves.
func instanceOf(t testing.TB, srv *Server) *served {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); runtime.Gosched() {
		if services := *srv.services.Load(); len(services) > 0 {
			return services[0]
		}
	}
	t.Fatal("the server knows no service")
	return nil
}

// pair is a server and a client of it, each with a runtime of its own.
func pair(t testing.TB, setup func(*Server), opts ...ClientOption) *Client {
	t.Helper()
	addr, _ := serveWith(t, newRuntime(t), setup)
	return newRuntime(t).NewClient("test", append([]ClientOption{Endpoints(addr)}, opts...)...)
}

func ptr[T any](v T) *T { return &v }

// generous is a policy whose budget does not run out.
func generous(attempts int32) policy.CallFields {
	return policy.CallFields{
		Timeout: ptr(patience), Attempts: &attempts, Backoff: &policy.Backoff{Base: time.Millisecond, Max: 10 * time.Millisecond},
		Budget: &policy.Budget{Percent: 100, Interval: 10 * time.Second}, MinRetryRate: &policy.Rate{Count: 1_000_000, Interval: time.Second},
	}
}

func wantCode(t testing.TB, err error, code status.Code) *status.Error {
	t.Helper()
	var e *status.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is no *status.Error", err)
	}
	if e.Code() != code {
		t.Fatalf("code %s, want %s: %v", e.Code(), code, err)
	}
	return e
}

func wantFate(t testing.TB, err error, code status.Code, fate status.Fate) *status.Error {
	t.Helper()
	e := wantCode(t, err, code)
	if e.Fate() != fate {
		t.Fatalf("fate %s, want %s: %v", e.Fate(), fate, err)
	}
	return e
}

func receive[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// recorder is an Observer that keeps what it is told.
type recorder struct {
	mu        sync.Mutex
	called    []CalledEvent
	attempted []AttemptedEvent
	served    []ServedEvent
	refused   []RefusedEvent
}

func (r *recorder) Called(e CalledEvent)          { record(r, &r.called, e) }
func (r *recorder) Attempted(e AttemptedEvent)    { record(r, &r.attempted, e) }
func (r *recorder) Served(e ServedEvent)          { record(r, &r.served, e) }
func (r *recorder) Refused(e RefusedEvent)        { record(r, &r.refused, e) }
func (r *recorder) RegistryChanged(RegistryEvent) {}

func record[E any](r *recorder, events *[]E, e E) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*events = append(*events, e)
}

// rawPeer is a socket on which a test writes and reads frames itself.
type rawPeer struct {
	t testing.TB
	net.Conn
}

func dialRaw(t testing.TB, addr string) rawPeer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return rawPeer{t, nc}
}

func (p rawPeer) send(b []byte) {
	p.t.Helper()
	if _, err := p.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// bytes reads one frame as it came.
func (p rawPeer) bytes() ([]byte, error) {
	prefix := make([]byte, wire.PrefixLen)
	if _, err := io.ReadFull(p, prefix); err != nil {
		return nil, err
	}
	_, size, err := wire.ParsePrefix(prefix)
	if err != nil {
		return nil, err
	}
	whole := make([]byte, size)
	copy(whole, prefix)
	_, err = io.ReadFull(p, whole[wire.PrefixLen:])
	return whole, err
}

func (p rawPeer) frame() wire.Frame {
	p.t.Helper()
	b, err := p.bytes()
	if err != nil {
		p.t.Fatalf("read a frame: %v", err)
	}
	f, err := wire.Parse(b)
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

func (p rawPeer) wantEOF() {
	p.t.Helper()
	if b, err := p.bytes(); !errors.Is(err, io.EOF) {
		p.t.Fatalf("want the end of the connection, got %q, %v", b, err)
	}
}

// requestBytes builds a request by hand.
func requestBytes(h wire.Header, path, method, payload string, meta ...string) []byte {
	b := wire.Begin(nil, h, path, method)
	for i := 0; i < len(meta); i += 2 {
		b.Meta(meta[i], meta[i+1])
	}
	return b.Payload([]byte(payload))
}
