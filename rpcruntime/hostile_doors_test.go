// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// §5: a call with the wrong token, or none, costs only itself, and the token is
// seen by nobody.
func TestHostileTokens(t *testing.T) {
	v := newVictim(t, Authenticate(func(_ context.Context, req *AuthRequest) (string, error) {
		switch {
		case req.Token == secret+" panic":
			panic(req.Token)
		case strings.Contains(req.Token, "x") || strings.HasPrefix(req.Token, secret):
			return "", status.New(status.Unauthenticated, "no")
		default:
			return "", nil
		}
	}))
	call := func(token string) func(uint64) []byte {
		return func(seq uint64) []byte { return requestBytes(raw(seq), "Raw", "Echo", "x", wire.KeyAuth, token) }
	}
	for _, o := range []offence{
		{name: "wrong", bytes: call(secret), code: status.Unauthenticated, mark: markUnexecuted},
		{name: "long", bytes: call(strings.Repeat("x", hostileLimits.MetadataBytes-100)), code: status.Unauthenticated, mark: markUnexecuted},
		{name: "makes the authenticator panic", bytes: call(secret + " panic"), code: status.Internal, mark: markUnexecuted},
		{name: "over the limit", bytes: call(strings.Repeat("x", hostileLimits.MetadataBytes)), code: status.ResourceExhausted, mark: markLimit},
		{name: "oneway", bytes: func(seq uint64) []byte {
			return requestBytes(wire.RequestHeader(seq, wire.SerializeRaw, true), "Raw", "Echo", "x", wire.KeyAuth, secret)
		}, silent: true, code: status.Unauthenticated},
	} {
		t.Run(o.name, func(t *testing.T) { v.forgiven(t, o) })
	}
	p := v.announced()
	defer func() { _ = p.Close() }()
	for _, token := range []string{secret, secret + " panic"} {
		p.send(call(token)(7))
		if f := p.response(); strings.Contains(string(f.Meta), secret) {
			t.Errorf("the answer has the token: %q", f.Meta)
		}
	}
	// A panic's value is in the log, and this one's is the token; no other line is to have it.
	v.log.clear()
	p.send(call(secret)(7))
	p.response()
	if v.log.has(secret) {
		t.Error("the log has the token")
	}
}

// Whoever knocks without speaking TLS, or our protocol inside it, is let go, and
// leaves nothing.
func TestHostileHandshakes(t *testing.T) {
	ca := newAuthority(t)
	v := newVictim(t, ServerTLS(serverTLS(ca)), AlsoPlaintext())
	bystander := v.announced()
	defer func() { _ = bystander.Close() }()
	v.holds(bystander, 1000)
	inside := func(b string) func(t *testing.T) net.Conn {
		return func(t *testing.T) net.Conn {
			nc := tls.Client(v.plain().Conn, callerTLS(ca))
			if err := nc.HandshakeContext(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := nc.Write([]byte(b)); err != nil {
				t.Fatal(err)
			}
			return nc
		}
	}
	outside := func(b string) func(t *testing.T) net.Conn {
		return func(*testing.T) net.Conn {
			p := v.plain()
			p.send([]byte(b))
			return p.Conn
		}
	}
	for name, knock := range map[string]func(t *testing.T) net.Conn{
		"no handshake":         outside("\x16\x03\x01\x00\x05hello"),
		"a record of 64 KiB":   outside("\x16\x03\x03\xff\xff" + strings.Repeat("x", 1000)),
		"HTTP inside TLS":      inside("GET / HTTP/1.1\r\n\r\n"),
		"a total of 0, inside": inside("\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00"),
		"nobody's protocol":    outside("\x00\x01\x02"),
	} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			wantNoGrowth(t, 30, func(int) {
				nc := knock(t)
				answer := make([]byte, 1024)
				for {
					n, err := nc.Read(answer)
					if n > 0 && answer[0] == wire.Magic {
						t.Fatalf("the answer is %q", answer[:n])
					}
					if err != nil {
						if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // as it came from the socket
							t.Fatal("the connection was not ended")
						}
						break
					}
				}
				_ = nc.Close()
			})
			bystander.echo(8)
		})
	}
	v.t = t
	v.letGo()
	bystander.wantAnswer(1000, status.OK, "")
}

// Pushes faster than they are taken: the queue is bounded, in number and bytes,
// and calls on the same connection are answered. §1
func TestHostilePushFloods(t *testing.T) {
	const flood = 200
	channel := make(chan *Push, 4)
	stuck := func(full PushPolicy) func() (ClientOption, func()) {
		return func() (ClientOption, func()) {
			end := make(chan struct{})
			return OnPush(func(context.Context, *Push) { <-end }, PushQueue{Size: 8, Full: full}), func() { close(end) }
		}
	}
	option := func(o ClientOption) func() (ClientOption, func()) {
		return func() (ClientOption, func()) { return o, func() {} }
	}
	for name, taker := range map[string]func() (ClientOption, func()){
		"channel that nobody reads":           option(PushTo(channel, PushDropNewest)),
		"stuck handler, the newest dropped":   stuck(PushDropNewest),
		"stuck handler, the oldest dropped":   stuck(PushDropOldest),
		"handler that panics":                 option(OnPush(func(context.Context, *Push) { panic("a push") }, PushQueue{})),
		"handler that decodes what cannot be": option(OnPush(func(_ context.Context, p *Push) { _ = p.Decode(new(mulArgs)) }, PushQueue{})),
	} {
		t.Run(name, func(t *testing.T) {
			s := newHostileCallee(t, func(f wire.Frame) []byte {
				h := wire.RequestHeader(0, wire.SerializeMsgPack, true).WithCompress(wire.CompressGzip)
				push := requestBytes(h, "News", "Item\n", strings.Repeat("x", 1000), "k", "v")
				return append([]byte(strings.Repeat(string(push), flood)), reply(f, wire.StatusNormal, "done")...)
			})
			take, end := taker()
			c, rt := s.client(take)
			defer end() // before the client is closed, which waits for its handler
			release := holdCall(t, c, func() *transport.ClientConn { return connOf(rt) })
			wantNoGrowth(t, 50, func(int) {
				if r, err := Call[[]byte](t.Context(), c, "Bad.Flood", nil); err != nil || string(*r) != "done" {
					t.Fatalf("a call behind pushes: %v", err)
				}
			})
			if err := release(); err != nil {
				t.Error(err)
			}
			if n := s.conns.Load(); n != 1 {
				t.Errorf("%d connections were made, want 1", n)
			}
		})
	}
}
