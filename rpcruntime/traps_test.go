// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/internal/rpcxpeer"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// The traps are what breaks implementations of rpcx's protocol. Each test looks
// at both roles, where the trap has two sides, over sockets, with bytes and
// peers that know nothing of package wire.

// trapServer is a server with what the traps need.
func trapServer(t *testing.T, opts ...ServerOption) (addr string) {
	t.Helper()
	addr, _ = serveWith(t, newRuntime(t), func(s *Server) {
		Handle(s, "Arith.Mul", mul)
		HandleRaw(s, "Raw.Echo", echoRaw)
		HandleRaw(s, "Raw.Fail", func(_ context.Context, b []byte) ([]byte, error) { return nil, errors.New(string(b)) })
		HandleRaw(s, "Raw.Panic", func(context.Context, []byte) ([]byte, error) { panic("secret") })
		HandleRaw(s, "Raw.Size", func(_ context.Context, b []byte) ([]byte, error) {
			n, err := strconv.Atoi(string(b))
			return bytes.Repeat([]byte("a"), n), err
		})
		HandleRaw(s, "Raw.Meta", func(ctx context.Context, _ []byte) ([]byte, error) {
			for k, v := range IncomingMetadata(ctx) {
				SetReplyMetadata(ctx, "got:"+k, v)
			}
			return nil, nil
		})
	}, opts...)
	return addr
}

// trapClient is a client of one address, whose methods are not idempotent.
func trapClient(t *testing.T, addr string, opts ...ClientOption) *Client {
	t.Helper()
	return newRuntime(t).NewClient("old", append([]ClientOption{Endpoints(addr), FixedPolicy(generous(3))}, opts...)...)
}

func wantCallable(t *testing.T, c *Client) {
	t.Helper()
	if r, err := Call[[]byte](t.Context(), c, "Raw.Echo", []byte("x")); err != nil || string(*r) != "x" {
		t.Errorf("an ordinary call: %v", err)
	}
}

// Any version and any reserved bits are accepted, and repeated in the answer.
// docs/wire-protocol.md §1
func TestTrap01(t *testing.T) {
	p := dialRaw(t, trapServer(t))
	for version, reserved := range map[byte]byte{1: 0x1, 7: 0x5, 255: 0xf} {
		for _, method := range []string{"Echo", "Nope"} {
			r := p.ask(rpcxpeer.Message{Version: version, Reserved: reserved, Seq: 3, Path: "Raw", Method: method, Payload: []byte("x")})
			if r.Version != version || r.Reserved != reserved || !r.Response || r.Failed != (method == "Nope") {
				t.Errorf("%s answered %+v", method, r)
			}
		}
		if r := p.ask(rpcxpeer.Message{Version: version, Reserved: reserved, Heartbeat: true}); r.Version != version || r.Reserved != reserved {
			t.Errorf("heartbeat answered %+v", r)
		}
	}
	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) {
		r := answerTo(m, "x")
		r.Version, r.Reserved = m.Version+9, m.Reserved+0xa
		p.send(r)
	})
	wantCallable(t, trapClient(t, peer.addr))
	if m := <-peer.seen; m.Version != 0 || m.Reserved != 0 {
		t.Errorf("sent %+v", m)
	}
}

// Answers repeat path, method, serialize type and seq; but a peer that repeats
// the seq alone is understood. docs/wire-protocol.md §1
func TestTrap02(t *testing.T) {
	p := dialRaw(t, trapServer(t))
	for i, m := range []rpcxpeer.Message{
		{Serialize: rpcxpeer.SerializeJSON, Path: "Arith", Method: "Mul", Payload: []byte(`{"A":1,"B":2}`)},
		{Serialize: rpcxpeer.SerializeJSON, Path: "Arith", Method: "Mul", Payload: []byte(`no JSON`)},
		{Serialize: rpcxpeer.SerializeMsgPack, Path: "Raw", Method: "Echo", Payload: []byte("x")},
		{Serialize: rpcxpeer.SerializeThrift, Path: "Raw", Method: "Fail", Payload: []byte("boom")},
		{Serialize: 15, Path: "Raw", Method: "Nope"},
		{Serialize: rpcxpeer.SerializeNone, Path: "Näher", Method: "Nope"},
	} {
		m.Seq = 0xfedcba9876543210 + uint64(i)
		r := p.ask(m)
		if r.Path != m.Path || r.Method != m.Method || r.Serialize != m.Serialize || r.Seq != m.Seq || !r.Response || r.Oneway || r.Heartbeat {
			t.Errorf("%d was answered with %+v", i, r)
		}
	}
	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) {
		r := answerTo(m, "x")
		if m.Method == "Fail" {
			r = failureOf(m, "boom")
		}
		r.Path, r.Method = "", ""
		p.send(r)
	})
	c := trapClient(t, peer.addr)
	wantCallable(t, c)
	_, err := Call[[]byte](t.Context(), c, "Raw.Fail", nil)
	if e := wantFate(t, err, status.Unknown, status.FateExecuted); e.Message() != "boom" {
		t.Error(e)
	}
}

// Heartbeats are answered with the very same message, even if they are oneway.
// docs/wire-protocol.md §6
func TestTrap03(t *testing.T) {
	p := dialRaw(t, trapServer(t, Authenticate(func(_ context.Context, req *AuthRequest) (string, error) {
		if req.Token == "" {
			return "", errors.New("no token")
		}
		return "", nil
	})))
	for _, m := range []rpcxpeer.Message{
		{Heartbeat: true, Serialize: rpcxpeer.SerializeMsgPack, Seq: 3, Payload: []byte("\xd3\x17\x97\x9c\xfe\x36\x2a\x00\x00")},
		{Heartbeat: true, Oneway: true, Serialize: rpcxpeer.SerializeMsgPack, Seq: 4, Payload: []byte("\xd3\x17\x97\x9c\xfe\x36\x2a\x00\x00")},
		{Heartbeat: true, Oneway: true, Serialize: rpcxpeer.SerializeJSON, Path: "Raw", Method: "Nope", Meta: map[string]string{"k": "v"}, Payload: []byte{}},
	} {
		want := m
		want.Response = true
		if got := p.ask(m); !reflect.DeepEqual(*got, want) {
			t.Errorf("answered %+v, want %+v", *got, want)
		}
	}

	beats := 0
	var waiting *rpcxpeer.Message
	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) {
		if !m.Heartbeat {
			waiting = m
			return
		}
		if m.Serialize != rpcxpeer.SerializeMsgPack || m.Path != "" || m.Method != "" || m.Meta != nil || len(m.Payload) != 9 || m.Payload[0] != 0xd3 {
			t.Errorf("sent the heartbeat %+v", m)
		}
		r := *m
		r.Response, r.Oneway = true, true
		p.send(r)
		if beats++; beats == 3 {
			p.send(answerTo(waiting, "late"))
		}
	})
	c := newRuntime(t, WithHeartbeat(5*time.Millisecond)).NewClient("old", Endpoints(peer.addr), FixedPolicy(generous(1)))
	if r, err := Call[[]byte](t.Context(), c, "Raw.Echo", []byte("x")); err != nil || string(*r) != "late" {
		t.Error(err)
	}
}

// Every error carries rpcx's key, for an old caller takes one without metadata
// for a success; and here one without metadata is an error all the same.
// docs/wire-protocol.md §10
func TestTrap04(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 1)
	rt := newRuntime(t)
	addr, srv := serveWith(t, rt, func(s *Server) {
		Handle(s, "Arith.Mul", mul)
		HandleRaw(s, "Raw.Fail", func(_ context.Context, b []byte) ([]byte, error) { return nil, errors.New(string(b)) })
		HandleRaw(s, "Raw.Panic", func(context.Context, []byte) ([]byte, error) { panic("secret") })
		Handle(s, "Raw.Nil", func(context.Context, *mulArgs) (*mulReply, error) { return nil, nil })
		HandleRaw(s, "Raw.Wait", func(context.Context, []byte) ([]byte, error) {
			entered <- struct{}{}
			<-release
			return nil, nil
		})
	}, MaxConcurrentCalls(1), Service("shop/raw"), Authenticate(func(_ context.Context, req *AuthRequest) (string, error) {
		if req.Token == "bad" {
			return "", errors.New("no entry")
		}
		return "", nil
	}))
	p := dialRaw(t, addr)
	bad := map[string]string{rpcxpeer.KeyAuth: "bad"}
	gone := map[string]string{rpcxpeer.KeyServerTimeout: "-1"}
	for name, tc := range map[string]struct {
		m    rpcxpeer.Message
		text string
	}{
		"service":  {rpcxpeer.Message{Path: "Nope", Method: "Do"}, "rpcx: can't find service Nope"},
		"method":   {rpcxpeer.Message{Path: "Arith", Method: "Nope"}, "rpcx: can't find method Nope"},
		"codec":    {rpcxpeer.Message{Path: "Arith", Method: "Mul", Serialize: 9, Payload: []byte("x")}, "can not find codec for 9"},
		"argument": {rpcxpeer.Message{Path: "Arith", Method: "Mul", Serialize: rpcxpeer.SerializeJSON, Payload: []byte("x")}, ""},
		"gzip":     {rpcxpeer.Message{Path: "Arith", Method: "Mul", Serialize: rpcxpeer.SerializeJSON, Compress: rpcxpeer.CompressGzip, Payload: []byte("x")}, ""},
		"handler":  {rpcxpeer.Message{Path: "Raw", Method: "Fail", Payload: []byte("boom")}, "boom"},
		"no text":  {rpcxpeer.Message{Path: "Raw", Method: "Fail"}, ""},
		"panic":    {rpcxpeer.Message{Path: "Raw", Method: "Panic"}, ""},
		"no reply": {rpcxpeer.Message{Path: "Raw", Method: "Nil", Serialize: rpcxpeer.SerializeJSON, Payload: []byte("{}")}, ""},
		"token":    {rpcxpeer.Message{Path: "Raw", Method: "Fail", Meta: bad}, ""},
		"deadline": {rpcxpeer.Message{Path: "Raw", Method: "Fail", Meta: gone}, ""},
		"control":  {rpcxpeer.Message{Path: "__fl", Method: "cancel"}, ""},
	} {
		r := p.ask(tc.m)
		text, ok := r.Meta[rpcxpeer.KeyError]
		if !r.Failed || !ok || !strings.HasPrefix(text, tc.text) || strings.Contains(text, "secret") {
			t.Errorf("%s: failed %v, %v %q, want %q", name, r.Failed, ok, text, tc.text)
		}
		for k := range r.Meta {
			if strings.HasPrefix(k, "__fl") {
				t.Errorf("%s: an old caller got %s", name, k)
			}
		}
	}
	p.send((&rpcxpeer.Message{Seq: 1, Path: "Raw", Method: "Wait"}).Encode())
	receive(t, entered, "the call")
	if r := p.ask(rpcxpeer.Message{Seq: 2, Path: "Raw", Method: "Fail"}); !r.Failed || r.Meta[rpcxpeer.KeyError] == "" {
		t.Errorf("over the limit: %+v", r)
	}
	close(release)
	p.message()
	instanceOf(t, srv).Changed(&policy.Snapshot{Methods: policy.Methods{RefuseUndeclared: true}}, 0)
	if r := p.ask(rpcxpeer.Message{Seq: 3, Path: "Raw", Method: "Fail"}); !r.Failed || r.Meta[rpcxpeer.KeyError] == "" {
		t.Errorf("not declared: %+v", r)
	}

	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) {
		r := failureOf(m, "")
		if m.Method == "NoMeta" {
			r.Meta = nil
		}
		p.send(r)
	})
	c := trapClient(t, peer.addr)
	for _, method := range []string{"Raw.NoMeta", "Raw.NoText"} {
		_, err := Call[[]byte](t.Context(), c, method, nil)
		wantFate(t, err, status.Unknown, status.FateExecuted)
	}
}

// An error may come with a payload, which may be anything: it stays an error,
// and what it half filled in is the caller's. docs/wire-protocol.md §2
func TestTrap05(t *testing.T) {
	// The bytes are those of rpcx's own server: {"C":7} beside boom.
	golden := unhex(t, `08008110 0000000000000001 00000039 00000005 4172697468 00000003 457272 0000001a 0000000e 5f5f727063785f6572726f725f5f 00000004 626f6f6d 00000007 7b2243223a377d`)
	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) {
		r := failureOf(m, "boom")
		switch m.Method {
		case "Err":
			b := bytes.Clone(golden)
			copy(b[4:12], m.Encode()[4:12])
			_, _ = p.Write(b)
			return
		case "Compressed":
			r.Compress, r.Payload = rpcxpeer.CompressGzip, []byte(`{"C":8}`)
		case "Garbage":
			r.Payload = []byte("\x00 no JSON")
		case "Unknown":
			r.Serialize, r.Payload = 13, []byte("x")
		case "Echo":
			r = answerTo(m, "x")
		}
		p.send(r)
	})
	c := trapClient(t, peer.addr, WithCodec(codec.TypeJSON))
	for method, filled := range map[string]int{"Arith.Err": 7, "Arith.Compressed": 8, "Arith.Garbage": 0, "Arith.Unknown": 0, "Arith.Empty": 0} {
		var reply mulReply
		err := CallInto(t.Context(), c, method, &mulArgs{}, &reply)
		if e := wantFate(t, err, status.Unknown, status.FateExecuted); e.Message() != "boom" || reply.C != filled {
			t.Errorf("%s: %v, %+v", method, e, reply)
		}
		if err := CallInto(t.Context(), c, method, &mulArgs{}, nil); err == nil || !strings.Contains(err.Error(), "boom") {
			t.Errorf("%s: without a reply to fill: %v", method, err)
		}
	}
	if n := peer.conns.Load(); n != 1 {
		t.Errorf("%d connections, want one for all", n)
	}
}

// Payloads are compressed above 1,024 bytes only, and answers only if their
// requests were; but a compressed answer is always understood.
// docs/wire-protocol.md §2
func TestTrap06(t *testing.T) {
	p := dialRaw(t, trapServer(t))
	for _, request := range []byte{rpcxpeer.CompressNone, rpcxpeer.CompressGzip} {
		for size, above := range map[int]bool{0: false, 1024: false, 1025: true, 100_000: true} {
			want := rpcxpeer.CompressNone
			if above {
				want = request
			}
			r := p.ask(rpcxpeer.Message{Path: "Raw", Method: "Size", Compress: request, Payload: []byte(strconv.Itoa(size))})
			if r.Compress != want || len(r.Payload) != size || r.Failed {
				t.Errorf("request %d, reply of %d bytes: compress type %d, %d bytes", request, size, r.Compress, len(r.Payload))
			}
		}
	}
	text := strings.Repeat("x", 5000)
	if r := p.ask(rpcxpeer.Message{Path: "Raw", Method: "Fail", Compress: rpcxpeer.CompressGzip, Payload: []byte(text)}); r.Compress != rpcxpeer.CompressNone || r.Meta[rpcxpeer.KeyError] != text {
		t.Errorf("an error: compress type %d", r.Compress)
	}

	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) {
		r := answerTo(m, string(m.Payload))
		r.Compress = rpcxpeer.CompressGzip // always
		p.send(r)
	})
	for _, tc := range []struct {
		options []ClientOption
		size    int
		want    byte
	}{
		{nil, 100_000, rpcxpeer.CompressNone},
		{[]ClientOption{WithCompression(codec.CompressGzip)}, 1024, rpcxpeer.CompressNone},
		{[]ClientOption{WithCompression(codec.CompressGzip)}, 1025, rpcxpeer.CompressGzip},
		{[]ClientOption{WithCompression(codec.CompressGzip)}, 0, rpcxpeer.CompressNone},
	} {
		arg := bytes.Repeat([]byte("a"), tc.size)
		r, err := Call[[]byte](t.Context(), trapClient(t, peer.addr, tc.options...), "Raw.Echo", arg)
		if err != nil || !bytes.Equal(*r, arg) {
			t.Fatalf("%d bytes: %v", tc.size, err)
		}
		if m := <-peer.seen; m.Compress != tc.want || !bytes.Equal(m.Payload, arg) {
			t.Errorf("%d bytes went out with compress type %d, want %d", tc.size, m.Compress, tc.want)
		}
	}
}

// Seq 0 is as good as any. docs/wire-protocol.md §1
func TestTrap07(t *testing.T) {
	addr := trapServer(t)
	p := dialRaw(t, addr)
	for range 3 { // nor need it be another each time, once it was answered
		if r := p.ask(rpcxpeer.Message{Path: "Raw", Method: "Echo", Payload: []byte("x")}); r.Seq != 0 || r.Failed || string(r.Payload) != "x" {
			t.Errorf("answered %+v", r)
		}
	}
	if r, err := oldCaller(t, addr, rpcxpeer.ClientConfig{}).Call(t.Context(), "Raw", "Echo", []byte("x")); err != nil || string(r) != "x" {
		t.Error(err)
	}
	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) {
		stray := answerTo(m, "not yours")
		stray.Seq = 0
		p.send(stray)
		push := rpcxpeer.Message{Oneway: true, Seq: m.Seq, Path: "notify", Method: "m", Payload: []byte("not an answer")}
		p.send(push)
		p.send(answerTo(m, "x"))
	})
	c := trapClient(t, peer.addr)
	for range 3 {
		wantCallable(t, c)
	}
	if n := peer.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// The order of metadata means nothing, and is another each time.
// docs/wire-protocol.md §3
func TestTrap08(t *testing.T) {
	meta := map[string]string{"a": "1", "b": "", "": "3", "binary": "\x00\xff", rpcxpeer.KeyServerTimeout: "60000", rpcxpeer.KeyAuth: "tok"}
	want := map[string]string{}
	for k, v := range meta {
		want["got:"+k] = v
	}
	p := dialRaw(t, trapServer(t))
	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) {
		r := failureOf(m, "boom")
		maps.Copy(r.Meta, meta)
		p.send(r)
	})
	c := trapClient(t, peer.addr)
	for range 50 { // the peer writes its maps in random order
		if r := p.ask(rpcxpeer.Message{Path: "Raw", Method: "Meta", Meta: meta}); !maps.Equal(r.Meta, want) {
			t.Fatalf("the handler saw %v, want %v", r.Meta, want)
		}
		var md Metadata
		_, err := Call[[]byte](t.Context(), c, "Raw.Echo", nil, ReplyMetadata(&md))
		if e := wantCode(t, err, status.Unknown); e.Message() != "boom" || !maps.Equal(md, meta) {
			t.Fatalf("%v, metadata %v, want %v", e, md, meta)
		}
	}
}

// No metadata is a block without entries, and not an empty map of one's own.
// docs/wire-protocol.md §3
func TestTrap09(t *testing.T) {
	p := dialRaw(t, trapServer(t))
	request := rpcxpeer.Message{Seq: 1, Path: "Raw", Method: "Meta"}
	p.send(request.Encode())
	got, err := p.bytes()
	if err != nil {
		t.Fatal(err)
	}
	request.Response = true
	if want := request.Encode(); !bytes.Equal(got, want) {
		t.Errorf("answered\n%x, want\n%x", got, want)
	}
	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) { p.send(answerTo(m, "x")) })
	c := trapClient(t, peer.addr)
	for i, md := range []Metadata{nil, {}, {"k": ""}} {
		back := Metadata{"left": "over"}
		if _, err := Call[[]byte](WithMetadata(t.Context(), md), c, "Raw.Echo", nil, ReplyMetadata(&back)); err != nil || len(back) != 0 {
			t.Errorf("%d: %v, metadata %v", i, err, back)
		}
		m := <-peer.seen
		delete(m.Meta, "__fl")
		delete(m.Meta, rpcxpeer.KeyServerTimeout)
		if !maps.Equal(m.Meta, md) {
			t.Errorf("%d: sent %v, want %v", i, m.Meta, md)
		}
	}
}

// A oneway request from the callee is a push. Whatever else nobody asked for is
// ignored, in both roles. docs/wire-protocol.md §1
func TestTrap10(t *testing.T) {
	const mine = 1 << 50
	strays := []rpcxpeer.Message{
		{Response: true, Seq: mine, Path: "Raw", Method: "Echo", Payload: []byte("stray")},
		{Response: true, Failed: true, Seq: mine + 1, Meta: map[string]string{rpcxpeer.KeyError: "stray"}},
		{Response: true, Heartbeat: true, Serialize: rpcxpeer.SerializeMsgPack, Seq: mine + 2},
		{Response: true, Oneway: true, Seq: mine + 3},
	}
	p := dialRaw(t, trapServer(t))
	for _, m := range strays {
		p.send(m.Encode())
	}
	p.wantServed()

	peer := newPuppet(t, func(p puppetConn, m *rpcxpeer.Message) {
		for _, stray := range strays {
			p.send(stray)
		}
		p.send(rpcxpeer.Message{Seq: m.Seq, Path: "Raw", Method: "Echo", Payload: []byte("a request that wants an answer")})
		p.send(rpcxpeer.Message{Oneway: true, Seq: 1, Path: "notify", Method: "m", Meta: map[string]string{"k": "v"}, Payload: []byte("hi")})
		p.send(answerTo(m, "x"))
	})
	pushes := make(chan *Push, 10)
	c := trapClient(t, peer.addr, PushTo(pushes, PushDropNewest))
	for range 3 {
		wantCallable(t, c)
		if got := receive(t, pushes, "the push"); got.Path != "notify" || got.Method != "m" || string(got.Payload) != "hi" || got.Metadata["k"] != "v" {
			t.Errorf("pushed %+v", got)
		}
	}
	if len(pushes) > 0 {
		t.Errorf("%+v is no push", <-pushes)
	}
	for range 3 {
		<-peer.seen
	}
	if n := peer.conns.Load(); n != 1 || len(peer.seen) > 0 {
		t.Errorf("%d connections, %d answers to what nobody answers", n, len(peer.seen))
	}
}

// An old server closes the connection over a compress type that it does not
// know, so none is ever used that the other side did not use first or the user
// did not name. Here it is an answer, and the connection goes on.
// docs/wire-protocol.md §2
func TestTrap11(t *testing.T) {
	p := dialRaw(t, trapServer(t))
	for compress := byte(2); compress < 8; compress++ {
		b := (&rpcxpeer.Message{Seq: uint64(compress), Path: "Raw", Method: "Echo", Payload: bytes.Repeat([]byte("x"), 2000)}).Encode()
		b[2] |= compress << 2
		p.send(b)
		if r := p.message(); !r.Failed || r.Seq != uint64(compress) || r.Compress != rpcxpeer.CompressNone || r.Meta[rpcxpeer.KeyError] == "" {
			t.Errorf("compress type %d was answered with %+v", compress, r)
		}
		p.wantServed()
	}

	s := oldPeer(t, rpcxpeer.ServerConfig{})
	used := make(chan byte, 10)
	s.Handle("Raw", "Echo", func(_ context.Context, req *rpcxpeer.Request) ([]byte, error) {
		used <- req.Compress
		return req.Payload, nil
	})
	large := bytes.Repeat([]byte("x"), 100_000)
	rt := newRuntime(t)
	for name, opts := range map[string][]ClientOption{"not asked": nil, "gzip": {WithCompression(codec.CompressGzip)}} {
		want := byte(len(opts))
		c := rt.NewClient(name, append([]ClientOption{Endpoints(s.Addr()), FixedPolicy(generous(1))}, opts...)...)
		for range 3 {
			if r, err := Call[[]byte](t.Context(), c, "Raw.Echo", large); err != nil || !bytes.Equal(*r, large) {
				t.Fatalf("%s: %v", name, err)
			}
			if got := <-used; got != want {
				t.Errorf("%s: compress type %d", name, got)
			}
		}
	}
	// A type that this side does not know either never leaves.
	before := rt.counters.Connections.Load()
	c := rt.NewClient("unknown", Endpoints(s.Addr()), FixedPolicy(generous(1)), WithCompression(5))
	_, err := Call[[]byte](t.Context(), c, "Raw.Echo", large)
	wantFate(t, err, status.CodeOf(err), status.FateUnexecuted)
	if n := rt.counters.Connections.Load(); n != before {
		t.Errorf("%d connections, want the %d of before", n, before)
	}
}

// unknownCodec is one that the other side does not have.
type unknownCodec struct{}

func (unknownCodec) Append(dst []byte, _ any) ([]byte, error) { return append(dst, "odd"...), nil }
func (unknownCodec) Decode([]byte, any) error                 { return nil }

// An unknown serialize type is answered with an error, and the connection goes
// on; the same is expected of an old server. docs/wire-protocol.md §10
func TestTrap12(t *testing.T) {
	p := dialRaw(t, trapServer(t))
	for serialize := byte(5); serialize < 16; serialize++ {
		r := p.ask(rpcxpeer.Message{Serialize: serialize, Seq: 1, Path: "Arith", Method: "Mul", Payload: []byte("x")})
		if want := "can not find codec for " + strconv.Itoa(int(serialize)); !r.Failed || !strings.HasPrefix(r.Meta[rpcxpeer.KeyError], want) {
			t.Errorf("serialize type %d was answered with %+v", serialize, r)
		}
	}
	p.wantServed()

	s := oldPeer(t, rpcxpeer.ServerConfig{})
	s.Handle("Raw", "Echo", func(_ context.Context, req *rpcxpeer.Request) ([]byte, error) { return req.Payload, nil })
	set, err := codec.New().With(9, unknownCodec{})
	if err != nil {
		t.Fatal(err)
	}
	rt := newRuntime(t, WithCodecs(set))
	odd := rt.NewClient("odd", Endpoints(s.Addr()), FixedPolicy(generous(3)), WithCodec(9))
	plain := rt.NewClient("plain", Endpoints(s.Addr()))
	for range 3 {
		_, err := Call[mulReply](t.Context(), odd, "Raw.Echo", &mulArgs{})
		if e := wantFate(t, err, status.Unimplemented, status.FateExecuted); e.Message() != "can not find codec for 9" {
			t.Error(e)
		}
		wantCallable(t, plain)
	}
	if n := rt.counters.Connections.Load(); n != 1 {
		t.Errorf("%d connections, want the one of before", n)
	}
}

// Control frames that are not known are ignored, without an answer and without
// asking for a token. They go only to peers that announced themselves: an old
// server with an authenticator would close the connection over them, and an old
// caller would take them for pushes. docs/wire-protocol.md §8
func TestTrap13(t *testing.T) {
	asked := make(chan string, 100)
	rec := new(recorder)
	addr, _ := serveWith(t, newRuntime(t, WithObserver(rec)), func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) },
		Authenticate(func(_ context.Context, req *AuthRequest) (string, error) {
			asked <- req.Method
			if req.Token != "tok" {
				return "", errors.New("no token")
			}
			return "", nil
		}))
	auth := map[string]string{rpcxpeer.KeyAuth: "tok"}
	p := dialRaw(t, addr)
	for _, method := range []string{"hello", "cancel", "drain", "bye", "window", "load", "data", "later", ""} {
		p.send((&rpcxpeer.Message{Oneway: true, Seq: 1, Path: "__fl", Method: method, Payload: []byte("12345678 and more")}).Encode())
		p.send((&rpcxpeer.Message{Oneway: true, Seq: 1, Path: "__fl", Method: method}).Encode())
	}
	if r := p.ask(rpcxpeer.Message{Seq: 9, Path: "Raw", Method: "Echo", Meta: auth, Payload: []byte("x")}); r.Seq != 9 || r.Failed {
		t.Errorf("the first answer is %+v", r)
	}
	if r := p.ask(rpcxpeer.Message{Seq: 10, Path: "__fl", Method: "later", Meta: auth}); r.Seq != 10 || !r.Failed {
		t.Errorf("who wants an answer got %+v", r)
	}
	if r := p.ask(rpcxpeer.Message{Seq: 11, Path: "Raw", Method: "Echo"}); r.Seq != 11 || r.Meta[rpcxpeer.KeyError] == "" {
		t.Errorf("a call without a token got %+v", r)
	}
	if r := p.ask(rpcxpeer.Message{Seq: 12, Path: "Raw", Method: "Echo", Meta: auth}); r.Failed {
		t.Errorf("the connection of a call without a token: %+v", r)
	}
	for _, want := range []string{"Raw.Echo", "__fl.later", "Raw.Echo", "Raw.Echo"} {
		if got := receive(t, asked, "a question to the authenticator"); got != want {
			t.Errorf("the authenticator was asked for %q, want %q", got, want)
		}
	}
	rec.mu.Lock()
	if len(asked) > 0 || len(rec.refused) != 2 {
		t.Errorf("the authenticator was asked %d times more; %d calls were refused, want 2", len(asked), len(rec.refused))
	}
	rec.mu.Unlock()

	entered, release := make(chan struct{}, 1), make(chan struct{})
	s := oldPeer(t, rpcxpeer.ServerConfig{Auth: func(_ context.Context, m *rpcxpeer.Message, token string) error {
		if m.Path == "__fl" || token != "tok" {
			t.Errorf("an old server was sent %s.%s with the token %q", m.Path, m.Method, token)
			return errors.New("go away")
		}
		return nil
	}})
	s.Handle("Raw", "Echo", func(_ context.Context, req *rpcxpeer.Request) ([]byte, error) { return req.Payload, nil })
	s.Handle("Raw", "Wait", func(context.Context, *rpcxpeer.Request) ([]byte, error) {
		entered <- struct{}{}
		<-release
		return nil, nil
	})
	rt := newRuntime(t)
	c := rt.NewClient("old", Endpoints(s.Addr()), FixedPolicy(generous(1)), WithToken(StaticToken("tok")))
	for range 3 { // what would be a cancel
		ctx, cancel := context.WithCancel(t.Context())
		pending := Go[[]byte](ctx, c, "Raw.Wait", nil)
		receive(t, entered, "the call")
		cancel()
		_, err := pending.Result()
		wantCode(t, err, status.Canceled)
		wantCallable(t, c)
	}
	close(release)
	wantCallable(t, c)
	if n := rt.counters.Connections.Load(); n != 1 {
		t.Errorf("%d connections, want the one of before", n)
	}

	srv, ln := newRuntime(t).NewServer(), listen(t, "")
	HandleRaw(srv, "Raw.Echo", echoRaw)
	stop := start(t, srv, ln)
	pushes := make(chan *rpcxpeer.Message, 10)
	old := oldCaller(t, ln.Addr().String(), rpcxpeer.ClientConfig{Pushes: pushes})
	forwarded := map[string]string{"__fl": "1;00000000deadbeef;drain,cancel,window,load;caller=shop/web"} // meant for another hop
	if _, err := old.Call(rpcxpeer.WithMeta(t.Context(), forwarded, nil), "Raw", "Echo", nil); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil { // what would be a drain and a bye
		t.Error(err)
	}
	<-old.Down()
	if len(pushes) > 0 {
		t.Errorf("an old caller was sent %+v", <-pushes)
	}
}
