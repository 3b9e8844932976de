// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
)

// put writes what cert-manager would.
func put(t *testing.T, dir string, a *Authority, ca []byte, hosts ...string) {
	t.Helper()
	leaf, err := a.issue(time.Now(), time.Hour, hosts)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalECPrivateKey(leaf.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"tls.crt": certPEM(leaf.Leaf), "tls.key": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key}), "ca.crt": ca,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func authority(t *testing.T) *Authority {
	t.Helper()
	a, err := newAuthority(time.Now(), oneDay)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestFiles(t *testing.T) {
	dir, first, second := t.TempDir(), authority(t), authority(t)
	changes := 0
	fresh := func() (*Files, error) {
		return NewFiles(dir, "registry", func() { changes++ }, prometheus.NewRegistry(), logr.Discard())
	}
	if _, err := fresh(); err == nil {
		t.Error("an empty folder will do")
	}
	put(t, dir, first, certPEM(first.Cert), "another")
	if _, err := fresh(); err == nil || !strings.Contains(err.Error(), "registry") {
		t.Errorf("a certificate for another host: %v", err)
	}
	put(t, dir, first, certPEM(second.Cert), "registry")
	if _, err := fresh(); err == nil || !strings.Contains(err.Error(), "ca.crt") {
		t.Errorf("another's ca.crt: %v", err)
	}
	put(t, dir, first, certPEM(first.Cert), "registry")
	f, err := fresh()
	if err != nil {
		t.Fatal(err)
	}
	shown := func() []byte {
		c, err := f.Shown().ServerTLS().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Certificate[0]
	}
	if err := f.read(); err != nil || changes != 1 {
		t.Errorf("%d changes without any: %v", changes, err)
	}
	before := shown()
	put(t, dir, second, certPEM(first.Cert), "registry") // half of a change
	if err := f.read(); err == nil || !bytes.Equal(shown(), before) {
		t.Errorf("what clients would not take is shown: %v", err)
	}
	put(t, dir, second, certPEM(first.Cert, second.Cert), "registry")
	if err := f.read(); err != nil || bytes.Equal(shown(), before) || changes != 2 {
		t.Errorf("the new certificate is not shown, after %d changes: %v", changes, err)
	}
	if got := f.Shown().Bundle(); !bytes.Equal(got, certPEM(first.Cert, second.Cert)) {
		t.Errorf("bundle %s", got)
	}
}
