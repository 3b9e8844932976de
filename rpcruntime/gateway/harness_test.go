// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fairlead/fairlead/rpcruntime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what a test waits for; it passes only when something is wrong.
const patience = 20 * time.Second

type mulArgs struct{ A, B int }

type mulReply struct{ C int }

func mul(_ context.Context, a *mulArgs) (*mulReply, error) { return &mulReply{a.A * a.B}, nil }

func echoRaw(_ context.Context, b []byte) ([]byte, error) { return b, nil }

func arith(srv *rpcruntime.Server) {
	rpcruntime.Handle(srv, "Arith.Mul", mul)
	rpcruntime.HandleRaw(srv, "Echo.Raw", echoRaw)
}

// port is a server with a gateway on a port of the loopback.
type port struct {
	t    testing.TB
	g    *gateway
	addr string
	// stop drains the server and returns what Serve returned.
	stop func() error
}

func serve(t testing.TB, o Options, setup func(*rpcruntime.Server), opts ...rpcruntime.ServerOption) *port {
	t.Helper()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	p := &port{t: t, g: newGateway(o)}
	srv := rt.NewServer(append([]rpcruntime.ServerOption{rpcruntime.WithProtocol(p.g)}, opts...)...)
	setup(srv)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = srv.Serve(ctx, ln)
	}()
	p.stop = func() error {
		cancel()
		<-done
		return err
	}
	t.Cleanup(func() {
		_ = p.stop()
		closing, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := rt.Close(closing); err != nil {
			t.Errorf("closing the runtime: %v", err)
		}
	})
	return p
}

// conn is one HTTP connection on which a test writes what it likes.
type conn struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (p *port) dial() *conn {
	p.t.Helper()
	nc, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &conn{p.t, nc, bufio.NewReader(nc)}
}

// answer is a response that was read whole.
type answer struct {
	*http.Response
	body string
}

// send writes a request: "METHOD /path", header lines, and a body whose length is
// added unless the headers say another.
func (c *conn) send(line, headers, body string) {
	c.t.Helper()
	var b strings.Builder
	b.WriteString(line + " HTTP/1.1\r\nHost: test\r\n")
	for h := range strings.SplitSeq(strings.TrimSpace(headers), "\n") {
		if h = strings.TrimSpace(h); h != "" {
			b.WriteString(h + "\r\n")
		}
	}
	if !strings.Contains(headers, "Content-Length") && !strings.Contains(headers, "Transfer-Encoding") {
		b.WriteString("Content-Length: " + itoa(len(body)) + "\r\n")
	}
	b.WriteString("\r\n" + body)
	if _, err := c.Write([]byte(b.String())); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *conn) receive() answer {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		c.t.Fatalf("read a response: %v", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("read a body: %v", err)
	}
	return answer{resp, string(b)}
}

func (c *conn) do(line, headers, body string) answer {
	c.t.Helper()
	c.send(line, headers, body)
	return c.receive()
}

// wantEnd checks that the other side ends the connection.
func (c *conn) wantEnd() {
	c.t.Helper()
	if b, err := c.r.Peek(1); err == nil || isTimeout(err) {
		c.t.Fatalf("want the end of the connection, got %q, %v", b, err)
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error) //nolint:errorlint // bufio does not wrap
	return ok && ne.Timeout()
}

func (a answer) want(t testing.TB, code int, headers map[string]string, body string) {
	t.Helper()
	if a.StatusCode != code || a.body != body {
		t.Errorf("got %d %q, want %d %q", a.StatusCode, a.body, code, body)
	}
	for name, want := range headers {
		if got := a.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// call is the header of a call of Path.Method in JSON, with more lines.
func call(name string, more ...string) string {
	path, method, _ := strings.Cut(name, ".")
	return "X-RPCX-ServicePath: " + path + "\nX-RPCX-ServiceMethod: " + method + "\nX-RPCX-SerializeType: 1\n" + strings.Join(more, "\n")
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

// doFunc is a server.
type doFunc func(ctx context.Context, call *rpcruntime.ForeignCall) *rpcruntime.ForeignReply

func (f doFunc) Do(ctx context.Context, call *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
	return f(ctx, call)
}

// attached is a gateway over f, without a port.
func attached(t testing.TB, o Options, f doFunc) *gateway {
	t.Helper()
	g := newGateway(o)
	if err := g.attach(f, 4<<20); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.cut)
	return g
}

// post gives a JSON-RPC request to a gateway without a port.
func post(g *gateway, body string, headers ...string) answer {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
	r.Header.Set(headerJSONRPC, "true")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return answer{w.Result(), w.Body.String()}
}
