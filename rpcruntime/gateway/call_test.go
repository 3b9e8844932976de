// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

func TestCallsByHeaders(t *testing.T) {
	c := serve(t, Options{}, arith).dial()
	c.do("POST /", call("Arith.Mul", "X-RPCX-MessageID: 77", "X-RPCX-Version: 3"), `{"A":6,"B":7}`).want(t, 200, map[string]string{
		"X-RPCX-ServicePath": "Arith", "X-RPCX-ServiceMethod": "Mul", "X-RPCX-SerializeType": "1", "X-RPCX-MessageID": "77", "X-RPCX-Version": "3",
		"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
		"X-RPCX-MessageStatusType": "", "X-RPCX-ErrorMessage": "", "X-Fairlead-Code": "", "X-Fairlead-Retry": "", "X-RPCX-CompressType": "",
	}, `{"C":42}`)
	c.do("PUT /Arith", "X-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: 1", `{"A":2,"B":3}`).want(t, 200, map[string]string{
		"X-RPCX-ServicePath": "Arith", "X-RPCX-MessageID": "0", "X-RPCX-Version": "0",
	}, `{"C":6}`)
	c.do("GET /Arith", "X-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: 1", `{"A":2,"B":2}`).want(t, 200, nil, `{"C":4}`)
	c.do("POST /Arith", "X-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: 3", "\x82\xa1A\x0a\xa1B\x14").want(t, 200, map[string]string{
		"Content-Type": "application/msgpack",
	}, "\x81\xa1C\xcc\xc8")
	html := "<html><script>alert(1)</script>"
	c.do("POST /Echo", "X-RPCX-ServiceMethod: Raw\nX-RPCX-SerializeType: 0", html).want(t, 200, map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff",
	}, html)
	c.send("POST /Echo", "X-RPCX-ServiceMethod: Raw\nX-RPCX-SerializeType: 0\nTransfer-Encoding: chunked", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
	c.receive().want(t, 200, nil, "abcde")
}

// docs/gateway.md, table of codes
func TestEveryCodeHasItsStatus(t *testing.T) {
	c := serve(t, Options{}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Fail.With", func(_ context.Context, code *int) (*mulReply, error) {
			return nil, status.New(status.Code(*code), "as asked")
		})
	}).dial()
	for code := status.Canceled; code <= status.Unauthenticated; code++ {
		c.do("POST /", call("Fail.With"), strconv.Itoa(int(code))).want(t, HTTPStatus(code), map[string]string{
			"X-RPCX-MessageStatusType": "Error", "X-RPCX-ErrorMessage": "as asked", "X-Fairlead-Code": strconv.Itoa(int(code)), "X-Fairlead-Retry": "executed",
			"Content-Type": "text/plain; charset=utf-8", "X-RPCX-ServiceMethod": "With",
		}, "as asked\n")
	}
}

func TestErrors(t *testing.T) {
	p := serve(t, Options{}, func(srv *rpcruntime.Server) {
		arith(srv)
		rpcruntime.Handle(srv, "Fail.Plain", func(context.Context, *mulArgs) (*mulReply, error) { return nil, errors.New("a\r\nX-Evil: 1\x00ü") })
		rpcruntime.Handle(srv, "Fail.Long", func(context.Context, *mulArgs) (*mulReply, error) {
			return nil, errors.New(strings.Repeat("€", 4000))
		})
		rpcruntime.Handle(srv, "Fail.Panic", func(context.Context, *mulArgs) (*mulReply, error) { panic("secret") })
		rpcruntime.Handle(srv, "Fail.Later", func(context.Context, *mulArgs) (*mulReply, error) {
			return nil, status.New(status.Unavailable, "busy").WithRetryAfter(1500 * time.Millisecond)
		})
		// What a handler's own callee said about itself is no news of this call.
		rpcruntime.Handle(srv, "Fail.Below", func(context.Context, *mulArgs) (*mulReply, error) {
			return nil, status.New(status.Unavailable, "below").WithFate(status.FateUnexecuted)
		})
	})
	c := p.dial()
	for _, tt := range []struct {
		name, headers, body string
		code                int
		want                map[string]string
	}{
		{"an unknown service", call("Nope.Mul"), "{}", 501, map[string]string{"X-Fairlead-Code": "12", "X-Fairlead-Retry": "unexecuted", "X-RPCX-ErrorMessage": "rpcx: can't find service Nope"}},
		{"an unknown method", call("Arith.Nope"), "{}", 501, map[string]string{"X-Fairlead-Retry": "unexecuted", "X-RPCX-ErrorMessage": "rpcx: can't find method Nope"}},
		{"an argument that does not decode", call("Arith.Mul"), "{", 400, map[string]string{"X-Fairlead-Code": "3", "X-Fairlead-Retry": "unexecuted"}},
		{"a codec that the server has not", "X-RPCX-ServicePath: Arith\nX-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: 9", "{}", 501, map[string]string{"X-Fairlead-Retry": "unexecuted"}},
		{"no headers at all", "", "{}", 400, map[string]string{"X-Fairlead-Code": "3", "X-Fairlead-Retry": "unexecuted", "X-RPCX-MessageStatusType": "Error"}},
		{"the protocol's own path", call("__fl.hello"), "", 501, map[string]string{"X-Fairlead-Retry": "unexecuted"}},
		{"line breaks in an error", call("Fail.Plain"), "{}", 500, map[string]string{"X-RPCX-ErrorMessage": "a  X-Evil: 1 ü", "X-Evil": "", "X-Fairlead-Code": "2"}},
		{"a long error", call("Fail.Long"), "{}", 500, map[string]string{"X-RPCX-ErrorMessage": strings.Repeat("€", maxHeaderText/3)}},
		{"a panic", call("Fail.Panic"), "{}", 500, map[string]string{"X-Fairlead-Code": "13", "X-Fairlead-Retry": "executed", "X-RPCX-ErrorMessage": "handler of Fail.Panic panicked; its server's log says more"}},
		{"advice to wait", call("Fail.Later"), "{}", 503, map[string]string{"Retry-After": "2", "X-Fairlead-Retry": "executed;after=1500"}},
		{"a callee's callee that was not reached", call("Fail.Below"), "{}", 503, map[string]string{"X-Fairlead-Retry": "executed", "Retry-After": ""}},
		{"a body that is compressed as a whole", call("Arith.Mul", "Content-Encoding: gzip"), "{}", 415, map[string]string{"X-Fairlead-Retry": "unexecuted"}},
		{"a name over the server's limit", call("Arith." + strings.Repeat("M", 2000)), "{}", 429, map[string]string{"X-Fairlead-Retry": "unexecuted"}},
		{"metadata over the server's limit", call("Arith.Mul", "X-RPCX-Meta: "+manyKeys(129)), "{}", 429, map[string]string{"X-Fairlead-Retry": "unexecuted"}},
	} {
		got := c.do("POST /", tt.headers, tt.body)
		got.want(t, tt.code, tt.want, got.body)
		if t.Failed() {
			t.Fatal(tt.name)
		}
	}
	for _, method := range []string{"DELETE", "PATCH", "TRACE", "BREW"} {
		c.do(method+" /Arith", call("Arith.Mul"), "{}").want(t, 405, map[string]string{"Allow": "GET, POST, PUT, OPTIONS"}, "the HTTP method \""+method+"\" is not for calls: the header Allow has those that are\n")
	}
	c.do("OPTIONS /Arith", "Origin: https://a.example\nAccess-Control-Request-Method: POST", "").want(t, 204, map[string]string{"Allow": "GET, POST, PUT, OPTIONS", "Access-Control-Allow-Origin": ""}, "")
	// All of it came by one connection.
	c.do("POST /", call("Arith.Mul"), `{"A":2,"B":2}`).want(t, 200, nil, `{"C":4}`)
}

func manyKeys(n int) string {
	values := url.Values{}
	for i := range n {
		values.Set("k"+strconv.Itoa(i), "v")
	}
	return values.Encode()
}

func TestMetadataBothWays(t *testing.T) {
	var seen rpcruntime.Metadata
	c := serve(t, Options{}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Meta.Echo", func(ctx context.Context, big *bool) (*bool, error) {
			seen = rpcruntime.IncomingMetadata(ctx)
			rpcruntime.SetReplyMetadata(ctx, "k", "a b&c=d\r\nX-Evil: 1")
			if *big {
				rpcruntime.SetReplyMetadata(ctx, "big", strings.Repeat("%", maxReplyMeta/2))
			}
			return big, nil
		})
	}).dial()
	got := c.do("POST /", call("Meta.Echo", "Authorization: tok", "X-RPCX-Meta: trace=1%3B2&__fl=x&__fl_prio=9&__AUTH=forged&traceparent=t"), "false")
	got.want(t, 200, map[string]string{"X-Evil": ""}, "false")
	if values, err := url.ParseQuery(got.Header.Get("X-RPCX-Meta")); err != nil || len(values) != 1 || values.Get("k") != "a b&c=d\r\nX-Evil: 1" {
		t.Errorf("metadata of the reply is %q: %v", got.Header.Get("X-RPCX-Meta"), err)
	}
	if seen["trace"] != "1;2" || seen["traceparent"] != "t" || seen["__AUTH"] != "tok" || seen["__fl"] != "" || seen["__fl_prio"] != "" {
		t.Errorf("the handler saw %v", seen)
	}
	c.do("POST /", call("Meta.Echo", "X-RPCX-Meta: __AUTH=forged"), "true").want(t, 500, map[string]string{"X-RPCX-Meta": "", "X-Fairlead-Code": "13", "X-Fairlead-Retry": "executed"},
		"the metadata of the reply has more than 65536 bytes, the most that a header of the gateway holds\n")
	if seen["__AUTH"] != "" {
		t.Errorf("a token was taken from metadata: %v", seen)
	}
}

func TestAuthentication(t *testing.T) {
	var calls int
	p := serve(t, Options{}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Who.Am", func(ctx context.Context, _ *mulArgs) (*string, error) {
			calls++
			peer, _ := rpcruntime.PeerOf(ctx)
			return &peer.Name, nil
		})
	}, rpcruntime.Authenticate(func(_ context.Context, req *rpcruntime.AuthRequest) (string, error) {
		if req.Token != "Bearer good" || req.Peer.Addr == "" {
			return "", errors.New("no such token")
		}
		return "ns/alice", nil
	}))
	c := p.dial()
	for _, more := range []string{"", "Authorization: good", "X-RPCX-Meta: __AUTH=Bearer%20good"} {
		got := c.do("POST /", call("Who.Am", more), "{}")
		got.want(t, 401, map[string]string{"WWW-Authenticate": "Bearer", "X-Fairlead-Code": "16", "X-Fairlead-Retry": "unexecuted"}, got.body)
	}
	c.do("POST /", "X-JSONRPC-2.0: true", `{"jsonrpc":"2.0","method":"Who.Am","id":1}`).want(t, 200, nil,
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32016,"message":"authentication failed: no such token","data":{"code":16,"name":"Unauthenticated","retry":"unexecuted"}}}`)
	if calls != 0 {
		t.Fatalf("%d calls reached the handler", calls)
	}
	c.do("POST /", call("Who.Am", "Authorization: Bearer good"), "{}").want(t, 200, nil, `"ns/alice"`)
	c.do("POST /", "X-JSONRPC-2.0: true\nAuthorization: Bearer good", `{"jsonrpc":"2.0","method":"Who.Am","id":1}`).want(t, 200, nil, `{"jsonrpc":"2.0","id":1,"result":"ns/alice"}`)
}

func gzipped(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write([]byte(s))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// docs/wire-protocol.md §2: the gateway follows the rules of frames.
func TestCompression(t *testing.T) {
	c := serve(t, Options{}, arith).dial()
	long := strings.Repeat("a", 1025)
	raw := "X-RPCX-ServicePath: Echo\nX-RPCX-ServiceMethod: Raw\nX-RPCX-SerializeType: 0\n"
	got := c.do("POST /", raw+"X-RPCX-CompressType: 1", gzipped(t, long))
	got.want(t, 200, map[string]string{"X-RPCX-CompressType": "1", "Content-Type": "application/octet-stream"}, got.body)
	r, err := gzip.NewReader(strings.NewReader(got.body))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil || b.String() != long {
		t.Fatalf("the reply holds %d bytes, %v", b.Len(), err)
	}
	c.do("POST /", raw+"X-RPCX-CompressType: 1", gzipped(t, "short")).want(t, 200, map[string]string{"X-RPCX-CompressType": ""}, "short")
	c.do("POST /", raw, long).want(t, 200, map[string]string{"X-RPCX-CompressType": ""}, long)
	unknown := c.do("POST /", raw+"X-RPCX-CompressType: 5", "x")
	unknown.want(t, 501, map[string]string{"X-Fairlead-Retry": "unexecuted"}, unknown.body)
	broken := c.do("POST /", raw+"X-RPCX-CompressType: 1", "no gzip")
	broken.want(t, 400, map[string]string{"X-Fairlead-Retry": "unexecuted"}, broken.body)
}

func TestDeadlines(t *testing.T) {
	left := make(chan time.Duration, 1)
	c := serve(t, Options{}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Time.Left", func(ctx context.Context, wait *bool) (*bool, error) {
			by, ok := ctx.Deadline()
			if !ok {
				by = time.Now().Add(-time.Hour)
			}
			left <- time.Until(by)
			if *wait {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return wait, nil
		})
	}).dial()
	c.do("POST /", call("Time.Left", "X-RPCX-Meta: __ServerTimeout=3600000"), "false").want(t, 200, nil, "false")
	if d := receive(t, left, "the deadline"); d <= 0 || d > time.Hour {
		t.Errorf("an hour's timeout leaves %s", d)
	}
	c.do("POST /", call("Time.Left"), "false").want(t, 200, nil, "false")
	if d := receive(t, left, "the deadline"); d > 0 {
		t.Errorf("a call without timeout has a deadline in %s", d)
	}
	c.do("POST /", call("Time.Left", "X-RPCX-Meta: __ServerTimeout=1000"), "true").want(t, 504, map[string]string{"X-Fairlead-Code": "4", "X-Fairlead-Retry": "executed"}, "context deadline exceeded\n")
	<-left
	got := c.do("POST /", call("Time.Left", "X-RPCX-Meta: __ServerTimeout=0"), "false")
	got.want(t, 504, map[string]string{"X-Fairlead-Retry": "unexecuted"}, got.body)
	rpc := c.do("POST /", "X-JSONRPC-2.0: true\nX-RPCX-Meta: __ServerTimeout=1000", `{"jsonrpc":"2.0","method":"Time.Left","params":[true],"id":1}`)
	if rpc.StatusCode != http.StatusOK || !strings.Contains(rpc.body, `"code":-32004,`) {
		t.Errorf("JSON-RPC: %d %s", rpc.StatusCode, rpc.body)
	}
	<-left
	rpc = c.do("POST /", "X-JSONRPC-2.0: true\nX-RPCX-Meta: __ServerTimeout=-1", `{"jsonrpc":"2.0","method":"Time.Left","params":[false],"id":1}`)
	if !strings.Contains(rpc.body, `"name":"DeadlineExceeded","retry":"unexecuted"`) {
		t.Errorf("JSON-RPC: %s", rpc.body)
	}
	if len(left) != 0 {
		t.Error("a call that had expired reached the handler")
	}
}

// A caller that goes away ends its handler's context, also after BodyTimeout,
// which is for the body only.
func TestDisconnectEndsTheContext(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error)
	p := serve(t, Options{BodyTimeout: 50 * time.Millisecond}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Wait.Long", func(ctx context.Context, _ *mulArgs) (*mulReply, error) {
			began <- struct{}{}
			select {
			case <-ctx.Done():
				t.Error("the context ended although the caller waits")
			case <-time.After(200 * time.Millisecond): // four times BodyTimeout
			}
			began <- struct{}{}
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
	})
	for name, send := range map[string]func(c *conn){
		"HTTP": func(c *conn) { c.send("POST /", call("Wait.Long"), "{}") },
		"JSON-RPC": func(c *conn) {
			c.send("POST /", "X-JSONRPC-2.0: true", `{"jsonrpc":"2.0","method":"Wait.Long","id":1}`)
		},
		"batch": func(c *conn) {
			c.send("POST /", "X-JSONRPC-2.0: true", `[{"jsonrpc":"2.0","method":"Wait.Long","id":1}]`)
		},
	} {
		c := p.dial()
		send(c)
		receive(t, began, "the handler")
		receive(t, began, "the handler's patience")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := receive(t, ended, "the end of the context"); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the context ended with %v", name, err)
		}
	}
}

func TestOnewayIsAnsweredBeforeItsHandler(t *testing.T) {
	release, done := make(chan struct{}), make(chan error, 1)
	p := serve(t, Options{}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Slow.Do", func(ctx context.Context, a *mulArgs) (*mulReply, error) {
			<-release
			if a.A != 7 {
				done <- errors.New("the argument was overwritten")
			}
			done <- ctx.Err()
			return nil, errors.New("nobody hears this")
		})
	})
	c := p.dial()
	c.do("POST /", call("Slow.Do", "X-RPCX-Oneway: 1"), `{"A":7}`).want(t, http.StatusAccepted, map[string]string{"X-RPCX-MessageStatusType": "", "X-RPCX-ServiceMethod": "Do"}, "")
	got := c.do("POST /", call("Slow.Nope", "X-RPCX-Oneway: 1"), `{"A":8}`)
	got.want(t, 501, map[string]string{"X-Fairlead-Retry": "unexecuted"}, got.body)
	_ = c.Close()
	stopped := make(chan error, 1)
	go func() { stopped <- p.stop() }()
	close(release)
	if err := receive(t, done, "the handler's end"); err != nil {
		t.Error(err)
	}
	if err := receive(t, stopped, "the end of the drain"); err != nil {
		t.Error(err)
	}
}
