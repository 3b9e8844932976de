// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// somePEM is the certificate of an authority of that name.
func somePEM(t *testing.T, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// poolOf is what the pool of these certificates is.
func poolOf(pems ...string) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, p := range pems {
		pool.AppendCertsFromPEM([]byte(p))
	}
	return pool
}

func TestTrust(t *testing.T) {
	a, b, c := somePEM(t, "a"), somePEM(t, "b"), somePEM(t, "c")
	file, dir := filepath.Join(t.TempDir(), "ca.crt"), t.TempDir()
	mount := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	believes := func(what string, trust *Trust, pems ...string) {
		t.Helper()
		pool, err := trust.Pool()
		if err != nil || !pool.Equal(poolOf(pems...)) {
			t.Errorf("%s: believes something else: %v", what, err)
		}
	}
	trust := NewTrust(file, dir, logr.Discard())
	if _, err := trust.Pool(); !os.IsNotExist(err) || !trust.Digest().IsZero() {
		t.Errorf("without a file: %v", err)
	}
	mount("nonsense")
	if _, err := trust.Pool(); err == nil {
		t.Error("nonsense is believed")
	}
	mount(a)
	believes("mounted", trust, a)
	if trust.Digest() != BundleDigest([]byte(a)) {
		t.Error("the digest is another's")
	}
	if err := trust.take([]byte("nonsense")); err == nil {
		t.Error("nonsense is taken")
	}
	if err := trust.take([]byte(a + b)); err != nil {
		t.Fatal(err)
	}
	believes("sent", trust, a, b)
	if err := trust.take([]byte(b)); err != nil {
		t.Fatal(err)
	}
	trust.save()
	believes("sent later than mounted", trust, b)
	again := NewTrust(file, dir, logr.Discard())
	believes("kept", again, b)
	if again.Digest() != BundleDigest([]byte(b)) {
		t.Error("the digest of what was kept is another's")
	}
	mount(c) // another cluster, or later still
	believes("mounted anew", again, b, c)
	if err := again.take([]byte(c)); err != nil {
		t.Fatal(err)
	}
	believes("sent as mounted", again, c)
	believes("without the folder", NewTrust(file, "", logr.Discard()), c)

	name := filepath.Join(dir, trustFile)
	kept, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	kept[len(kept)-1] ^= 1
	if err := os.WriteFile(name, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	believes("damaged", NewTrust(file, dir, logr.Discard()), c)
}

func TestTrustIsPushedKeptAndAcked(t *testing.T) {
	dir := t.TempDir()
	a, b := somePEM(t, "a"), somePEM(t, "b")
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, []byte(a), 0o600); err != nil {
		t.Fatal(err)
	}
	bubble(t, Config{Trust: NewTrust(file, dir, logr.Discard())}, func(t *testing.T, f *fake, c *Client) {
		f.secure = true
		c.Watch(arith, policy.Caller, &notes{})
		synctest.Wait()
		if got := f.subs[0].Trust; got != BundleDigest([]byte(a)) {
			t.Errorf("subscribed with the digest %s", got)
		}
		f.push(&TrustFrame{Bundle: []byte(a + b)})
		f.pause(2 * ackInterval)
		if len(f.acks) != 1 || f.acks[0].Trust != BundleDigest([]byte(a+b)) || len(f.acks[0].Acks) != 0 {
			t.Errorf("acks %+v", f.acks)
		}
		f.push(&TrustFrame{Bundle: []byte("nonsense")})
		<-f.last().conn.Done() // what cannot be right ends the connection
	})
	pool, err := NewTrust(file, dir, logr.Discard()).Pool()
	if err != nil || !pool.Equal(poolOf(a, b)) {
		t.Errorf("not kept: %v", err)
	}
}
