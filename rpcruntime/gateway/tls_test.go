// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// selfSigned is a certificate for 127.0.0.1 and a pool that trusts it.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "gateway"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// docs/wire-protocol.md §13: inside TLS everything is the same, and handlers can
// ask for the state of the connection.
func TestTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	p := serve(t, Options{}, func(srv *rpcruntime.Server) {
		rpcruntime.Handle(srv, "Who.Am", func(ctx context.Context, _ *mulArgs) (*bool, error) {
			peer, _ := rpcruntime.PeerOf(ctx)
			if peer.TLS == nil {
				return nil, status.New(status.Internal, "no TLS")
			}
			return &peer.TLS.HandshakeComplete, nil
		})
	}, rpcruntime.ServerTLS(&tls.Config{Certificates: []tls.Certificate{cert}}))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+p.addr+"/", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range header(call("Who.Am")) {
			req.Header[name] = values
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || string(b) != "true" || resp.ProtoMajor != 1 {
			t.Errorf("%s: %q, %v", resp.Status, b, err)
		}
	}
}
