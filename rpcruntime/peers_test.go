// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/internal/rpcxpeer"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// product serves Arith.Mul at an old server, in the two codecs that hold structs.
func product(_ context.Context, req *rpcxpeer.Request) ([]byte, error) {
	var a mulArgs
	if req.Serialize == rpcxpeer.SerializeJSON {
		if err := json.Unmarshal(req.Payload, &a); err != nil {
			return nil, err
		}
		return json.Marshal(&mulReply{a.A * a.B})
	}
	if err := msgpack.Unmarshal(req.Payload, &a); err != nil {
		return nil, err
	}
	return msgpack.Marshal(&mulReply{a.A * a.B})
}

// upper serves Text.Upper at an old server.
func upper(_ context.Context, req *rpcxpeer.Request) ([]byte, error) {
	var in wrapperspb.StringValue
	if err := proto.Unmarshal(req.Payload, &in); err != nil {
		return nil, err
	}
	return proto.Marshal(wrapperspb.String(strings.ToUpper(in.GetValue())))
}

func echoOld(_ context.Context, req *rpcxpeer.Request) ([]byte, error) { return req.Payload, nil }

// All serialize types, small and large, plain and compressed: a Fairlead caller
// and an old server. docs/wire-protocol.md §2, §11
func TestOldServerUnderstandsEveryCodec(t *testing.T) {
	s := oldPeer(t, rpcxpeer.ServerConfig{})
	s.Handle("Arith", "Mul", product)
	s.Handle("Text", "Upper", upper)
	s.Handle("Raw", "Echo", echoOld)
	large := strings.Repeat("large ", 1000)
	rt := newRuntime(t)
	for name, opts := range map[string][]ClientOption{"plain": nil, "gzip": {WithCompression(codec.CompressGzip)}} {
		for _, kind := range []codec.Type{codec.TypeJSON, codec.TypeMsgPack} {
			c := rt.NewClient(name, append([]ClientOption{Endpoints(s.Addr()), WithCodec(kind)}, opts...)...)
			if r, err := Call[mulReply](t.Context(), c, "Arith.Mul", &mulArgs{6, 7}); err != nil || r.C != 42 {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
		}
		c := rt.NewClient(name, append([]ClientOption{Endpoints(s.Addr())}, opts...)...)
		for _, text := range []string{"", "small", large} {
			if r, err := Call[wrapperspb.StringValue](t.Context(), c, "Text.Upper", wrapperspb.String(text)); err != nil || r.GetValue() != strings.ToUpper(text) {
				t.Errorf("%s, Protobuf: %v", name, err)
			}
			if r, err := Call[[]byte](t.Context(), c, "Raw.Echo", []byte(text)); err != nil || string(*r) != text {
				t.Errorf("%s, raw: %v", name, err)
			}
		}
	}
}

// The same the other way round: an old caller and a Fairlead server.
// docs/wire-protocol.md §2, §11
func TestOldCallerUnderstandsEveryCodec(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) {
		Handle(s, "Arith.Mul", mul)
		Handle(s, "Text.Upper", func(_ context.Context, in *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
			return wrapperspb.String(strings.ToUpper(in.GetValue())), nil
		})
		HandleRaw(s, "Raw.Echo", echoRaw)
	})
	large := strings.Repeat("large ", 1000)
	for name, compress := range map[string]byte{"plain": rpcxpeer.CompressNone, "gzip": rpcxpeer.CompressGzip} {
		ask := func(serialize byte, path, method string, arg []byte) []byte {
			c := oldCaller(t, addr, rpcxpeer.ClientConfig{Serialize: serialize, Compress: compress})
			r, err := c.Call(t.Context(), path, method, arg)
			if err != nil {
				t.Errorf("%s, serialize type %d: %v", name, serialize, err)
			}
			return r
		}
		var r mulReply
		if b := ask(rpcxpeer.SerializeJSON, "Arith", "Mul", []byte(`{"A":6,"B":7}`)); json.Unmarshal(b, &r) != nil || r.C != 42 {
			t.Errorf("%s, JSON: %q", name, b)
		}
		if b := ask(rpcxpeer.SerializeMsgPack, "Arith", "Mul", []byte("\x82\xa1A\x06\xa1B\x07")); msgpack.Unmarshal(b, &r) != nil || r.C != 42 {
			t.Errorf("%s, MsgPack: %x", name, b)
		}
		for _, text := range []string{"", "small", large} {
			arg, err := proto.Marshal(wrapperspb.String(text))
			if err != nil {
				t.Fatal(err)
			}
			var out wrapperspb.StringValue
			if b := ask(rpcxpeer.SerializeProtobuf, "Text", "Upper", arg); proto.Unmarshal(b, &out) != nil || out.GetValue() != strings.ToUpper(text) {
				t.Errorf("%s, Protobuf: %x", name, b)
			}
			for serialize := byte(0); serialize < 16; serialize++ { // raw handlers take what comes
				if b := ask(serialize, "Raw", "Echo", []byte(text)); string(b) != text {
					t.Errorf("%s, serialize type %d: %q", name, serialize, b)
				}
			}
		}
	}
}

// Metadata, tokens, deadlines and the texts of errors: a Fairlead caller and an
// old server. docs/wire-protocol.md §5, §10, §11
func TestOldServerGetsWhatTravelsBeside(t *testing.T) {
	s := oldPeer(t, rpcxpeer.ServerConfig{Auth: func(_ context.Context, m *rpcxpeer.Message, token string) error {
		if token != "tok" {
			return errors.New("who are you")
		}
		return nil
	}})
	s.Handle("Old", "Meta", func(ctx context.Context, _ *rpcxpeer.Request) ([]byte, error) {
		maps.Copy(rpcxpeer.ResponseMeta(ctx), map[string]string{"back": rpcxpeer.RequestMeta(ctx)["there"], "__rpcx_own": "kept"})
		deadline, ok := ctx.Deadline()
		return []byte(strconv.FormatBool(ok && time.Until(deadline) > 0)), nil
	})
	s.Handle("Old", "Fail", func(ctx context.Context, req *rpcxpeer.Request) ([]byte, error) {
		rpcxpeer.ResponseMeta(ctx)["back"] = "failed"
		return nil, errors.New(string(req.Payload))
	})
	s.Handle("Old", "Panic", func(context.Context, *rpcxpeer.Request) ([]byte, error) { panic("oh") })
	s.Handle("Old", "Wait", func(ctx context.Context, _ *rpcxpeer.Request) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	rt := newRuntime(t)
	c := rt.NewClient("old", Endpoints(s.Addr()), WithToken(StaticToken("tok")), FixedPolicy(generous(3)))
	var md Metadata
	r, err := Call[[]byte](WithMetadata(t.Context(), Metadata{"there": "and back"}), c, "Old.Meta", nil, ReplyMetadata(&md))
	if err != nil || string(*r) != "true" || !maps.Equal(md, Metadata{"back": "and back", "__rpcx_own": "kept"}) {
		t.Errorf("%v, metadata %v", err, md)
	}
	for text, code := range map[string]status.Code{
		"boom": status.Unknown, "request reached rate limit": status.ResourceExhausted, "can not find codec for 3": status.Unimplemented, "": status.Unknown,
	} {
		_, err := Call[[]byte](t.Context(), c, "Old.Fail", []byte(text), ReplyMetadata(&md))
		if e := wantFate(t, err, code, status.FateExecuted); !strings.Contains(e.Message(), text) || md["back"] != "failed" {
			t.Errorf("%q: %v, metadata %v", text, e, md)
		}
	}
	for method, code := range map[string]status.Code{"Old.Nope": status.Unimplemented, "Not.There": status.Unimplemented, "Old.Panic": status.Unknown} {
		_, err := Call[[]byte](t.Context(), c, method, nil)
		wantFate(t, err, code, status.FateExecuted)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = Call[[]byte](ctx, c, "Old.Wait", nil)
	if err == nil {
		t.Error("a call outlived its deadline")
	}
	if n := rt.counters.Connections.Load(); n != 1 {
		t.Errorf("%d connections, want one for all", n)
	}
	// It closes the connection behind a token that it refuses.
	stranger := newRuntime(t).NewClient("old", Endpoints(s.Addr()), WithToken(StaticToken("wrong")), FixedPolicy(generous(3)))
	for range 3 {
		_, err := Call[[]byte](t.Context(), stranger, "Old.Meta", nil)
		if err == nil || status.FateOf(err) == status.FateUnexecuted && strings.Contains(err.Error(), "who are you") {
			t.Errorf("a refused token: %v, fate %s", err, status.FateOf(err))
		}
	}
}

// The same the other way round: an old caller and a Fairlead server.
// docs/wire-protocol.md §5, §10, §11
func TestOldCallerGetsWhatTravelsBeside(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) {
		HandleRaw(s, "New.Meta", func(ctx context.Context, _ []byte) ([]byte, error) {
			SetReplyMetadata(ctx, "back", IncomingMetadata(ctx)["there"])
			deadline, ok := ctx.Deadline()
			peer, _ := PeerOf(ctx)
			return []byte(peer.Name + " " + strconv.FormatBool(ok && time.Until(deadline) > 0)), nil
		})
		HandleRaw(s, "New.Fail", func(_ context.Context, b []byte) ([]byte, error) {
			return nil, status.New(status.NotFound, string(b)).WithDetails([]byte("details"))
		})
		HandleRaw(s, "New.Wait", func(ctx context.Context, _ []byte) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
	}, Authenticate(func(_ context.Context, req *AuthRequest) (string, error) {
		if req.Token != "tok" {
			return "", errors.New("who are you")
		}
		return "shop/web", nil
	}))
	x := rpcxpeer.NewXClient("New", []string{addr}, rpcxpeer.XConfig{Token: "tok"})
	t.Cleanup(x.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	back := map[string]string{}
	r, err := x.Call(rpcxpeer.WithMeta(ctx, map[string]string{"there": "and back"}, back), "Meta", nil)
	delete(back, rpcxpeer.KeyServerAddress)
	if err != nil || string(r) != "shop/web true" || !maps.Equal(back, map[string]string{"back": "and back"}) {
		t.Errorf("%q, %v, metadata %v", r, err, back)
	}
	back = map[string]string{}
	_, err = x.Call(rpcxpeer.WithMeta(ctx, nil, back), "Fail", []byte("boom"))
	delete(back, rpcxpeer.KeyServerAddress)
	if err == nil || err.Error() != "boom" || !maps.Equal(back, map[string]string{rpcxpeer.KeyError: "boom"}) {
		t.Errorf("%v, metadata %v", err, back)
	}
	// The deadline is the server's too: its answer comes, whatever the caller does.
	gone := map[string]string{rpcxpeer.KeyAuth: "tok", rpcxpeer.KeyServerTimeout: "10"}
	c := oldCaller(t, addr, rpcxpeer.ClientConfig{})
	var answered rpcxpeer.ServiceError
	if _, err := c.Call(rpcxpeer.WithMeta(t.Context(), gone, nil), "New", "Wait", nil); !errors.As(err, &answered) {
		t.Error(err)
	}
	// A refused token is an answer, and the connection goes on.
	if _, err := c.Call(t.Context(), "New", "Meta", nil); !errors.As(err, &answered) || !strings.Contains(err.Error(), "who are you") {
		t.Error(err)
	}
	if err := c.Heartbeat(t.Context()); err != nil {
		t.Error(err)
	}
}

// Oneway calls and pushes, both ways, and heartbeats of an old caller, oneway
// ones included. docs/wire-protocol.md §1, §2, §6
func TestOldPeersOnewayAndPush(t *testing.T) {
	s := oldPeer(t, rpcxpeer.ServerConfig{})
	took := make(chan string, 10)
	s.Handle("Old", "Take", func(_ context.Context, req *rpcxpeer.Request) ([]byte, error) {
		took <- string(req.Payload)
		return nil, req.Conn.SendMessage("notify", "m", map[string]string{"k": "v"}, []byte("hi"))
	})
	pushes := make(chan *Push, 10)
	c := newRuntime(t).NewClient("old", Endpoints(s.Addr()), PushTo(pushes, PushDropNewest))
	if err := Oneshot(t.Context(), c, "Old.Take", []byte("x")); err != nil || receive(t, took, "the oneway call") != "x" {
		t.Error(err)
	}
	if p := receive(t, pushes, "the push"); p.Path != "notify" || p.Method != "m" || p.Metadata["k"] != "v" || string(p.Payload) != "hi" || p.Address != s.Addr() {
		t.Errorf("pushed %+v", p)
	}

	addr, _ := serveWith(t, newRuntime(t), func(s *Server) {
		HandleRaw(s, "New.Take", func(ctx context.Context, b []byte) ([]byte, error) {
			took <- string(b)
			p, ok := PushConnOf(ctx)
			if !ok {
				return nil, errors.New("no connection to push on")
			}
			return nil, p.Push(ctx, "notify.m", []byte("hi"))
		})
	})
	old := make(chan *rpcxpeer.Message, 10)
	caller := oldCaller(t, addr, rpcxpeer.ClientConfig{Pushes: old})
	if err := caller.Oneway(t.Context(), "New", "Take", []byte("y")); err != nil || receive(t, took, "the oneway call") != "y" {
		t.Error(err)
	}
	if m := receive(t, old, "the push"); m.Path != "notify" || m.Method != "m" || !m.Oneway || m.Response || string(m.Payload) != "hi" || m.Meta != nil {
		t.Errorf("pushed %+v", m)
	}
	for range 3 {
		if err := caller.Heartbeat(rpcxpeer.WithMeta(t.Context(), map[string]string{"k": "v"}, nil)); err != nil {
			t.Error(err)
		}
	}
	if len(old) > 0 {
		t.Errorf("the oneway call was answered by %+v", <-old)
	}
}

// An old server answers heartbeats through its pool of workers, behind the calls
// that wait there: that is slow, and not dead. docs/wire-protocol.md §6
func TestOldServerMayAnswerHeartbeatsLate(t *testing.T) {
	s := oldPeer(t, rpcxpeer.ServerConfig{Workers: 1})
	entered, release := make(chan struct{}, 10), make(chan struct{})
	s.Handle("Old", "Wait", func(_ context.Context, req *rpcxpeer.Request) ([]byte, error) {
		entered <- struct{}{}
		<-release
		return req.Payload, nil
	})
	rt := newRuntime(t, WithHeartbeat(2*time.Millisecond))
	c := rt.NewClient("old", Endpoints(s.Addr()), FixedPolicy(generous(3)))
	var pending []*Pending[[]byte]
	for range 3 {
		pending = append(pending, Go[[]byte](t.Context(), c, "Old.Wait", []byte("x")))
	}
	receive(t, entered, "the first call")
	waitUntil(t, "heartbeats that are late", func() bool { return rt.counters.SlowHeartbeats.Load() >= 1 })
	close(release)
	for _, p := range pending {
		if r, err := p.Result(); err != nil || string(*r) != "x" {
			t.Error(err)
		}
	}
	if n := rt.counters.Connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// An old caller's connection is lost in the middle of a call: it fails over to
// the other server, and all its calls succeed. docs/wire-protocol.md §11
func TestOldCallersFailOver(t *testing.T) {
	var lns []*cutListener
	var addrs []string
	for i := range 2 {
		ln := listen(t, "")
		srv := newRuntime(t).NewServer()
		served := 0
		HandleRaw(srv, "Again.Run", func(_ context.Context, b []byte) ([]byte, error) {
			if served++; i == 0 && served%5 == 0 { // one call at a time
				ln.cut()
			}
			return b, nil
		})
		start(t, srv, ln)
		lns, addrs = append(lns, ln), append(addrs, ln.Addr().String())
	}
	x := rpcxpeer.NewXClient("Again", addrs, rpcxpeer.XConfig{Select: rpcxpeer.RoundRobinSelect})
	t.Cleanup(x.Close)
	for i := range 100 {
		want := bytes.Repeat([]byte{byte(i)}, i)
		if r, err := x.Call(t.Context(), "Run", want); err != nil || !bytes.Equal(r, want) {
			t.Fatalf("call %d: %v", i, err)
		}
	}
	if lns[0].count() < 5 || lns[1].count() != 1 {
		t.Errorf("%d and %d connections", lns[0].count(), lns[1].count())
	}
	dead := []string{deadAddr(t), addrs[1]}
	y := rpcxpeer.NewXClient("Again", dead, rpcxpeer.XConfig{Select: rpcxpeer.RoundRobinSelect})
	t.Cleanup(y.Close)
	if _, err := y.Call(t.Context(), "Run", nil); err != nil {
		t.Error(err)
	}
	var refused *net.OpError
	z := rpcxpeer.NewXClient("Again", dead[:1], rpcxpeer.XConfig{})
	t.Cleanup(z.Close)
	if _, err := z.Call(t.Context(), "Run", nil); !errors.As(err, &refused) {
		t.Error(err)
	}
}
