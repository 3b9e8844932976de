// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"io"
	"maps"
	"os"
	"strings"
	"testing"
)

// frames reads testdata/frames.txt.
func frames(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/frames.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, digits, _ := strings.Cut(line, ":")
		out[name] = unhex(t, digits)
	}
	return out
}

func unhex(t testing.TB, digits string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "").Replace(digits))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// parts is a frame as a test writes it.
type parts struct {
	header       Header
	path, method string
	meta         [][2]string
	payload      string
}

func (p parts) build() []byte {
	b := Begin([]byte("before"), p.header, p.path, p.method)
	for _, kv := range p.meta {
		b.Meta(kv[0], kv[1])
	}
	return b.Payload([]byte(p.payload))[len("before"):]
}

func TestGolden(t *testing.T) {
	request := func(seq uint64) Header { return RequestHeader(seq, SerializeJSON, false) }
	want := map[string]parts{
		"A request, json, auth":        {request(1), "Arith", "Mul", [][2]string{{KeyAuth, "tok"}}, `{"A":10,"B":20}`},
		"B its response":               {request(1).Reply(StatusNormal), "Arith", "Mul", nil, `{"C":200}`},
		"C oneway request":             {RequestHeader(2, SerializeJSON, true), "Arith", "Mul", nil, `{"A":1,"B":2}`},
		"D request with a deadline":    {request(5), "Arith", "Mul", [][2]string{{KeyServerTimeout, "1500"}}, `{}`},
		"E heartbeat":                  {HeartbeatHeader(3), "", "", nil, "\xd3\x17\x97\x9c\xfe\x36\x2a\x00\x00"},
		"E heartbeat's reply":          {HeartbeatHeader(3).Reply(StatusNormal), "", "", nil, "\xd3\x17\x97\x9c\xfe\x36\x2a\x00\x00"},
		"F error response":             {request(4).Reply(StatusError), "Arith", "Nope", [][2]string{{KeyError, "rpcx: can't find method Nope"}}, ""},
		"H server push":                {RequestHeader(1, SerializeRaw, true), "notify", "m", nil, "hi"},
		"I first call, msgpack":        {RequestHeader(0, SerializeMsgPack, false), "Arith", "Mul", [][2]string{{KeyAuth, "tok"}, {KeyServerTimeout, "699"}}, "\x82\xa1A\x0a\xa1B\x14"},
		"J handler error with a reply": {request(1).Reply(StatusError), "Arith", "Err", [][2]string{{KeyError, "boom"}}, `{"C":7}`},
		"G gzip":                       {Header{Flags: 1 << 2, Seq: 6}, "Echo", "Raw", nil, ""}, // its payload is looked at below
	}
	golden := frames(t)
	if len(golden) != len(want) {
		t.Fatalf("%d frames in testdata, %d in this test", len(golden), len(want))
	}
	for name, b := range golden {
		t.Run(name, func(t *testing.T) {
			f, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			p := want[name]
			if f.Compress() == CompressGzip {
				p.payload = string(f.Payload)
				checkGzip(t, f.Payload)
			}
			meta, wantMeta := map[string]string{}, map[string]string{}
			for k, v := range f.Meta.All() {
				meta[string(k)] = string(v)
			}
			for _, kv := range p.meta {
				wantMeta[kv[0]] = kv[1]
			}
			if f.Header != p.header || string(f.Path) != p.path || string(f.Method) != p.method || !maps.Equal(meta, wantMeta) || string(f.Payload) != p.payload {
				t.Errorf("parsed as %+v, want %+v", f, p)
			}
			if got := p.build(); !bytes.Equal(got, b) {
				t.Errorf("built\n%x, want\n%x", got, b)
			}
			if h, size, err := ParsePrefix(b[:PrefixLen]); err != nil || h != f.Header || size != uint64(len(b)) {
				t.Errorf("prefix: %+v, %d, %v", h, size, err)
			}
		})
	}
}

func checkGzip(t *testing.T, payload []byte) {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(r); err != nil || string(plain) != strings.Repeat("a", 1100) {
		t.Errorf("unpacked to %d bytes, %v", len(plain), err)
	}
}

func TestHeaderBits(t *testing.T) {
	tests := []struct {
		flags, kind                 byte
		response, heartbeat, oneway bool
		compress                    Compress
		status                      Status
		serialize                   Serialize
	}{
		{0x00, 0x00, false, false, false, CompressNone, StatusNormal, SerializeRaw},
		{0x80, 0x10, true, false, false, CompressNone, StatusNormal, SerializeJSON},
		{0x40, 0x30, false, true, false, CompressNone, StatusNormal, SerializeMsgPack},
		{0x20, 0x20, false, false, true, CompressNone, StatusNormal, SerializeProtobuf},
		{0x04, 0x40, false, false, false, CompressGzip, StatusNormal, SerializeThrift},
		{0x1c, 0xf0, false, false, false, 7, StatusNormal, 15},
		{0x81, 0x0f, true, false, false, CompressNone, StatusError, SerializeRaw},
		{0xff, 0xff, true, true, true, 7, 3, 15},
	}
	for _, tt := range tests {
		h := Header{Flags: tt.flags, Kind: tt.kind}
		if h.Response() != tt.response || h.Heartbeat() != tt.heartbeat || h.Oneway() != tt.oneway ||
			h.Compress() != tt.compress || h.Status() != tt.status || h.Serialize() != tt.serialize {
			t.Errorf("%02x %02x read as %v %v %v %d %d %d", tt.flags, tt.kind,
				h.Response(), h.Heartbeat(), h.Oneway(), h.Compress(), h.Status(), h.Serialize())
		}
	}
}

// A response repeats the request's header but for type, compression and status.
func TestReplyEchoes(t *testing.T) {
	for flags := range 256 {
		h := Header{Version: 7, Flags: byte(flags), Kind: 0x3a, Seq: 1<<63 | 5}
		for _, s := range []Status{StatusNormal, StatusError} {
			r := h.Reply(s)
			if !r.Response() || r.Status() != s || r.Compress() != CompressNone {
				t.Fatalf("%02x: reply is %02x", flags, r.Flags)
			}
			if r.Heartbeat() != h.Heartbeat() || r.Oneway() != h.Oneway() || r.Version != h.Version || r.Kind != h.Kind || r.Seq != h.Seq {
				t.Fatalf("%02x: reply %+v does not echo %+v", flags, r, h)
			}
		}
	}
}
