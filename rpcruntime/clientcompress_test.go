// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"compress/gzip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// zipped is made by the standard library, and not by the codecs under test.
func zipped(t testing.TB, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func unzipped(t testing.TB, data []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// replyAs is reply with compress bits.
func replyAs(f wire.Frame, c wire.Compress, s wire.Status, payload string, meta ...string) []byte {
	return requestBytes(f.Reply(s).WithCompress(c), string(f.Path), string(f.Method), payload, meta...)
}

// docs/wire-protocol.md §2
func TestArgumentsAreCompressedAboveTheThreshold(t *testing.T) {
	addr, requests := oldServer(t, func(f wire.Frame) []byte { return reply(f, wire.StatusNormal, "") })
	for name, tc := range map[string]struct {
		opts []ClientOption
		size int
		want wire.Compress
	}{
		"small":          {[]ClientOption{WithCompression(codec.CompressGzip)}, codec.CompressAbove, wire.CompressNone},
		"large":          {[]ClientOption{WithCompression(codec.CompressGzip)}, codec.CompressAbove + 1, wire.CompressGzip},
		"very large":     {[]ClientOption{WithCompression(codec.CompressGzip)}, 3 << 20, wire.CompressGzip},
		"not asked for":  {nil, 100_000, wire.CompressNone},
		"asked for none": {[]ClientOption{WithCompression(codec.CompressNone)}, 100_000, wire.CompressNone},
	} {
		t.Run(name, func(t *testing.T) {
			c := newRuntime(t).NewClient("test", append(tc.opts, Endpoints(addr))...)
			arg := strings.Repeat("a", tc.size)
			if err := CallInto(t.Context(), c, "Raw.Take", []byte(arg), nil); err != nil {
				t.Fatal(err)
			}
			f := <-requests
			if f.Compress() != tc.want {
				t.Fatalf("compress type %d, want %d", f.Compress(), tc.want)
			}
			got := string(f.Payload)
			if tc.want == wire.CompressGzip {
				got = unzipped(t, f.Payload)
			}
			if got != arg {
				t.Errorf("the argument came as %d other bytes", len(got))
			}
		})
	}
}

func TestCompressionBothWaysWithARealServer(t *testing.T) {
	c := pair(t, rawEcho, WithCompression(codec.CompressGzip))
	arg := bytes.Repeat([]byte("fairlead "), 200_000)
	before := c.rt.Counters().BytesWritten.Load()
	got, err := Call[[]byte](t.Context(), c, "Raw.Echo", arg)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(*got, arg) {
		t.Error("the echo is another")
	}
	if n := c.rt.Counters().BytesWritten.Load() - before; n > int64(len(arg)/10) {
		t.Errorf("%d bytes were written for an argument of %d", n, len(arg))
	}
}

// As rpcx's callers do.
func TestCompressedRepliesAreTakenUnasked(t *testing.T) {
	want := strings.Repeat("reply ", 1000)
	addr, _ := oldServer(t, func(f wire.Frame) []byte {
		return replyAs(f, wire.CompressGzip, wire.StatusNormal, zipped(t, []byte(want)))
	})
	c := newRuntime(t).NewClient("test", Endpoints(addr))
	got, err := Call[[]byte](t.Context(), c, "Raw.Get", nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(*got) != want {
		t.Errorf("got %d bytes", len(*got))
	}
}

// Each fails the call that it answers, as executed, and no other.
func TestRepliesThatDoNotDecompressFailTheirCallOnly(t *testing.T) {
	const limit = 10_000
	bad := map[string]struct {
		compress wire.Compress
		payload  string
		code     status.Code
	}{
		"Bomb":    {wire.CompressGzip, zipped(t, make([]byte, limit+1)), status.ResourceExhausted},
		"Corrupt": {wire.CompressGzip, "no gzip at all", status.Internal},
		"Cut":     {wire.CompressGzip, zipped(t, []byte("abc"))[:12], status.Internal},
		"Unknown": {5, "whatever", status.Internal},
	}
	addr, requests := oldServer(t, func(f wire.Frame) []byte {
		if b, ok := bad[string(f.Method)]; ok {
			return replyAs(f, b.compress, wire.StatusNormal, b.payload)
		}
		return replyAs(f, wire.CompressGzip, wire.StatusNormal, zipped(t, make([]byte, limit)))
	})
	rt := newRuntime(t, WithWireLimits(wire.Limits{DecompressedBytes: limit}))
	c := rt.NewClient("test", Endpoints(addr), FixedPolicy(generous(3), "Raw.Bomb", "Raw.Corrupt"))
	for name, b := range bad {
		_, err := Call[[]byte](t.Context(), c, "Raw."+name, nil)
		wantFate(t, err, b.code, status.FateExecuted)
		<-requests
		if n := len(requests); n != 0 {
			t.Errorf("%s: sent %d times more", name, n)
		}
		got, err := Call[[]byte](t.Context(), c, "Raw.Good", nil)
		if err != nil || len(*got) != limit {
			t.Fatalf("after %s: %v", name, err)
		}
		<-requests
	}
	if n := rt.Counters().Connections.Load(); n != 1 {
		t.Errorf("%d connections, want the one", n)
	}
}

func TestAnUnknownCompressorIsFoundAtOnce(t *testing.T) {
	addr, requests := oldServer(t, func(f wire.Frame) []byte { return reply(f, wire.StatusNormal, "") })
	c := newRuntime(t).NewClient("test", Endpoints(addr), WithCompression(3))
	err := CallInto(t.Context(), c, "Raw.Take", []byte("small"), nil)
	wantFate(t, err, status.FailedPrecondition, status.FateUnexecuted)
	if len(requests) != 0 {
		t.Error("a request was sent")
	}
	set, err := codec.New().WithCompressor(3, codec.Gzip{})
	if err != nil {
		t.Fatal(err)
	}
	c = newRuntime(t, WithCodecs(set)).NewClient("test", Endpoints(addr), WithCompression(3))
	if err := CallInto(t.Context(), c, "Raw.Take", make([]byte, 5000), nil); err != nil {
		t.Fatal(err)
	}
	if f := <-requests; f.Compress() != 3 {
		t.Errorf("compress type %d", f.Compress())
	}
}

// Old servers send what their handler had filled in beside its error.
// docs/wire-protocol.md §2
func TestWhatComesBesideAnErrorIsDecoded(t *testing.T) {
	for name, tc := range map[string]struct {
		compress wire.Compress
		payload  string
		want     int
	}{
		"a reply":    {wire.CompressNone, `{"C":7}`, 7},
		"compressed": {wire.CompressGzip, zipped(t, []byte(`{"C":7}`)), 7},
		"garbage":    {wire.CompressNone, `{"C`, 0},
		"bad gzip":   {wire.CompressGzip, `{"C":7}`, 0},
		"nothing":    {wire.CompressNone, ``, 0},
	} {
		t.Run(name, func(t *testing.T) {
			addr, _ := oldServer(t, func(f wire.Frame) []byte {
				return replyAs(f, tc.compress, wire.StatusError, tc.payload, wire.KeyError, "boom")
			})
			c := newRuntime(t).NewClient("test", Endpoints(addr), WithCodec(codec.TypeJSON))
			var r mulReply
			err := CallInto(t.Context(), c, "Arith.Mul", &mulArgs{}, &r)
			e := wantFate(t, err, status.Unknown, status.FateExecuted)
			if e.Message() != "boom" || r.C != tc.want {
				t.Errorf("reply %+v, error %q", r, e.Message())
			}
			if err := CallInto(t.Context(), c, "Arith.Mul", &mulArgs{}, nil); err == nil {
				t.Error("no error without a reply")
			}
		})
	}
}

// extended is an answer before which the peer says hello, if the request is the
// one that announced.
func extended(t testing.TB, f wire.Frame, answer []byte, features ...string) []byte {
	t.Helper()
	v, ok := f.Meta.Get(wire.KeyAnnounce)
	if !ok {
		return answer
	}
	a, ok := wire.ParseAnnouncement(v)
	if !ok {
		t.Errorf("announcement %q", v)
	}
	return append(control(wire.MethodHello, wire.AppendHello(nil, wire.Hello{Seq: a.Seq, Features: features})), answer...)
}

// Half a reply of an attempt that failed must show neither through the whole one
// of the attempt that followed, nor beside its error.
func TestAPartialReplyOfAFormerAttemptLeavesNothing(t *testing.T) {
	for _, succeeds := range []bool{true, false} {
		var failed atomic.Bool
		answer := func(f wire.Frame) []byte {
			switch {
			case !failed.Swap(true):
				return extended(t, f, reply(f, wire.StatusError, `{"C":7,"D":8}`, wire.KeyError, "busy", wire.KeyCode, "14"))
			case succeeds:
				return reply(f, wire.StatusNormal, `{"C":9}`)
			default:
				return reply(f, wire.StatusError, "", wire.KeyError, "boom")
			}
		}
		one, _ := oldServer(t, answer)
		two, _ := oldServer(t, answer)
		c := newRuntime(t).NewClient("test", Endpoints(one, two), WithCodec(codec.TypeJSON), FixedPolicy(generous(2), "Arith.Mul"))
		var r struct{ C, D int }
		err := CallInto(t.Context(), c, "Arith.Mul", &mulArgs{}, &r)
		if !failed.Load() || (err == nil) != succeeds || r.D != 0 || (r.C == 9) != succeeds || (r.C == 0) == succeeds {
			t.Errorf("%+v, %v", r, err)
		}
	}
}
