// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// doorkeeper lets in those whose token is "good", under the name that follows.
func doorkeeper(_ context.Context, req *AuthRequest) (string, error) {
	if req.Method == "Raw.Open" {
		return "", nil
	}
	switch kind, name, _ := strings.Cut(req.Token, ":"); kind {
	case "good":
		return name, nil
	case "poor":
		return "", status.New(status.PermissionDenied, "not for you").WithDetails([]byte("why"))
	case "panic":
		panic("oh")
	case "long":
		return "", errors.New(strings.Repeat("x", 1<<20))
	default:
		return "", errors.New("who are you")
	}
}

// docs/wire-protocol.md §5
func TestAuthentication(t *testing.T) {
	rec := new(recorder)
	var ran atomic.Int32
	peers := make(chan Peer, 100)
	addr, srv := serveWith(t, newRuntime(t, WithObserver(rec)), func(s *Server) {
		for _, name := range []string{"Raw.Open", "Raw.Echo"} {
			HandleRaw(s, name, func(ctx context.Context, b []byte) ([]byte, error) {
				ran.Add(1)
				peer, _ := PeerOf(ctx)
				peers <- peer
				return b, nil
			})
		}
	}, Authenticate(doorkeeper))
	p := dialRaw(t, addr)
	announcement := wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, Features: []string{wire.FeatureDrain}, Caller: "shop/web"})
	p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, false), "Raw", "Open", "", wire.KeyAnnounce, string(announcement)))
	for f := p.frame(); f.Seq != 1 || !f.Response(); f = p.frame() {
	}
	if peer := <-peers; peer.Name != "shop/web" || peer.Source != PeerDeclared {
		t.Errorf("without a name of the authenticator's: %+v", peer)
	}
	ran.Store(0)
	call := func(seq uint64, method, token string) wire.Frame {
		t.Helper()
		p.send(requestBytes(wire.RequestHeader(seq, wire.SerializeRaw, false), "Raw", method, "x", wire.KeyAuth, token))
		for {
			if f := p.frame(); f.Response() && f.Seq == seq {
				return f
			}
		}
	}
	for i, tc := range []struct {
		token, code, text, details string
	}{
		{"bad", "16", "authentication failed: who are you", ""},
		{"", "16", "authentication failed: who are you", ""},
		{"poor", "7", "not for you", "why"},
		{"panic", "13", "the authenticator panicked; its server's log says more", ""},
	} {
		f := call(uint64(i+10), "Echo", tc.token)
		code, _ := f.Meta.Get(wire.KeyCode)
		text, _ := f.Meta.Get(wire.KeyError)
		mark, _ := f.Meta.Get(wire.KeyRetry)
		details, _ := f.Meta.Get(wire.KeyDetails)
		if string(code) != tc.code || string(text) != tc.text || string(mark) != "unexecuted" || string(details) != tc.details {
			t.Errorf("token %q: code %s, text %q, mark %q, details %q", tc.token, code, text, mark, details)
		}
	}
	if text, _ := call(20, "Echo", "long").Meta.Get(wire.KeyError); len(text) > maxErrorText+10 {
		t.Errorf("a text of %d bytes", len(text))
	}
	// Who may not come in does not learn what is inside.
	if code, _ := call(21, "Nope", "bad").Meta.Get(wire.KeyCode); string(code) != "16" {
		t.Errorf("an unknown method says %s", code)
	}
	if ran.Load() != 0 {
		t.Error("a handler ran")
	}
	rec.mu.Lock()
	for _, e := range rec.refused {
		if e.Reason != reasonAuth {
			t.Errorf("refused for %q", e.Reason)
		}
	}
	if len(rec.refused) != 6 || len(rec.served) != 1 {
		t.Errorf("%d refused, %d served", len(rec.refused), len(rec.served))
	}
	rec.mu.Unlock()
	if f := call(30, "Echo", "good:team/app"); f.Status() != wire.StatusNormal {
		t.Error("the connection is not what it was")
	}
	if peer := <-peers; peer.Name != "team/app" || peer.Source != PeerToken || peer.Addr == "" {
		t.Errorf("peer %+v", peer)
	}
	// The next call of the connection is somebody else's.
	call(31, "Open", "")
	if peer := <-peers; peer.Name != "shop/web" || peer.Source != PeerDeclared {
		t.Errorf("the name of one call stuck to the connection: %+v", peer)
	}

	r := srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Echo", Token: "bad"})
	wantFate(t, r.Err, status.Unauthenticated, status.FateUnexecuted)
	if r = srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Echo", Token: "good:team/web"}); r.Err != nil {
		t.Error(r.Err)
	}
	if peer := <-peers; peer.Name != "team/web" {
		t.Errorf("peer %+v", peer)
	}
}

// docs/wire-protocol.md §1, §6
func TestAuthenticationLeavesNoTraceOfOnewayCalls(t *testing.T) {
	var asked atomic.Int32
	addr, _ := serveWith(t, newRuntime(t), echoServer, Authenticate(func(context.Context, *AuthRequest) (string, error) {
		if asked.Add(1) == 1 {
			return "", errors.New("no")
		}
		return "", nil
	}))
	p := dialRaw(t, addr)
	p.send(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, true), "Raw", "Echo", ""))
	p.send(requestBytes(wire.HeartbeatHeader(2), "", "", "beat"))
	if f := p.frame(); !f.Heartbeat() || f.Seq != 2 {
		t.Errorf("got an answer to %d", f.Seq)
	}
	p.echoes("x")
	if n := asked.Load(); n != 2 {
		t.Errorf("asked %d times; heartbeats are no calls", n)
	}
}

// A name that a token proves is the one that limits go by.
func TestAuthenticationComesBeforeLimits(t *testing.T) {
	h := newHolding()
	addr, srv := serveWith(t, newRuntime(t), func(s *Server) { HandleRaw(s, "Raw.Hold", h.ignore) }, Authenticate(doorkeeper), MaxConcurrentCalls(1))
	serving(t, srv)
	held := do(t.Context(), srv, &ForeignCall{Path: "Raw", Method: "Hold", Token: "good:a"})
	receive(t, h.began, "the call")
	p := dialRaw(t, addr)
	p.send(requestBytes(wire.RequestHeader(1, wire.Serialize(codec.TypeRaw), false), "Raw", "Hold", "", wire.KeyAuth, "bad"))
	if text, _ := p.frame().Meta.Get(wire.KeyError); !strings.HasPrefix(string(text), "authentication failed") {
		t.Errorf("a full server tells strangers %q", text)
	}
	close(h.letGo)
	receive(t, held, "the reply")
}
