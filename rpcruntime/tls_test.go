// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bufio"
	"context"
	"crypto/tls"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"
)

func serverTLS(a *authority) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.issue("127.0.0.1")}, MinVersion: tls.VersionTLS12}
}

// callerTLS has certificates of these names.
func callerTLS(a *authority, names ...string) *tls.Config {
	cfg := &tls.Config{RootCAs: a.pool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	for _, name := range names {
		cfg.Certificates = append(cfg.Certificates, a.issue(name))
	}
	return cfg
}

// dialTLS makes a handshake with the server.
func dialTLS(t testing.TB, addr string, cfg *tls.Config) rawPeer {
	t.Helper()
	p := dialRaw(t, addr)
	tc := tls.Client(p.Conn, cfg)
	if err := tc.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return rawPeer{t, tc}
}

// logged collects lines of a log.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) has(texts ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		found := true
		for _, text := range texts {
			found = found && strings.Contains(line, text)
		}
		if found {
			return true
		}
	}
	return false
}

func (l *logged) at(verbosity int) RuntimeOption {
	return WithLogger(funcr.New(func(prefix, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, prefix+" "+args)
	}, funcr.Options{Verbosity: verbosity}))
}

// peerServer tells whom it was called by.
func peerServer(peers chan Peer) func(*Server) {
	return func(s *Server) {
		HandleRaw(s, "Raw.Echo", func(ctx context.Context, b []byte) ([]byte, error) {
			peer, _ := PeerOf(ctx)
			peers <- peer
			return b, nil
		})
	}
}

// docs/wire-protocol.md §11
func TestServerTLS(t *testing.T) {
	ca, peers, rec, log := newAuthority(t), make(chan Peer, 10), new(recorder), new(logged)
	cfg := serverTLS(ca)
	cfg.MinVersion = 0 // TLS 1.2, and not what the library makes of it
	addr, srv := serveWith(t, newRuntime(t, WithObserver(rec), log.at(1)), peerServer(peers), ServerTLS(cfg))
	secure := dialTLS(t, addr, callerTLS(ca))
	secure.echoes("one")
	if peer := <-peers; peer.TLS == nil || !peer.TLS.HandshakeComplete || len(peer.TLS.PeerCertificates) != 0 {
		t.Errorf("TLS is %+v", peer.TLS)
	}
	// Neither our protocol nor another one is taken in the clear.
	for i, plain := range []string{"\x08", "GET / HTTP/1.1\r\n\r\n"} {
		p := dialRaw(t, addr)
		p.send([]byte(plain))
		if _, err := p.bytes(); err == nil {
			t.Errorf("%q was answered", plain)
		}
		until(t, "a refusal is counted", func() bool { return rec.refusals(reasonProtocol) == i+1 })
	}
	if !log.has("connection refused", "takes TLS only") {
		t.Error("the log does not say why")
	}
	old := callerTLS(ca)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if err := tls.Client(dialRaw(t, addr).Conn, old).HandshakeContext(t.Context()); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	until(t, "a refusal is counted", func() bool { return rec.refusals(reasonTLS) == 1 })
	secure.echoes("two")
	if err := srv.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	secure.wantEOF()
}

func TestMutualTLS(t *testing.T) {
	ca, peers, rec := newAuthority(t), make(chan Peer, 10), new(recorder)
	cfg := serverTLS(ca)
	cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, ca.pool()
	named := func(_ context.Context, req *AuthRequest) (string, error) {
		return req.Peer.TLS.PeerCertificates[0].Subject.CommonName, nil
	}
	addr, _ := serveWith(t, newRuntime(t, WithObserver(rec)), peerServer(peers), ServerTLS(cfg), Authenticate(named))
	cfg.ClientAuth = tls.NoClientCert // the server has a copy
	dialTLS(t, addr, callerTLS(ca, "web.shop")).echoes("x")
	peer := <-peers
	if peer.TLS == nil || len(peer.TLS.PeerCertificates) != 1 || peer.Name != "web.shop" || peer.Source != PeerToken {
		t.Errorf("peer %+v", peer)
	}
	for name, cfg := range map[string]*tls.Config{"no certificate": callerTLS(ca), "a stranger's": {RootCAs: ca.pool(), ServerName: "127.0.0.1", Certificates: []tls.Certificate{newAuthority(t).issue("web.shop")}}} {
		before := rec.refusals(reasonTLS)
		p := dialRaw(t, addr)
		tc := rawPeer{t, tls.Client(p.Conn, cfg)}
		_, _ = tc.Write([]byte("\x08")) // a client learns of its refusal when it reads
		if _, err := tc.bytes(); err == nil {
			t.Errorf("%s: answered", name)
		}
		until(t, "a refusal is counted", func() bool { return rec.refusals(reasonTLS) == before+1 })
	}
}

func TestPlaintextBesideTLS(t *testing.T) {
	ca, peers, other := newAuthority(t), make(chan Peer, 10), newLines()
	addr, srv := serveWith(t, newRuntime(t), peerServer(peers), ServerTLS(serverTLS(ca)), AlsoPlaintext(), WithProtocol(other))
	dialRaw(t, addr).echoes("plain")
	if peer := <-peers; peer.TLS != nil {
		t.Error("a plain connection has TLS")
	}
	dialTLS(t, addr, callerTLS(ca)).echoes("secure")
	if peer := <-peers; peer.TLS == nil {
		t.Error("a connection with TLS has none")
	}
	for _, p := range []rawPeer{dialRaw(t, addr), dialTLS(t, addr, callerTLS(ca))} {
		in := bufio.NewReader(p)
		line(t, p, in, "Lone\n")
		<-peers
		line(t, p, in, "Ltwo\n")
		<-peers
	}
	receive(t, other.accepted, "the plain one")
	secure, ok := receive(t, other.accepted, "the other").(interface{ ConnectionState() tls.ConnectionState })
	if !ok || !secure.ConnectionState().HandshakeComplete {
		t.Error("the protocol cannot see the TLS of its connection")
	}
	if err := srv.Drain(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTLSOptionsThatCannotBeMeant(t *testing.T) {
	for name, opts := range map[string][]ServerOption{
		"no configuration":      {ServerTLS(nil)},
		"no certificate":        {ServerTLS(new(tls.Config))},
		"plaintext without TLS": {AlsoPlaintext()},
	} {
		srv := newRuntime(t).NewServer(opts...)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := srv.Serve(ctx, listen(t, "")); err == nil || ctx.Err() != nil {
			t.Errorf("%s: Serve returned %v", name, err)
		}
		cancel()
	}
}
