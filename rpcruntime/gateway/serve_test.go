// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// until waits for something that no channel tells of.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("%s did not happen", what)
}

// gated is a server whose handler Gate.Wait tells of its start and waits.
type gated struct {
	began   chan struct{}
	release chan struct{}
}

func newGated() *gated { return &gated{began: make(chan struct{}, 100), release: make(chan struct{})} }

func (g *gated) setup(srv *rpcruntime.Server) {
	arith(srv)
	rpcruntime.Handle(srv, "Gate.Wait", func(ctx context.Context, _ *mulArgs) (*string, error) {
		g.began <- struct{}{}
		select {
		case <-g.release:
			done := "done"
			return &done, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
}

// A drain answers what is in flight, serves what still comes on connections that
// stand and on new ones, and then ends them all.
func TestDrainFinishesWhatIsInFlight(t *testing.T) {
	gate := newGated()
	p := serve(t, Options{}, gate.setup)
	p.g.linger = patience // its connections end long before
	busy, batch, idle := p.dial(), p.dial(), p.dial()
	idle.do("POST /", call("Arith.Mul"), "{}").want(t, 200, map[string]string{"Connection": ""}, `{"C":0}`)
	busy.send("POST /", call("Gate.Wait"), "{}")
	batch.send("POST /", rpc, `[{"jsonrpc":"2.0","method":"Gate.Wait","id":1}]`)
	receive(t, gate.began, "the first call")
	receive(t, gate.began, "the second call")

	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()
	until(t, "the drain", p.g.draining.Load)
	idle.do("POST /", call("Arith.Mul"), `{"A":1,"B":1}`).want(t, 200, nil, `{"C":1}`)
	idle.wantEnd()
	late := p.dial()
	late.do("POST /", rpc, `{"jsonrpc":"2.0","method":"Arith.Mul","id":1}`).want(t, 200, nil, `{"jsonrpc":"2.0","id":1,"result":{"C":0}}`)
	late.wantEnd()

	close(gate.release)
	got := busy.receive()
	got.want(t, 200, nil, `"done"`)
	if !got.Close {
		t.Error("the answer does not say that the connection ends")
	}
	busy.wantEnd()
	batch.receive().want(t, 200, nil, `[{"jsonrpc":"2.0","id":1,"result":"done"}]`)
	batch.wantEnd()
	if err := receive(t, stopped, "the end of the drain"); err != nil {
		t.Error(err)
	}
	if nc, err := net.Dial("tcp", p.addr); err == nil {
		_ = nc.Close()
		t.Error("the port is still open")
	}
}

// A connection that is not used ends with the drain.
func TestDrainEndsIdleConnections(t *testing.T) {
	p := serve(t, Options{}, arith)
	p.g.linger = time.Millisecond
	idle := p.dial()
	idle.do("POST /", call("Arith.Mul"), "{}").want(t, 200, nil, `{"C":0}`)
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	idle.wantEnd()
}

// A drain that runs out of time ends the contexts of handlers, and all goroutines
// with them.
func TestDrainIsCut(t *testing.T) {
	gate := newGated()
	p := serve(t, Options{}, gate.setup, rpcruntime.DrainTimeout(50*time.Millisecond))
	c := p.dial()
	c.send("POST /", call("Gate.Wait"), "{}")
	receive(t, gate.began, "the call")
	_ = p.stop() // what it says is the server's to know
	until(t, "the end of the connections", func() bool { return p.open() == 0 })
	if n := p.g.bodies.used.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are held", n)
	}
}

// A shutdown whose time is over ends the contexts of all requests, also where
// net/http cannot see that the connection has ended: behind it waits another
// request, which is never begun.
func TestShutdownIsCut(t *testing.T) {
	began, ended := make(chan string, 2), make(chan error, 2)
	g := attached(t, Options{}, func(ctx context.Context, c *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
		began <- c.Method
		<-ctx.Done()
		ended <- ctx.Err()
		return &rpcruntime.ForeignReply{Err: status.Convert(ctx.Err())}
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- g.http.Serve(ln) }()
	c := (&port{t: t, addr: ln.Addr().String()}).dial()
	c.send("POST /", call("Wait.First")+"Content-Length: 2", "{}POST / HTTP/1.1\r\nHost: h\r\nX-Fill: "+strings.Repeat("x", 10_000)+"\r\n\r\n")
	receive(t, began, "the call")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := g.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a shutdown that was cut says %v", err)
	}
	if len(ended) != 1 || len(began) != 0 {
		t.Errorf("%d contexts ended, %d more calls began", len(ended), len(began))
	}
	if err := receive(t, served, "the end of Serve"); !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}

func TestShutdownWithoutServe(t *testing.T) {
	g := newGateway(Options{})
	if err := g.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := newGateway(Options{MaxBatch: -1}).Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestWrongOptionsEndTheServer(t *testing.T) {
	for name, o := range map[string]Options{
		"a negative limit":        {MaxBodyBytes: -1},
		"a negative timeout":      {IdleTimeout: -1},
		"nothing on":              {WithoutHTTP: true, WithoutJSONRPC: true},
		"a path without a slash":  {JSONRPCPath: "jsonrpc"},
		"a path of what is off":   {JSONRPCPath: "/jsonrpc", WithoutJSONRPC: true},
		"all bodies below one":    {MaxBodyBytes: 100, MaxRequestBytes: 100},
		"all bodies below frames": {MaxRequestBytes: 4 << 20},
		"CORS without an origin":  {CORS: &CORS{}},
	} {
		rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
		if err != nil {
			t.Fatal(err)
		}
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := rt.NewServer(rpcruntime.WithProtocol(New(o))).Serve(ctx, ln); err == nil {
			t.Errorf("%s: the server served", name)
		}
		cancel()
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if err := (Options{MaxBodyBytes: 1 << 30}).Validate(); err != nil {
		t.Errorf("a large body needs no other option: %v", err)
	}
}

func TestOneGatewayForOneServer(t *testing.T) {
	g := attached(t, Options{}, nil)
	if err := g.attach(nil, 4<<20); !errors.Is(err, errSecondServe) {
		t.Errorf("a second server got %v", err)
	}
}

func TestMatch(t *testing.T) {
	g := newGateway(Options{})
	defer g.cut()
	for b := range 256 {
		want := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZ", byte(b)) >= 0
		if got := g.Match(byte(b)); got != want {
			t.Errorf("Match(%#x) = %t", b, got)
		}
	}
}

// docs/gateway.md, limits
func TestBodyOverTheLimit(t *testing.T) {
	p := serve(t, Options{MaxBodyBytes: 10_000}, arith)
	raw := "X-RPCX-ServicePath: Echo\nX-RPCX-ServiceMethod: Raw\nX-RPCX-SerializeType: 0\n"
	whole := strings.Repeat("x", 10_000)
	c := p.dial()
	c.do("POST /", raw, whole).want(t, 200, nil, whole)
	over := c.do("POST /", raw, whole+"y")
	over.want(t, 413, map[string]string{"X-Fairlead-Code": "8", "X-Fairlead-Retry": "unexecuted"}, over.body)
	claim := p.dial().do("POST /", raw+"Content-Length: 4294967296", "")
	claim.want(t, 413, nil, claim.body)
	c = p.dial()
	c.send("POST /", raw+"Transfer-Encoding: chunked", "2711\r\n"+whole+"y\r\n0\r\n\r\n")
	chunked := c.receive()
	chunked.want(t, 413, nil, chunked.body)
	c.wantEnd()
	c = p.dial()
	c.send("POST /", raw+"Transfer-Encoding: chunked", "zz\r\n")
	broken := c.receive()
	broken.want(t, 400, map[string]string{"X-Fairlead-Retry": "unexecuted"}, broken.body)
	if n := p.g.bodies.used.Load(); n != 0 {
		t.Errorf("%d bytes of bodies are held", n)
	}
}

// What net/http refuses by itself, it refuses in time and in HTTP/1.
func TestOtherVersionsOfHTTP(t *testing.T) {
	p := serve(t, Options{}, arith)
	c := p.dial()
	if _, err := c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	got := c.receive()
	got.want(t, 505, nil, got.body)
	c.wantEnd()
	old := p.dial()
	if _, err := old.Write([]byte("POST /Arith HTTP/1.0\r\nX-RPCX-ServiceMethod: Mul\r\nX-RPCX-SerializeType: 1\r\nContent-Length: 13\r\n\r\n{\"A\":2,\"B\":2}")); err != nil {
		t.Fatal(err)
	}
	old.receive().want(t, 200, nil, `{"C":4}`)
	old.wantEnd()
}

func TestHeaderOverTheLimit(t *testing.T) {
	p := serve(t, Options{MaxHeaderBytes: 1000}, arith)
	got := p.dial().do("POST /", call("Arith.Mul", "X-Long: "+strings.Repeat("x", 10_000)), "{}")
	got.want(t, 431, nil, got.body)
}

// All bodies together are bounded. One that does not fit is refused, and harms no
// other; memory is held for what came and not for what was claimed.
func TestAllBodiesAreBounded(t *testing.T) {
	gate := newGated()
	p := serve(t, Options{MaxBodyBytes: 10_000, MaxRequestBytes: 20_000}, gate.setup)
	argument := `{"A":1}` + strings.Repeat(" ", 9000)
	first, second, third := p.dial(), p.dial(), p.dial()
	first.send("POST /", call("Gate.Wait"), argument)
	second.send("POST /", call("Gate.Wait"), argument)
	receive(t, gate.began, "the first call")
	receive(t, gate.began, "the second call")
	got := third.do("POST /", call("Arith.Mul"), argument)
	got.want(t, 429, map[string]string{"X-Fairlead-Code": "8", "X-Fairlead-Retry": "unexecuted"}, got.body)
	third.do("POST /", call("Arith.Mul"), `{"A":1,"B":1}`).want(t, 200, nil, `{"C":1}`)
	close(gate.release)
	first.receive().want(t, 200, nil, `"done"`)
	second.receive().want(t, 200, nil, `"done"`)
	until(t, "all is given back", func() bool { return p.g.bodies.used.Load() == 0 })

	claim := p.dial()
	claim.send("POST /", call("Arith.Mul")+"Content-Length: 10000", "{")
	until(t, "the body has begun", func() bool { return p.g.bodies.used.Load() > 0 })
	if n := p.g.bodies.used.Load(); n > 4096 {
		t.Errorf("one byte of 10,000 claimed holds %d bytes", n)
	}
	_ = claim.Close()
	until(t, "all is given back", func() bool { return p.g.bodies.used.Load() == 0 })
}

// What does not come in time is given up; docs/gateway.md, limits
func TestSlowCallers(t *testing.T) {
	p := serve(t, Options{HeaderTimeout: 50 * time.Millisecond, BodyTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond}, arith)
	header, body, unwanted, idle := p.dial(), p.dial(), p.dial(), p.dial()
	if _, err := header.Write([]byte("POST / HTTP/1.1\r\nX-")); err != nil {
		t.Fatal(err)
	}
	body.send("POST /", call("Arith.Mul")+"Content-Length: 10", "{")
	unwanted.send("POST /", "Content-Length: 10", "{") // refused for its header
	idle.do("POST /", call("Arith.Mul"), "{}").want(t, 200, nil, `{"C":0}`)
	got := body.receive()
	got.want(t, 408, map[string]string{"X-Fairlead-Retry": "unexecuted"}, "the body did not come in time\n")
	got = unwanted.receive()
	got.want(t, 400, nil, got.body)
	if b, err := io.ReadAll(header); err != nil || len(b) > 0 && !strings.HasPrefix(string(b), "HTTP/1.1 400 ") {
		t.Errorf("half a header was answered with %q, %v", b, err)
	}
	for _, c := range []*conn{body, unwanted, idle} {
		c.wantEnd()
	}
}

// A caller that never reads its answer is given up.
func TestCallerThatDoesNotRead(t *testing.T) {
	big := []byte(strings.Repeat("x", 32<<20))
	p := serve(t, Options{WriteTimeout: 100 * time.Millisecond}, func(srv *rpcruntime.Server) {
		rpcruntime.HandleRaw(srv, "Big.Reply", func(context.Context, []byte) ([]byte, error) { return big, nil })
	})
	c := p.dial()
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4096)
	}
	c.send("POST /", "X-RPCX-ServicePath: Big\nX-RPCX-ServiceMethod: Reply\nX-RPCX-SerializeType: 0", "")
	until(t, "the connection is taken", func() bool { return p.open() == 1 })
	until(t, "the connection is given up", func() bool { return p.open() == 0 })
}

// deadlined is a ResponseWriter that counts what is written under each deadline.
type deadlined struct {
	*httptest.ResponseRecorder
	under []int // bytes written since each deadline was set
}

func (d *deadlined) SetWriteDeadline(time.Time) error {
	d.under = append(d.under, 0)
	return nil
}

func (d *deadlined) Write(b []byte) (int, error) {
	d.under[len(d.under)-1] += len(b)
	return d.ResponseRecorder.Write(b)
}

// Each part of an answer has its own time: a slow caller that reads is served.
func TestEachPartOfAnAnswerHasItsTime(t *testing.T) {
	g := attached(t, Options{}, func(context.Context, *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
		return &rpcruntime.ForeignReply{Payload: make([]byte, 3*writeChunk+5)}
	})
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	for name, values := range header(call("A.B")) {
		r.Header[name] = values
	}
	w := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	g.ServeHTTP(w, r)
	if want := []int{0, writeChunk, writeChunk, writeChunk, 5}; !slices.Equal(w.under, want) {
		t.Errorf("bytes under each deadline: %v, want %v", w.under, want)
	}
}

func TestLargeReplies(t *testing.T) {
	big := []byte(strings.Repeat("x", 5<<20+1))
	p := serve(t, Options{}, func(srv *rpcruntime.Server) {
		rpcruntime.HandleRaw(srv, "Big.Reply", func(context.Context, []byte) ([]byte, error) { return big, nil })
	})
	whole := p.dial().do("POST /", "X-RPCX-ServicePath: Big\nX-RPCX-ServiceMethod: Reply\nX-RPCX-SerializeType: 0", "")
	if whole.StatusCode != http.StatusOK || len(whole.body) != len(big) {
		t.Errorf("%d, %d bytes", whole.StatusCode, len(whole.body))
	}
}

func (p *port) open() int {
	p.g.conns.mu.Lock()
	defer p.g.conns.mu.Unlock()
	return p.g.conns.n
}

func TestPeerAndCORSOverThePort(t *testing.T) {
	c := serve(t, Options{CORS: &CORS{Origins: []string{"https://a.example"}}}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Who.Am", func(ctx context.Context, _ *mulArgs) (*string, error) {
			peer, ok := rpcruntime.PeerOf(ctx)
			if !ok || peer.TLS != nil || peer.Name != "" {
				return nil, status.New(status.Internal, "wrong peer")
			}
			return &peer.Addr, nil
		})
	}).dial()
	c.do("OPTIONS /Who", "Origin: https://a.example\nAccess-Control-Request-Method: POST\nAccess-Control-Request-Headers: x-rpcx-servicemethod,x-rpcx-serializetype", "").
		want(t, 204, map[string]string{"Access-Control-Allow-Origin": "https://a.example"}, "")
	c.do("POST /", call("Who.Am", "Origin: https://a.example"), "{}").
		want(t, 200, map[string]string{"Access-Control-Allow-Origin": "https://a.example"}, `"`+c.LocalAddr().String()+`"`)
	c.do("OPTIONS /Who", "Origin: https://evil.example\nAccess-Control-Request-Method: POST", "").want(t, 403, map[string]string{"Access-Control-Allow-Origin": ""}, "")
}
