// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

// sign makes a certificate; the authority's own before it has one.
func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Now().AddDate(10, 0, 0)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// issue makes a certificate for a host: a name or an IP address.
func (a *authority) issue(host string) tls.Certificate {
	a.t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		c.IPAddresses = []net.IP{ip}
	} else {
		c.DNSNames = []string{host}
	}
	cert, key := a.sign(c)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// serveTLS runs a server of Raw.Echo on a TLS listener.
func serveTLS(t testing.TB, cfg *tls.Config) (addr string, ln *cutListener) {
	t.Helper()
	srv := newRuntime(t).NewServer()
	rawEcho(srv)
	ln = listen(t, "")
	start(t, srv, tls.NewListener(ln, cfg))
	return ln.Addr().String(), ln
}

// docs/wire-protocol.md §13
func TestTLSCalls(t *testing.T) {
	ca := newAuthority(t)
	byIP, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("127.0.0.1")}})
	byName, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("shop.test")}})
	mutual, _ := serveTLS(t, &tls.Config{
		Certificates: []tls.Certificate{ca.issue("127.0.0.1")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	})
	for name, tc := range map[string]struct {
		addr string
		cfg  *tls.Config
	}{
		"the host is the address's":   {byIP, &tls.Config{RootCAs: ca.pool()}},
		"a name of one's own":         {byName, &tls.Config{RootCAs: ca.pool(), ServerName: "shop.test"}},
		"mutual":                      {mutual, &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.issue("caller")}}},
		"a large argument by TLS 1.2": {byIP, &tls.Config{RootCAs: ca.pool(), MaxVersion: tls.VersionTLS12}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newRuntime(t).NewClient("test", Endpoints(tc.addr), WithTLS(tc.cfg))
			arg := make([]byte, 1<<20)
			got, err := Call[[]byte](t.Context(), c, "Raw.Echo", arg)
			if err != nil || len(*got) != len(arg) {
				t.Fatal(err)
			}
			if tc.cfg.ServerName == "" && c.opts.secure.cfg.ServerName != "" {
				t.Error("the user's configuration was changed")
			}
		})
	}
}

func TestTLSThatCannotBe(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	fine, ln := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("127.0.0.1")}})
	wrongName, _ := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("elsewhere.test")}})
	plain, _ := serveWith(t, newRuntime(t), rawEcho)
	chatty := listen(t, "")
	go func() {
		for {
			nc, err := chatty.Accept()
			if err != nil {
				return
			}
			_, _ = nc.Write([]byte("220 mail.test ESMTP\r\n"))
		}
	}()
	t.Cleanup(func() { _ = chatty.Close(); chatty.cut() })
	for name, tc := range map[string]struct {
		addr string
		cfg  *tls.Config
		text string
	}{
		"another authority":           {fine, &tls.Config{RootCAs: other.pool()}, "is not trusted"},
		"the system's authorities":    {fine, nil, "is not trusted"},
		"another name":                {wrongName, &tls.Config{RootCAs: ca.pool()}, "is not trusted"},
		"a plaintext server":          {plain, &tls.Config{RootCAs: ca.pool()}, "does not speak TLS"},
		"something else that answers": {chatty.Addr().String(), &tls.Config{RootCAs: ca.pool()}, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newRuntime(t).NewClient("test", Endpoints(tc.addr), WithTLS(tc.cfg))
			_, err := Call[[]byte](t.Context(), c, "Raw.Echo", []byte("x"))
			e := wantFate(t, err, status.Unavailable, status.FateUnexecuted)
			if !strings.Contains(e.Message(), tc.text) || !strings.Contains(e.Message(), tc.addr) {
				t.Errorf("the error does not say what is wrong: %s", e.Message())
			}
		})
	}
	if ln.count() == 0 {
		t.Error("nobody connected: the test shows nothing")
	}
}

// A server that wants a certificate says so when, by TLS 1.3, the handshake is
// over for the caller and its request has left.
func TestTLSRefusedCertificateIsUnexecuted(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		addr, _ := serveTLS(t, &tls.Config{
			Certificates: []tls.Certificate{ca.issue("127.0.0.1")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
			MinVersion: version, MaxVersion: version,
		})
		for name, certs := range map[string][]tls.Certificate{"none": nil, "a stranger's": {other.issue("caller")}} {
			c := newRuntime(t).NewClient("test", Endpoints(addr), WithTLS(&tls.Config{RootCAs: ca.pool(), Certificates: certs}))
			_, err := Call[[]byte](t.Context(), c, "Raw.Echo", []byte("x"))
			e := wantFate(t, err, status.Unavailable, status.FateUnexecuted)
			want := "does not accept this side's certificate"
			if version == tls.VersionTLS12 && certs == nil { // the alert does not say what about
				want = "handshake failure"
			}
			if !strings.Contains(e.Message(), want) {
				t.Errorf("%s, %s: %s", tls.VersionName(version), name, e.Message())
			}
		}
	}
}

// A peer that accepts and says nothing costs no more than the time for a dial.
func TestTLSHandshakeEndsWithTheDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var theirs net.Conn
		rt, err := New(WithoutRegistry(), WithDialer(func(context.Context, string) (net.Conn, error) {
			ours, other := net.Pipe()
			theirs = other
			go func() {
				buf := make([]byte, 1024)
				for err := error(nil); err == nil; {
					_, err = other.Read(buf)
				}
			}()
			return ours, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := rt.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		c := rt.NewClient("test", Endpoints("host:1"), WithTLS(nil))
		began := time.Now()
		_, err = Call[[]byte](t.Context(), c, "Raw.Echo", []byte("x"))
		wantFate(t, err, status.Unavailable, status.FateUnexecuted)
		if took := time.Since(began); took < dialTimeout || took > 2*dialTimeout+time.Second {
			t.Errorf("it took %s", took)
		}
		_ = theirs.Close()
	})
}

func TestClientsShareConnectionsByTheirTLS(t *testing.T) {
	ca := newAuthority(t)
	addr, ln := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue("127.0.0.1")}})
	rt := newRuntime(t)
	one, two := &tls.Config{RootCAs: ca.pool()}, &tls.Config{RootCAs: ca.pool()}
	for i, cfg := range []*tls.Config{one, one, two, two} {
		c := rt.NewClient("test", Endpoints(addr), WithTLS(cfg))
		if _, err := Call[[]byte](t.Context(), c, "Raw.Echo", []byte("x")); err != nil {
			t.Fatal(err)
		}
		if want := 1 + i/2; ln.count() != want {
			t.Errorf("client %d: %d connections, want %d", i, ln.count(), want)
		}
	}
	plain := rt.NewClient("test", Endpoints(addr))
	if err := CallInto(t.Context(), plain, "Raw.Echo", []byte("x"), nil); err == nil {
		t.Error("a client without TLS was served over a connection with it")
	}
}
