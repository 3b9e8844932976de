// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// docs/gateway.md, table of codes
func TestCodes(t *testing.T) {
	for code, want := range []struct{ http, rpc int }{
		{200, 0}, {499, -32001}, {500, -32002}, {400, -32602}, {504, -32004}, {404, -32005}, {409, -32006}, {403, -32007},
		{429, -32008}, {400, -32009}, {409, -32010}, {400, -32011}, {501, -32012}, {500, -32603}, {503, -32014}, {500, -32015}, {401, -32016},
		{500, -32002}, // outside of the set
	} {
		c := status.Code(code)
		if got := HTTPStatus(c); got != want.http {
			t.Errorf("HTTPStatus(%s) = %d, want %d", c, got, want.http)
		}
		if got := JSONRPCCode(c); got != want.rpc {
			t.Errorf("JSONRPCCode(%s) = %d, want %d", c, got, want.rpc)
		}
	}
}

// docs/wire-protocol.md §9. What an error says of another call is no news of this
// one: only the server knows whether it ran.
func TestRetryText(t *testing.T) {
	e := status.New(status.Unavailable, "x")
	for _, tt := range []struct {
		e          *status.Error
		unexecuted bool
		want       string
	}{
		{e, false, "executed"},
		{e.WithFate(status.FateUnexecuted), false, "executed"},
		{e.WithFate(status.FateExecuted), true, "unexecuted"},
		{e.WithNoRetry(), false, "never"},
		{e.WithNoRetry(), true, "unexecuted"},
		{e.WithRetryAfter(1500 * time.Microsecond).WithReason("limit"), true, "unexecuted;after=2;reason=limit"},
		{e.WithReason("two words"), false, "executed"},
		{e.WithReason("a\r\nX-Evil:1"), false, "executed"},
		{e.WithRetryAfter(1000 * time.Hour * 24), false, "executed;after=999999999"},
	} {
		if got := retryText(tt.e, tt.unexecuted); got != tt.want {
			t.Errorf("%s, unexecuted %t: %q, want %q", tt.e, tt.unexecuted, got, tt.want)
		}
	}
}

func TestContentType(t *testing.T) {
	for _, tt := range []struct {
		codec    codec.Type
		compress codec.CompressType
		want     string
	}{
		{codec.TypeJSON, codec.CompressNone, "application/json"},
		{codec.TypeJSON, codec.CompressGzip, "application/octet-stream"},
		{codec.TypeProtobuf, codec.CompressNone, "application/x-protobuf"},
		{codec.TypeThrift, codec.CompressNone, "application/x-thrift"},
		{codec.MaxType, codec.CompressNone, "application/octet-stream"},
	} {
		if got := contentType(tt.codec, tt.compress); got != tt.want {
			t.Errorf("%s, %s: %s, want %s", tt.codec, tt.compress, got, tt.want)
		}
	}
}

func TestHeaderText(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                    "plain",
		"a\r\nX-Evil: 1":           "a  X-Evil: 1",
		"nul\x00 del\x7f c1\u0085": "nul  del  c1",
		"grün":                     "grün",
		"bad \xff\xfe utf8":        "bad ? utf8",
		"  trimmed \n":             "trimmed",
	} {
		if got := headerText(in); got != want {
			t.Errorf("headerText(%q) = %q, want %q", in, got, want)
		}
	}
	for _, unit := range []string{"x", "ü", "€", "😀"} {
		got := headerText(strings.Repeat(unit, 5000))
		if len(got) > maxHeaderText || len(got) < maxHeaderText-3 || !utf8.ValidString(got) {
			t.Errorf("a long text of %q became %d bytes, valid %t", unit, len(got), utf8.ValidString(got))
		}
	}
}
