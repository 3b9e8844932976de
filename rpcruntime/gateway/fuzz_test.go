// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// FuzzGateway gives the gateway any bytes that net/http takes for a request, and
// a handler's text and metadata that are as wild.
func FuzzGateway(f *testing.F) {
	const seedCall = "POST /Arith HTTP/1.1\r\nHost: h\r\nX-RPCX-ServiceMethod: Mul\r\nX-RPCX-SerializeType: 1\r\n"
	for _, seed := range []struct{ request, text string }{
		{seedCall + "Content-Length: 2\r\n\r\n{}", ""},
		{seedCall + "X-RPCX-Meta: a=b&__ServerTimeout=5&__fl=1\r\nAuthorization: t\r\nX-RPCX-MessageID: 1\r\nX-RPCX-CompressType: 1\r\n\r\n", "boom\r\nX-Evil: 1"},
		{seedCall + "X-RPCX-Oneway: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "\xff\x00"},
		{"GET /%0d%0aX:%20y HTTP/1.0\r\nX-RPCX-ServiceMethod: M\r\nX-RPCX-SerializeType: 0\r\n\r\n", ""},
		{"OPTIONS /a HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n\r\n", ""},
		{"POST /rpc HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 41\r\n\r\n[{\"jsonrpc\":\"2.0\",\"method\":\"a.b\",\"id\":1}]", "\""},
		{"POST /__fl HTTP/1.1\r\nHost: h\r\nX-RPCX-ServiceMethod: bye\r\nX-RPCX-SerializeType: 0\r\n\r\n", ""},
		{"DELETE http://h/x HTTP/1.1\r\nHost: h\r\nX-JSONRPC-2.0: TRUE\r\n\r\n", ""},
	} {
		f.Add([]byte(seed.request), seed.text)
	}
	f.Fuzz(func(t *testing.T, request []byte, text string) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
		if err != nil {
			return
		}
		g := attached(t, Options{JSONRPCPath: "/rpc", CORS: &CORS{Origins: []string{"https://a.example"}}, MaxBodyBytes: 1 << 16, MaxRequestBytes: 1 << 18},
			func(_ context.Context, c *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
				checkCall(t, c)
				reply := &rpcruntime.ForeignReply{Metadata: rpcruntime.Metadata{text: text}}
				if text != "" {
					reply.Err = status.New(status.Code(len(text)%20), text)
				}
				return reply
			})
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code < 200 || w.Code > 599 {
			t.Errorf("status %d", w.Code)
		}
		for name, values := range w.Header() {
			for _, v := range values {
				if strings.ContainsFunc(v, unicode.IsControl) || !utf8.ValidString(v) || len(v) > maxReplyMeta {
					t.Errorf("header %s is %q", name, v)
				}
			}
		}
		if n := g.bodies.used.Load(); n != 0 {
			t.Errorf("%d bytes of bodies are held", n)
		}
	})
}

// checkCall holds what the gateway promises of every call that it makes.
func checkCall(t *testing.T, c *rpcruntime.ForeignCall) {
	if c.Path == "" || c.Method == "" || strings.HasPrefix(c.Path, hopPrefix) || c.Codec > codec.MaxType || c.Compress > codec.MaxCompressType {
		t.Errorf("a wrong call: %+v", c)
	}
	for k := range c.Metadata {
		if strings.HasPrefix(k, hopPrefix) || k == keyToken || k == keyTimeout {
			t.Errorf("the key %q was passed on", k)
		}
	}
}

// FuzzJSONRPC holds the answers against what package json finds in the request.
func FuzzJSONRPC(f *testing.F) {
	for _, seed := range []string{
		`{"jsonrpc":"2.0","method":"a.b","params":{"x":[1,"}"]},"id":"\"]"}`,
		`[{"jsonrpc":"2.0","method":"a.b"},{"jsonrpc":"2.0","method":"a.b","id":1.50e3},1,[],{}]`,
		`{"jsonrpc":"2.0","method":"a.b"}`, `{"jsonrpc":"2.0","method":"a.b","params":[ { } , 2 ],"id":null}`,
		`[]`, `{`, `"`, `{"id":1,"id":2}`, `[[[[]]]]`, "\xff", `{"jsonrpc":"2.0","method":"\ud800.b","id":1}`, ` [ null , true ] `, `{"jsonrpc":"2.0","method":"__fl.b","id":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var args [][]byte
		g := attached(t, Options{BatchConcurrency: 1}, func(_ context.Context, c *rpcruntime.ForeignCall) *rpcruntime.ForeignReply {
			checkCall(t, c)
			args = append(args, c.Payload)
			return &rpcruntime.ForeignReply{Payload: []byte(`{"r":1}`)}
		})
		got := post(g, string(body))
		for _, arg := range args {
			if len(arg) > 0 && !json.Valid(arg) {
				t.Errorf("the argument %q is not JSON", arg)
			}
		}
		if got.StatusCode == http.StatusNoContent {
			if got.body != "" {
				t.Errorf("no content: %q", got.body)
			}
			return
		}
		answers := decodeAnswers(t, got)
		ids := wantedIDs(body)
		if len(answers) != len(ids) {
			t.Fatalf("%d answers to %q, want %d: %s", len(answers), body, len(ids), got.body)
		}
		for i, a := range answers {
			if (a.Result == nil) == (a.Error == nil) || a.Version != "2.0" {
				t.Errorf("answer %d is neither a result nor an error: %s", i, got.body)
			}
			// What has a result was a request with that very id.
			if a.Result != nil && string(a.ID) != ids[i] {
				t.Errorf("answer %d has the id %s, want %s", i, a.ID, ids[i])
			}
		}
	})
}

type rpcAnswer struct {
	Version string           `json:"jsonrpc"`
	ID      json.RawMessage  `json:"id"`
	Result  json.RawMessage  `json:"result"`
	Error   *json.RawMessage `json:"error"`
}

func decodeAnswers(t *testing.T, a answer) []rpcAnswer {
	t.Helper()
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != contentJSON {
		t.Fatalf("status %d, %s", a.StatusCode, a.Header.Get("Content-Type"))
	}
	if !strings.HasPrefix(a.body, "[") {
		a.body = "[" + a.body + "]"
	}
	var answers []rpcAnswer
	if err := json.Unmarshal([]byte(a.body), &answers); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
	return answers
}

// wantedIDs is, by way of package json, the id of each answer that a request must
// get: that of its last member id, or "" where none is due but an error may be.
func wantedIDs(body []byte) []string {
	var batch []json.RawMessage
	if !utf8.Valid(body) || !json.Valid(body) || checkDepth(body) != nil {
		return []string{""}
	}
	if json.Unmarshal(body, &batch) != nil || bytes.TrimSpace(body)[0] != '[' {
		batch = []json.RawMessage{body}
	} else if len(batch) == 0 || len(batch) > 100 {
		return []string{""}
	}
	var ids []string
	for _, raw := range batch {
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &members) != nil || members == nil {
			ids = append(ids, "")
			continue
		}
		if id, ok := members["id"]; ok || !silentRequest(members) || doubled(raw) {
			ids = append(ids, string(id))
		}
	}
	return ids
}

// silentRequest reports whether what has no id is a request at all.
func silentRequest(members map[string]json.RawMessage) bool {
	var version, method string
	if json.Unmarshal(members["jsonrpc"], &version) != nil || version != "2.0" {
		return false
	}
	if m := members["method"]; len(m) == 0 || m[0] != '"' || json.Unmarshal(m, &method) != nil {
		return false
	}
	p := bytes.TrimSpace(members["params"])
	return len(p) == 0 || bytes.IndexByte([]byte("{[n"), p[0]) >= 0
}

// doubled reports whether one of the known members stands twice in an object.
func doubled(object []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(object))
	var seen []string
	_, _ = dec.Token() // the brace
	for dec.More() {
		key, _ := dec.Token()
		var value json.RawMessage
		_ = dec.Decode(&value)
		name, _ := key.(string)
		if slices.Contains(memberNames[:], name) && slices.Contains(seen, name) {
			return true
		}
		seen = append(seen, name)
	}
	return false
}
