// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

const rpc = "X-JSONRPC-2.0: true"

func jsonMethods(srv *rpcruntime.Server) {
	arith(srv)
	rpcruntime.Handle(srv, "a.b.Sum", func(_ context.Context, l *[]int) (*int, error) {
		sum := 0
		for _, n := range *l {
			sum += n
		}
		return &sum, nil
	})
	rpcruntime.Handle(srv, "Fail.With", func(_ context.Context, code *int) (*int, error) {
		return nil, status.New(status.Code(*code), "as <asked>")
	})
	rpcruntime.Handle(srv, "Fail.Plain", func(context.Context, *mulArgs) (*int, error) { return nil, errors.New("plain \xff") })
	rpcruntime.HandleRaw(srv, "Raw.HTML", func(context.Context, []byte) ([]byte, error) { return []byte("<html>"), nil })
	rpcruntime.HandleRaw(srv, "Raw.Latin1", func(context.Context, []byte) ([]byte, error) { return []byte("\"\xfc\""), nil })
	rpcruntime.HandleRaw(srv, "Raw.Empty", func(context.Context, []byte) ([]byte, error) { return []byte{}, nil })
}

// failure is an answer with an error, as it must be byte for byte.
func failure(id string, code int, message string, grpc int, name, retry string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%s,"data":{"code":%d,"name":%q,"retry":%q}}}`, id, code, message, grpc, name, retry)
}

// invalid is the answer to what is no request.
func invalid(id, message string) string {
	return failure(id, -32600, message, 3, "InvalidArgument", "unexecuted")
}

// docs/gateway.md, JSON-RPC
func TestJSONRPC(t *testing.T) {
	c := serve(t, Options{}, jsonMethods).dial()
	const mulOK = `{"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":6,"B":7},"id":`
	for _, tt := range []struct{ name, body, want string }{
		{"an object", mulOK + `1}`, `{"jsonrpc":"2.0","id":1,"result":{"C":42}}`},
		{"one element", `{"id":2,"params":[{"A":2,"B":3}],"method":"Arith.Mul","jsonrpc":"2.0"}`, `{"jsonrpc":"2.0","id":2,"result":{"C":6}}`},
		{"an argument that is an array", `{"jsonrpc":"2.0","method":"a.b.Sum","params":[[1,2,3]],"id":1}`, `{"jsonrpc":"2.0","id":1,"result":6}`},
		{"no params", `{"jsonrpc":"2.0","method":"Arith.Mul","id":1}`, `{"jsonrpc":"2.0","id":1,"result":{"C":0}}`},
		{"params null", `{"jsonrpc":"2.0","method":"Arith.Mul","params":null,"id":1}`, `{"jsonrpc":"2.0","id":1,"result":{"C":0}}`},
		{"params empty", `{"jsonrpc":"2.0","method":"Arith.Mul","params":[ ],"id":1}`, `{"jsonrpc":"2.0","id":1,"result":{"C":0}}`},
		{"an id with escapes", mulOK + `"\u00e9\"\\ud800x"}`, `{"jsonrpc":"2.0","id":"\u00e9\"\\ud800x","result":{"C":42}}`},
		{"an id that no float holds", mulOK + `9007199254740993123.10e+5}`, `{"jsonrpc":"2.0","id":9007199254740993123.10e+5,"result":{"C":42}}`},
		{"an id that is null", mulOK + `null}`, `{"jsonrpc":"2.0","id":null,"result":{"C":42}}`},
		{"an empty id", mulOK + `""}`, `{"jsonrpc":"2.0","id":"","result":{"C":42}}`},
		{"names with escapes, white space, unknown members", " \n{ \"jsonr\\u0070c\" : \"2.0\" , \"x\":{\"id\":[9]},\t\"method\":\"Arith.\\u004dul\" , \"id\" : 1 } ", `{"jsonrpc":"2.0","id":1,"result":{"C":0}}`},
		{"many side by side are not deep", `{"jsonrpc":"2.0","x":[[]` + strings.Repeat(`,[]`, 600) + `],"method":"Arith.Mul","id":1}`, `{"jsonrpc":"2.0","id":1,"result":{"C":0}}`},
		{"as deep as may be", `{"jsonrpc":"2.0","x":` + strings.Repeat("[", 511) + strings.Repeat("]", 511) + `,"method":"Arith.Mul","id":1}`, `{"jsonrpc":"2.0","id":1,"result":{"C":0}}`},
		{"an empty reply", `{"jsonrpc":"2.0","method":"Raw.Empty","id":1}`, `{"jsonrpc":"2.0","id":1,"result":null}`},

		{"no JSON", `{"jsonrpc":"2.0","method"`, failure("null", -32700, `"the request is not JSON"`, 3, "InvalidArgument", "unexecuted")},
		{"nothing", ``, failure("null", -32700, `"the request is not JSON"`, 3, "InvalidArgument", "unexecuted")},
		{"two values", mulOK + `1}{}`, failure("null", -32700, `"the request is not JSON"`, 3, "InvalidArgument", "unexecuted")},
		{"bytes that are not UTF-8", `{"jsonrpc":"2.0","method":"Arith.Mul","id":"` + "\xff" + `"}`, failure("null", -32700, `"the request is not UTF-8"`, 3, "InvalidArgument", "unexecuted")},
		{"nested too deep", strings.Repeat("[", 513) + strings.Repeat("]", 513), failure("null", -32700, `"the request nests deeper than 512 levels"`, 3, "InvalidArgument", "unexecuted")},

		{"a number", `1`, invalid("null", `"a request must be an object"`)},
		{"another version", `{"jsonrpc":"1.0","method":"Arith.Mul","id":1}`, invalid("1", `"the member \"jsonrpc\" must be \"2.0\""`)},
		{"no version", `{"method":"Arith.Mul","id":1}`, invalid("1", `"the member \"jsonrpc\" must be \"2.0\""`)},
		{"a version that is a number", `{"jsonrpc":2.0,"method":"Arith.Mul","id":1}`, invalid("1", `"the member \"jsonrpc\" must be \"2.0\""`)},
		{"other capitals", `{"JSONRPC":"2.0","method":"Arith.Mul","id":1}`, invalid("1", `"the member \"jsonrpc\" must be \"2.0\""`)},
		{"no method", `{"jsonrpc":"2.0","id":1}`, invalid("1", `"the member \"method\" must be a string, such as \"Arith.Mul\""`)},
		{"a method that is no string, and no id", `{"jsonrpc":"2.0","method":1,"params":"bar"}`, invalid("null", `"the member \"method\" must be a string, such as \"Arith.Mul\""`)},
		{"params that are a word", `{"jsonrpc":"2.0","method":"Arith.Mul","params":"bar","id":1}`, invalid("1", `"params must be an object or an array: write a lone value as [value]"`)},
		{"an id that is an object", mulOK + `{}}`, invalid("null", `"the member \"id\" must be a string, a number or null"`)},
		{"an id that is true", mulOK + `true}`, invalid("null", `"the member \"id\" must be a string, a number or null"`)},
		{"a long id", mulOK + `"` + strings.Repeat("i", 1023) + `"}`, invalid("null", `"the member \"id\" has 1025 bytes: 1024 are the most"`)},
		{"two methods", `{"jsonrpc":"2.0","method":"Arith.Mul","id":1,"meth\u006fd":"Arith.Nope"}`, invalid("null", `"the member \"method\" stands twice"`)},
		{"two ids", mulOK + `1,"id":2}`, invalid("null", `"the member \"id\" stands twice"`)},

		{"an unknown service", `{"jsonrpc":"2.0","method":"Nope.Mul","id":1}`, failure("1", -32601, `"rpcx: can't find service Nope"`, 12, "Unimplemented", "unexecuted")},
		{"an unknown method", `{"jsonrpc":"2.0","method":"Arith.Nope","id":"x"}`, failure(`"x"`, -32601, `"rpcx: can't find method Nope"`, 12, "Unimplemented", "unexecuted")},
		{"a method without a dot", `{"jsonrpc":"2.0","method":"Mul","id":1}`, failure("1", -32601, `"the method \"Mul\" is not of the form Path.Method, such as Arith.Mul"`, 12, "Unimplemented", "unexecuted")},
		{"the protocol's own path", `{"jsonrpc":"2.0","method":"__fl.bye","id":1}`, failure("1", -32601, `"rpcx: can't find service \"__fl\": paths that start with \"__fl\" belong to the protocol"`, 12, "Unimplemented", "unexecuted")},
		{"two arguments", `{"jsonrpc":"2.0","method":"Arith.Mul","params":[1,2],"id":1}`, failure("1", -32602, `"params has more than one element: a method takes one argument, as [argument] or as an object"`, 3, "InvalidArgument", "unexecuted")},
		{"an argument of another type", `{"jsonrpc":"2.0","method":"Arith.Mul","params":["x"],"id":1}`, failure("1", -32602, `"decode *gateway.mulArgs as json: json: cannot unmarshal string into Go value of type gateway.mulArgs"`, 3, "InvalidArgument", "unexecuted")},
		{"a handler's InvalidArgument", `{"jsonrpc":"2.0","method":"Fail.With","params":[3],"id":1}`, failure("1", -32602, `"as \u003casked\u003e"`, 3, "InvalidArgument", "executed")},
		{"a handler's Unimplemented", `{"jsonrpc":"2.0","method":"Fail.With","params":[12],"id":1}`, failure("1", -32012, `"as \u003casked\u003e"`, 12, "Unimplemented", "executed")},
		{"a handler's plain error", `{"jsonrpc":"2.0","method":"Fail.Plain","id":1}`, failure("1", -32002, `"plain \ufffd"`, 2, "Unknown", "executed")},
		{"a reply that is not JSON", `{"jsonrpc":"2.0","method":"Raw.HTML","id":1}`, failure("1", -32603, `"the reply is not JSON: methods that answer with bytes of their own are for other ways to call"`, 13, "Internal", "executed")},
		{"a reply that is not UTF-8", `{"jsonrpc":"2.0","method":"Raw.Latin1","id":1}`, failure("1", -32603, `"the reply is not JSON: methods that answer with bytes of their own are for other ways to call"`, 13, "Internal", "executed")},

		{"an empty batch", ` [ ] `, invalid("null", `"the batch is empty"`)},
		{"a batch of what are no requests", `[1,"x",[]]`, "[" + strings.Repeat(invalid("null", `"a request must be an object"`)+",", 2) + invalid("null", `"a request must be an object"`) + "]"},
		{
			"a batch", `[{"jsonrpc":"2.0","method":"a.b.Sum","params":[[1,2]],"id":"1"}, {"jsonrpc":"2.0","method":"a.b.Sum","params":[[7]]}, {"foo":"boo"}, {"jsonrpc":"2.0","method":"foo.get","id":"5"}, {"jsonrpc":"2.0","method":"a.b.Sum","id":9}]`,
			`[{"jsonrpc":"2.0","id":"1","result":3},` + invalid("null", `"the member \"jsonrpc\" must be \"2.0\""`) + `,` +
				failure(`"5"`, -32601, `"rpcx: can't find service foo"`, 12, "Unimplemented", "unexecuted") + `,{"jsonrpc":"2.0","id":9,"result":0}]`,
		},
	} {
		c.do("POST /any/path", rpc, tt.body).want(t, 200, map[string]string{"Content-Type": "application/json", "X-RPCX-MessageStatusType": ""}, tt.want)
		if t.Failed() {
			t.Fatal(tt.name)
		}
	}
}

// Notifications get no answer, whatever becomes of them; and no notification
// without params harms anybody.
func TestNotifications(t *testing.T) {
	ran := make(chan mulArgs, 10)
	c := serve(t, Options{}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Note.It", func(_ context.Context, a *mulArgs) (*mulReply, error) {
			ran <- *a
			return nil, errors.New("nobody hears this")
		})
	}).dial()
	for _, tt := range []struct {
		body string
		ran  []mulArgs
	}{
		{`{"jsonrpc":"2.0","method":"Note.It"}`, []mulArgs{{}}},
		{`{"jsonrpc":"2.0","method":"Note.It","params":null}`, []mulArgs{{}}},
		{`{"jsonrpc":"2.0","method":"Note.It","params":{"A":1}}`, []mulArgs{{A: 1}}},
		{`{"jsonrpc":"2.0","method":"Note.It","params":[{"A":2}]}`, []mulArgs{{A: 2}}},
		{`[{"jsonrpc":"2.0","method":"Note.It"},{"jsonrpc":"2.0","method":"Note.It"}]`, []mulArgs{{}, {}}},
		{`{"jsonrpc":"2.0","method":"Note.Nope"}`, nil},
		{`{"jsonrpc":"2.0","method":"nodot"}`, nil},
		{`{"jsonrpc":"2.0","method":"Note.It","params":[1,2]}`, nil},
	} {
		c.do("POST /", rpc, tt.body).want(t, 204, map[string]string{"Content-Type": "", "Content-Length": ""}, "")
		for _, want := range tt.ran {
			if got := receive(t, ran, "the handler of "+tt.body); got != want {
				t.Errorf("%s: the handler got %v, want %v", tt.body, got, want)
			}
		}
	}
	if len(ran) > 0 {
		t.Error("a wrong notification reached the handler")
	}
}

// A notification is a oneway call: its answer does not wait for the handler.
func TestNotificationIsAnsweredBeforeItsHandler(t *testing.T) {
	gate := newGated()
	c := serve(t, Options{}, gate.setup).dial()
	c.do("POST /", rpc, `{"jsonrpc":"2.0","method":"Gate.Wait"}`).want(t, 204, nil, "")
	c.do("POST /", rpc, `[{"jsonrpc":"2.0","method":"Gate.Wait"}]`).want(t, 204, nil, "")
	receive(t, gate.began, "the first call")
	receive(t, gate.began, "the second call")
	close(gate.release)
}

// The deadline of a batch is one for all its calls.
func TestBatchHasOneDeadline(t *testing.T) {
	var left []time.Duration
	g := attached(t, Options{BatchConcurrency: 1}, func(_ context.Context, c *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
		left = append(left, c.Timeout)
		return &rpcruntime.ForeignReply{}
	})
	post(g, batchOf(2, "A.B"), headerMeta, "__ServerTimeout=3600000")
	post(g, batchOf(2, "A.B"), headerMeta, "__ServerTimeout=0")
	post(g, batchOf(1, "A.B"))
	if len(left) != 5 || left[0] > time.Hour || left[1] >= left[0] || left[2] != expired || left[3] != expired || left[4] != 0 {
		t.Errorf("the calls were left %v", left)
	}
}

func TestJSONRPCOverHTTP(t *testing.T) {
	p := serve(t, Options{JSONRPCPath: "/jsonrpc", MaxBodyBytes: 1000, MaxRequestBytes: 5000}, jsonMethods)
	c := p.dial()
	const sum = `{"jsonrpc":"2.0","method":"a.b.Sum","params":[[1,2]],"id":1}`
	const three = `{"jsonrpc":"2.0","id":1,"result":3}`
	c.do("POST /jsonrpc", "Content-Type: application/json; charset=utf-8", sum).want(t, 200, nil, three)
	c.do("POST /", "x-jsonrpc-2.0: true\nContent-Type: text/plain", sum).want(t, 200, nil, three)
	for _, tt := range []struct {
		line, headers, body string
		code                int
	}{
		{"POST /jsonrpc", "Content-Type: text/plain", sum, 415}, // what a form on a foreign site can send
		{"POST /jsonrpc", "", sum, 415},
		{"GET /jsonrpc", "", "", 405},
		{"PUT /", rpc, sum, 405},
		{"POST /", rpc + "\nX-RPCX-Meta: %zz", sum, 400},
		{"POST /", rpc + "\nContent-Encoding: br", sum, 415},
	} {
		got := c.do(tt.line, tt.headers, tt.body)
		if got.StatusCode != tt.code || got.Header.Get("Content-Type") != "application/json" || !strings.HasPrefix(got.body, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,`) {
			t.Errorf("%s %s: %d %s", tt.line, tt.headers, got.StatusCode, got.body)
		}
	}
	got := p.dial().do("POST /", rpc, strings.Repeat(" ", 1001))
	if got.StatusCode != http.StatusRequestEntityTooLarge || !strings.Contains(got.body, `"name":"ResourceExhausted","retry":"unexecuted"`) {
		t.Errorf("an oversized request: %d %s", got.StatusCode, got.body)
	}
	// A request without the header, at another path, is not JSON-RPC.
	c.do("POST /other", "Content-Type: application/json", sum).want(t, 400, nil, "the header X-RPCX-SerializeType is missing: it is a number from 0 to 15\n")
}

func TestSwitchedOff(t *testing.T) {
	c := serve(t, Options{WithoutJSONRPC: true}, arith).dial()
	got := c.do("POST /", rpc, `{"jsonrpc":"2.0","method":"Arith.Mul","id":1}`)
	got.want(t, 404, map[string]string{"X-Fairlead-Retry": "unexecuted"}, got.body)
	c.do("POST /", call("Arith.Mul"), "{}").want(t, 200, nil, `{"C":0}`)
	c = serve(t, Options{WithoutHTTP: true}, arith).dial()
	got = c.do("POST /", call("Arith.Mul"), "{}")
	got.want(t, 404, nil, got.body)
	c.do("POST /", rpc, `{"jsonrpc":"2.0","method":"Arith.Mul","id":1}`).want(t, 200, nil, `{"jsonrpc":"2.0","id":1,"result":{"C":0}}`)
}

// What a request is, is decided for each by itself.
func TestBothKindsOnOneConnection(t *testing.T) {
	c := serve(t, Options{}, jsonMethods).dial()
	for range 3 {
		c.do("POST /", call("Arith.Mul"), `{"A":2,"B":4}`).want(t, 200, map[string]string{"X-RPCX-ServicePath": "Arith"}, `{"C":8}`)
		c.do("POST /", rpc, `{"jsonrpc":"2.0","method":"Arith.Mul","params":{"A":3,"B":3},"id":1}`).want(t, 200, map[string]string{"X-RPCX-ServicePath": ""}, `{"jsonrpc":"2.0","id":1,"result":{"C":9}}`)
		c.do("POST /", rpc, `[{]`).want(t, 200, nil, failure("null", -32700, `"the request is not JSON"`, 3, "InvalidArgument", "unexecuted"))
		c.do("POST /", rpc, `{"jsonrpc":"2.0","method":"Arith.Mul"}`).want(t, 204, nil, "")
		c.do("GET /nothing", "", "").want(t, 400, nil, "the header X-RPCX-SerializeType is missing: it is a number from 0 to 15\n")
	}
}

func TestReplyMetadataOfJSONRPC(t *testing.T) {
	c := serve(t, Options{}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Meta.Echo", func(ctx context.Context, _ *mulArgs) (*string, error) {
			v := rpcruntime.IncomingMetadata(ctx)["k"]
			rpcruntime.SetReplyMetadata(ctx, "k", v+v)
			return &v, nil
		})
	}).dial()
	c.do("POST /", rpc+"\nX-RPCX-Meta: k=v", `{"jsonrpc":"2.0","method":"Meta.Echo","id":1}`).want(t, 200, map[string]string{"X-RPCX-Meta": "k=vv"}, `{"jsonrpc":"2.0","id":1,"result":"v"}`)
	c.do("POST /", rpc+"\nX-RPCX-Meta: k=v", `[{"jsonrpc":"2.0","method":"Meta.Echo","id":1}]`).want(t, 200, map[string]string{"X-RPCX-Meta": ""}, `[{"jsonrpc":"2.0","id":1,"result":"v"}]`)
}

func TestReplyMetadataOfJSONRPCIsBounded(t *testing.T) {
	g := attached(t, Options{}, func(context.Context, *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
		return &rpcruntime.ForeignReply{Payload: []byte("1"), Metadata: rpcruntime.Metadata{"k": strings.Repeat("x", maxReplyMeta)}}
	})
	got := post(g, `{"jsonrpc":"2.0","method":"A.B","id":1}`)
	if got.Header.Get(headerMeta) != "" || !strings.Contains(got.body, `"code":-32603,`) || !strings.Contains(got.body, `"retry":"executed"`) {
		t.Errorf("%d bytes of metadata, %s", len(got.Header.Get(headerMeta)), got.body)
	}
}

// batchOf is a batch of n calls of a method.
func batchOf(n int, method string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,{"jsonrpc":"2.0","method":%q,"id":%d}`, method, i)
	}
	return "[" + b.String()[1:] + "]"
}

func TestBatchIsBounded(t *testing.T) {
	const most = 4
	var running, peak, ran atomic.Int64
	full, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p := serve(t, Options{MaxBatch: 50, BatchConcurrency: most}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Count.Me", func(context.Context, *mulArgs) (*int64, error) {
			n := running.Add(1)
			for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
			}
			if n == most {
				once.Do(func() { close(full) })
			}
			<-release
			ran.Add(1)
			running.Add(-1)
			return &n, nil
		})
	})
	c := p.dial()
	c.do("POST /", rpc, batchOf(51, "Count.Me")).want(t, 200, nil, invalid("null", `"the batch has more than 50 calls, the most that the gateway takes"`))
	if ran.Load() != 0 || running.Load() != 0 {
		t.Fatal("a batch that is too long was begun")
	}
	c.send("POST /", rpc, batchOf(50, "Count.Me"))
	receive(t, full, "as many calls at once as may run")
	if n := len(p.g.helpers); n != most-1 {
		t.Errorf("%d goroutines help, want %d", n, most-1)
	}
	close(release)
	got := c.receive()
	for i := range 50 {
		if !strings.Contains(got.body, fmt.Sprintf(`"id":%d,"result"`, i)) {
			t.Errorf("call %d has no result", i)
		}
	}
	if ran.Load() != 50 || peak.Load() != most {
		t.Errorf("%d calls ran, %d at once; want 50, %d", ran.Load(), peak.Load(), most)
	}
	if n := len(p.g.helpers); n != 0 {
		t.Errorf("%d helpers are left", n)
	}
}

// Without a goroutine to spare the calls of a batch go one by one.
func TestBatchWithoutHelpers(t *testing.T) {
	var running, peak atomic.Int64
	g := attached(t, Options{}, func(context.Context, *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
		peak.Store(max(peak.Load(), running.Add(1)))
		defer running.Add(-1)
		return &rpcruntime.ForeignReply{Payload: []byte("1")}
	})
	for range maxHelpers {
		g.helpers <- struct{}{}
	}
	got := post(g, batchOf(20, "A.B"))
	if n := strings.Count(got.body, `"result":1`); n != 20 || peak.Load() != 1 {
		t.Errorf("%d results, %d calls at once", n, peak.Load())
	}
}

func TestBatchRepliesAreBounded(t *testing.T) {
	g := attached(t, Options{MaxBatchReplyBytes: 1000, BatchConcurrency: 1}, func(context.Context, *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
		return &rpcruntime.ForeignReply{Payload: []byte(`"` + strings.Repeat("x", 398) + `"`)}
	})
	got := post(g, batchOf(5, "A.B"))
	if n := strings.Count(got.body, `"result"`); n != 2 {
		t.Errorf("%d results fit into 1000 bytes, want 2: %s", n, got.body)
	}
	if n := strings.Count(got.body, `"code":-32008,`); n != 3 || !strings.Contains(got.body, `"retry":"executed"`) {
		t.Errorf("%d errors, want 3: %s", n, got.body)
	}
	// A single call has no sum to exceed.
	if got := post(attached(t, Options{MaxBatchReplyBytes: 10}, g.srv.(doFunc)), `{"jsonrpc":"2.0","method":"A.B","id":1}`); !strings.Contains(got.body, `"result"`) {
		t.Error(got.body)
	}
}

// A panic between gateway and handler ends one call and not the process.
func TestPanicInABatch(t *testing.T) {
	g := attached(t, Options{}, func(_ context.Context, c *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
		if c.Method == "Panic" {
			panic("on the way")
		}
		return &rpcruntime.ForeignReply{}
	})
	got := post(g, `[{"jsonrpc":"2.0","method":"A.Panic","id":1},{"jsonrpc":"2.0","method":"A.B","id":2},{"jsonrpc":"2.0","method":"A.Panic"}]`)
	want := `[` + failure("1", -32603, `"the call panicked; the server's log says more"`, 13, "Internal", "executed") + `,{"jsonrpc":"2.0","id":2,"result":null}]`
	if got.body != want {
		t.Errorf("got %s, want %s", got.body, want)
	}
}
