// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes are those of rpcx's own programs.
func TestOldCallersGetTheBytesThatTheyKnow(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) {
		Handle(s, "Arith.Mul", mul)
		Handle(s, "Arith.Err", func(ctx context.Context, _ *mulArgs) (*mulReply, error) {
			SetReplyMetadata(ctx, "k", "v")
			return nil, status.New(status.NotFound, "boom").WithRetryAfter(1)
		})
	})
	for name, tc := range map[string]struct{ request, answer string }{
		"JSON": {
			`08000010 0000000000000001 00000038 00000005 4172697468 00000003 4d756c 00000011 00000006 5f5f41555448 00000003 746f6b 0000000f 7b2241223a31302c2242223a32307d`,
			`08008010 0000000000000001 00000021 00000005 4172697468 00000003 4d756c 00000000 00000009 7b2243223a3230307d`,
		},
		"heartbeat": {
			`08004030 0000000000000003 00000019 00000000 00000000 00000000 00000009 d317979cfe362a0000`,
			`0800c030 0000000000000003 00000019 00000000 00000000 00000000 00000009 d317979cfe362a0000`,
		},
		"unknown method": {
			`08000010 0000000000000004 0000001d 00000005 4172697468 00000004 4e6f7065 00000000 00000004 6e756c6c`,
			`08008110 0000000000000004 0000004b 00000005 4172697468 00000004 4e6f7065 00000032 0000000e 5f5f727063785f6572726f725f5f 0000001c 727063783a2063616e27742066696e64206d6574686f64204e6f7065 00000000`,
		},
		"version and reserved bits": {
			`08070015 fedcba9876543210 00000021 00000005 4172697468 00000003 4d756c 00000000 00000009 7b2241223a317d202020`,
			``,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := dialRaw(t, addr)
			request := unhex(t, tc.request)
			if name == "version and reserved bits" {
				request = requestBytes(wire.Header{Version: 7, Kind: 0x15, Seq: 0xfedcba9876543210}, "Arith", "Mul", `{"A":1,"B":2}`)
			}
			p.send(request)
			got, err := p.bytes()
			if err != nil {
				t.Fatal(err)
			}
			if tc.answer != "" && !bytes.Equal(got, unhex(t, tc.answer)) {
				t.Errorf("got\n%x, want\n%x", got, unhex(t, tc.answer))
			}
			if tc.answer == "" && (got[1] != 7 || got[2] != 0x80 || got[3] != 0x15 || !bytes.Equal(got[4:12], request[4:12])) {
				t.Errorf("the header is not echoed: %x", got[:12])
			}
		})
	}
	t.Run("errors carry no keys of ours", func(t *testing.T) {
		p := dialRaw(t, addr)
		// A copy of an announcement that was made for another frame is none.
		forwarded := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 77, Features: []string{wire.FeatureDrain}})
		for seq, payload := range []string{"{}", "no json"} {
			p.send(requestBytes(wire.RequestHeader(uint64(seq), wire.SerializeJSON, false), "Arith", "Err", payload, wire.KeyAnnounce, string(forwarded)))
			f := p.frame()
			if text, ok := f.Meta.Get(wire.KeyError); !ok || len(text) == 0 || f.Status() != wire.StatusError || f.Seq != uint64(seq) {
				t.Errorf("status %d, text %q", f.Status(), text)
			}
			for k := range f.Meta.All() {
				if strings.HasPrefix(string(k), "__fl") {
					t.Errorf("the answer has %s", k)
				}
			}
		}
	})
	t.Run("oneway calls get nothing", func(t *testing.T) {
		p := dialRaw(t, addr)
		for _, method := range []string{"Mul", "Err", "Nope"} {
			p.send(requestBytes(wire.RequestHeader(1, wire.SerializeJSON, true), "Arith", method, "{}"))
		}
		p.send(requestBytes(wire.RequestHeader(9, wire.SerializeJSON, false), "Arith", "Mul", "{}"))
		if f := p.frame(); f.Seq != 9 {
			t.Errorf("an answer to %d", f.Seq)
		}
		p.wantStillOpen()
	})
	t.Run("unknown codecs and compression", func(t *testing.T) {
		p := dialRaw(t, addr)
		h := wire.RequestHeader(1, 9, false)
		p.send(requestBytes(h, "Arith", "Mul", "x"))
		if text, _ := p.frame().Meta.Get(wire.KeyError); !strings.HasPrefix(string(text), "can not find codec for 9") {
			t.Errorf("%q", text)
		}
		h = wire.RequestHeader(2, wire.SerializeJSON, false)
		h.Flags |= 0x04 // gzip
		p.send(requestBytes(h, "Arith", "Mul", "x"))
		if f := p.frame(); f.Status() != wire.StatusError || f.Compress() != wire.CompressNone {
			t.Errorf("flags %x", f.Flags)
		}
	})
	t.Run("garbage ends its connection only", func(t *testing.T) {
		p, other := dialRaw(t, addr), dialRaw(t, addr)
		p.send(requestBytes(wire.RequestHeader(1, wire.SerializeJSON, false), "Arith", "Mul", "{}"))
		p.frame()
		p.send([]byte("GET / HTTP/1.1\r\n\r\n"))
		if _, err := p.bytes(); err == nil {
			t.Error("garbage was answered")
		}
		other.send(requestBytes(wire.RequestHeader(1, wire.SerializeJSON, false), "Arith", "Mul", "{}"))
		other.frame()
	})
}

func TestAnnouncedCallersGetTheMarks(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) {
		HandleRaw(s, "Raw.Fail", func(context.Context, []byte) ([]byte, error) { return nil, status.New(status.NotFound, "boom") })
	})
	p := dialRaw(t, addr)
	announcement := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 4, Features: []string{wire.FeatureDrain}, Caller: "shop/web"})
	p.send(requestBytes(wire.RequestHeader(4, wire.SerializeRaw, false), "Raw", "Nope", "", wire.KeyAnnounce, string(announcement)))
	p.send(requestBytes(wire.RequestHeader(5, wire.SerializeRaw, false), "Raw", "Fail", ""))
	hello := p.frame()
	if h, ok := wire.ParseHello(hello.Payload); string(hello.Method) != wire.MethodHello || !ok || h.Seq != 4 {
		t.Fatalf("first came %s %q", hello.Method, hello.Payload)
	}
	want := map[uint64][2]string{4: {"12", "unexecuted"}, 5: {"5", ""}}
	for range 2 {
		f := p.frame()
		code, _ := f.Meta.Get(wire.KeyCode)
		mark, _ := f.Meta.Get(wire.KeyRetry)
		if got := [2]string{string(code), string(mark)}; got != want[f.Seq] {
			t.Errorf("seq %d: code and mark %v, want %v", f.Seq, got, want[f.Seq])
		}
	}
}

// oldServer answers every request with what answer makes of it, as a server
// without the extensions does.
func oldServer(t *testing.T, answer func(wire.Frame) []byte) (addr string, requests <-chan wire.Frame) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan wire.Frame, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			p := rawPeer{t, nc}
			for {
				b, err := p.bytes()
				if err != nil {
					break
				}
				f, err := wire.Parse(b)
				if err != nil {
					t.Error(err)
					break
				}
				seen <- f
				if b := answer(f); b != nil {
					_, _ = nc.Write(b)
				}
			}
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String(), seen
}

func reply(f wire.Frame, s wire.Status, payload string, meta ...string) []byte {
	return requestBytes(f.Reply(s), string(f.Path), string(f.Method), payload, meta...)
}

// An old server may pass on keys that it had from others: they mean nothing.
func TestOldServersAreNotBelieved(t *testing.T) {
	lies := []string{
		wire.KeyError, "boom", wire.KeyCode, "14", wire.KeyRetry, "unexecuted;after=1000;reason=wrong-endpoint",
		wire.KeyDetails, "details", "__rpcx_other", "kept", "user", "too",
	}
	addr, requests := oldServer(t, func(f wire.Frame) []byte {
		switch string(f.Method) {
		case "Fail":
			return reply(f, wire.StatusError, "", lies...)
		case "NoMeta":
			return reply(f, wire.StatusError, "")
		case "Limited":
			return reply(f, wire.StatusError, "", wire.KeyError, "request reached rate limit")
		case "Gzip":
			h := f.Reply(wire.StatusNormal)
			h.Flags |= 0x04
			return requestBytes(h, string(f.Path), string(f.Method), "\x1f\x8b")
		default:
			return reply(f, wire.StatusNormal, string(f.Payload))
		}
	})
	c := newRuntime(t, WithNamespace("shop"), WithApp("web")).NewClient("old", Endpoints(addr), FixedPolicy(generous(3), "Old.Fail"))
	var md Metadata
	_, err := Call[[]byte](t.Context(), c, "Old.Fail", nil, ReplyMetadata(&md))
	e := wantFate(t, err, status.Unknown, status.FateExecuted)
	if e.RetryAfter() != 0 || e.Details() != nil || e.Reason() != "" || e.Message() != "boom" {
		t.Errorf("believed: %+v", e)
	}
	if len(md) != 2 || md["__rpcx_other"] != "kept" || md["user"] != "too" {
		t.Errorf("metadata %v", md)
	}
	_, err = Call[[]byte](t.Context(), c, "Old.NoMeta", nil)
	wantFate(t, err, status.Unknown, status.FateExecuted)
	_, err = Call[[]byte](t.Context(), c, "Old.Limited", nil)
	wantFate(t, err, status.ResourceExhausted, status.FateExecuted)
	_, err = Call[[]byte](t.Context(), c, "Old.Gzip", nil)
	wantFate(t, err, status.Internal, status.FateExecuted)
	if r, err := Call[[]byte](t.Context(), c, "Old.Echo", []byte("x")); err != nil || string(*r) != "x" {
		t.Error(err)
	}
	first := true
	for range 5 {
		f := <-requests
		value, ok := f.Meta.Get(wire.KeyAnnounce)
		if ok != first {
			t.Errorf("%s announces: %v, want %v", f.Method, ok, first)
		}
		if a, valid := wire.ParseAnnouncement(value); first && (!valid || a.Seq != f.Seq || a.Caller != "shop/web") {
			t.Errorf("announcement %q", value)
		}
		if _, ok := f.Meta.Get(wire.KeyAttempt); ok {
			t.Error("a first attempt says its number")
		}
		if _, ok := f.Meta.Get(wire.KeyServerTimeout); !ok {
			t.Error("no timeout")
		}
		first = false
	}
}

func TestAttemptsAreNumberedFromTheSecondOn(t *testing.T) {
	var addrs []string
	var servers []<-chan wire.Frame
	for range 3 {
		addr, requests := oldServer(t, func(wire.Frame) []byte { return []byte("no frame") })
		addrs, servers = append(addrs, addr), append(servers, requests)
	}
	c := newRuntime(t).NewClient("old", Endpoints(addrs...), FixedPolicy(generous(3), "Old.Lost"), WithCodec(codec.TypeRaw))
	_, err := Call[[]byte](t.Context(), c, "Old.Lost", []byte("x"))
	wantFate(t, err, status.Unavailable, status.FateUnknown)
	var malformed *wire.MalformedError
	if !errors.As(err, &malformed) {
		t.Errorf("the cause is not named: %v", err)
	}
	got := map[string]int{}
	for _, requests := range servers {
		f := <-requests
		n, _ := f.Meta.Get(wire.KeyAttempt)
		got[string(n)]++
	}
	if len(got) != 3 || got[""] != 1 || got["2"] != 1 || got["3"] != 1 {
		t.Errorf("attempts %v", got)
	}
}
