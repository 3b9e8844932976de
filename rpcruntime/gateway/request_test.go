// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// header makes a header of lines.
func header(lines string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(lines, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ": "); ok {
			h.Add(name, value)
		}
	}
	return h
}

func TestParseRequest(t *testing.T) {
	for _, tt := range []struct {
		name, headers, path string
		want                request
	}{
		{"the least", "X-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: 1", "/Arith", request{call: rpcruntime.ForeignCall{Path: "Arith", Method: "Mul", Codec: codec.TypeJSON}}},
		{"a path of several parts", "X-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: 0", "/a/b", request{call: rpcruntime.ForeignCall{Path: "a/b", Method: "Mul"}}},
		{"the header beats the URL", "X-RPCX-ServicePath: Arith\nX-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: 15", "/Other", request{call: rpcruntime.ForeignCall{Path: "Arith", Method: "Mul", Codec: 15}}},
		{
			"everything", `x-rpcx-servicepath: Arith
			 X-RPCX-ServiceMethod: Mul
			 X-RPCX-SerializeType: 3
			 X-RPCX-CompressType: 1
			 X-RPCX-MessageID: 18446744073709551615
			 X-RPCX-Version: 7
			 X-RPCX-Oneway: no
			 X-RPCX-Heartbeat: true
			 Authorization: Bearer x y
			 X-RPCX-Meta: k=v%0D%0A&k=second&__ServerTimeout=1500&__AUTH=stolen&__fl=1&__fl_retry=unexecuted&__other=1&empty=`, "/",
			request{id: 1<<64 - 1, version: 7, call: rpcruntime.ForeignCall{
				Path: "Arith", Method: "Mul", Codec: codec.TypeMsgPack, Compress: codec.CompressGzip, Oneway: true, Token: "Bearer x y",
				Timeout: 1500 * time.Millisecond, Metadata: rpcruntime.Metadata{"k": "v\r\n", "__other": "1", "empty": ""},
			}},
		},
	} {
		got, wrong := parseRequest(header(tt.headers), tt.path)
		if wrong != nil {
			t.Errorf("%s: %v", tt.name, wrong.err)
			continue
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\n got %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

func TestParseRequestRefuses(t *testing.T) {
	good := "X-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: 1\n"
	for _, tt := range []struct {
		name, headers, path string
		code                int
	}{
		{"no service", good, "/", 400},
		{"no service, no slash", good, "", 400},
		{"no method", "X-RPCX-SerializeType: 1", "/Arith", 400},
		{"no serialize type", "X-RPCX-ServiceMethod: Mul", "/Arith", 400},
		{"a serialize type that no frame holds", "X-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: 16", "/Arith", 400},
		{"a serialize type in words", "X-RPCX-ServiceMethod: Mul\nX-RPCX-SerializeType: json", "/Arith", 400},
		{"a negative id", good + "X-RPCX-MessageID: -1", "/Arith", 400},
		{"an id beyond 64 bits", good + "X-RPCX-MessageID: 18446744073709551616", "/Arith", 400},
		{"a compress type that no frame holds", good + "X-RPCX-CompressType: 8", "/Arith", 400},
		{"a version beyond a byte", good + "X-RPCX-Version: 256", "/Arith", 400},
		{"metadata that is no query", good + "X-RPCX-Meta: a=%zz", "/Arith", 400},
		{"a line break in the path", good, "/Arith\r\nX-Evil: 1", 400},
		{"bytes that are not UTF-8 in the path", good, "/\xff", 400},
		{"a line break in the method", "X-RPCX-ServiceMethod: M\nX-RPCX-SerializeType: 1", "/A\x00", 400},
		{"two methods", good + "X-RPCX-ServiceMethod: Div", "/Arith", 400},
		{"two tokens", good + "Authorization: a\nAuthorization: b", "/Arith", 400},
		{"the protocol's path", good, "/__fl", 501},
		{"what begins like it", good + "X-RPCX-ServicePath: __fl.registry", "/Arith", 501},
	} {
		_, wrong := parseRequest(header(tt.headers), tt.path)
		if wrong == nil {
			t.Errorf("%s: was accepted", tt.name)
			continue
		}
		if wrong.code != tt.code || wrong.err.Fate() != status.FateUnexecuted {
			t.Errorf("%s: %d, %s: %v", tt.name, wrong.code, wrong.err.Fate(), wrong.err)
		}
	}
}

// docs/wire-protocol.md §5
func TestParseTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1": time.Millisecond, "1500": 1500 * time.Millisecond, "0": expired, "-5": expired,
		"": 0, "soon": 0, "1.5": 0, "9223372036855": 0, "9223372036854": 9223372036854 * time.Millisecond, "99999999999999999999": 0,
	} {
		if got := parseTimeout(text); got != want {
			t.Errorf("parseTimeout(%q) = %d, want %d", text, got, want)
		}
	}
}
