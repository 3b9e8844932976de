// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead/fairlead/controllers"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// issuer is an authority that somebody else keeps, as cert-manager does.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T, name string) *issuer {
	t.Helper()
	i := &issuer{t: t, key: newKey(t)}
	i.cert = i.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, i.key)
	return i
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign signs a certificate for a key; parent nil means that it signs itself.
func (i *issuer) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	i.t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	if err != nil {
		i.t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = serial, time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), i.key)
	if err != nil {
		i.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	return cert
}

func (i *issuer) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw}))
}

// lay replaces a folder's content as the kubelet does with a Secret: by another
// folder, at once.
func (i *issuer) lay(dir, ca string) *x509.Certificate {
	i.t.Helper()
	key := newKey(i.t)
	leaf := i.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "registry"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, i.cert, key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		i.t.Fatal(err)
	}
	data := fmt.Sprintf("..%d", time.Now().UnixNano())
	if err := os.Mkdir(filepath.Join(dir, data), 0o700); err != nil {
		i.t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "ca.crt": []byte(ca),
	} {
		if err := os.WriteFile(filepath.Join(dir, data, name), content, 0o600); err != nil {
			i.t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			i.t.Fatal(err)
		}
	}
	temporary := filepath.Join(dir, "..data_tmp")
	if err := errors.Join(os.Symlink(data, temporary), os.Rename(temporary, filepath.Join(dir, "..data"))); err != nil {
		i.t.Fatal(err)
	}
	return leaf
}

// wantShown waits until a replica shows a certificate to whoever believes ca.
func wantShown(t *testing.T, ca, address string, want *x509.Certificate) {
	t.Helper()
	within(t, time.Minute, func() error {
		got, err := shown(ca, address)
		if err == nil && !bytes.Equal(got.Raw, want.Raw) {
			err = fmt.Errorf("the certificate is that of number %s, want %s", got.SerialNumber, want.SerialNumber)
		}
		return err
	})
}

// TestFilesRotate has certificates in a folder, and another authority in the end,
// under clients that stay connected.
func TestFilesRotate(t *testing.T) {
	s := common.space(t)
	dir, first, second := t.TempDir(), newIssuer(t, "first"), newIssuer(t, "second")
	leaf := first.lay(dir, first.pem())
	operator := common.run(t, func(o *controllers.Options) {
		o.RegistryTLS, o.RegistryCertDir, o.RegistryAdvertise = controllers.TLSFiles, dir, []string{advertised}
	})
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)))
	m := s.mount("caller")
	if bundle := m.configMap(); bundle != first.pem() {
		t.Fatalf("the ConfigMap has another authority than the folder: %s", bundle)
	}
	m.write("token", m.token("fairlead"))
	cache := t.TempDir()
	c := m.client(cache, operator.address)
	got := watch(t, c, s.full("cart"))
	wantEndpoints(t, got, "0.2=ready")
	wantShown(t, first.pem(), operator.address, leaf)
	trouble := got.bad()

	renewed := first.lay(dir, first.pem())
	wantShown(t, first.pem(), operator.address, renewed)

	// What clients could not accept is not taken, and counted.
	failed := operator.value(t, "fairlead_registry_certificate_failures_total")
	second.lay(dir, first.pem())
	within(t, time.Minute, func() error {
		if operator.value(t, "fairlead_registry_certificate_failures_total") <= failed {
			return errors.New("no failure is counted")
		}
		return nil
	})
	wantShown(t, first.pem(), operator.address, renewed)

	// The authority is replaced: it is believed first, and signs then.
	both := first.pem() + second.pem()
	announced := first.lay(dir, both)
	wantShown(t, first.pem(), operator.address, announced)
	eventually(t, func() error {
		if bundle := s.authorities(); bundle != both {
			return fmt.Errorf("the ConfigMap has not both authorities: %s", bundle)
		}
		return nil
	})
	switched := second.lay(dir, second.pem())
	wantShown(t, second.pem(), operator.address, switched)
	if got.bad() != trouble || !c.Status().Connected {
		t.Errorf("the client was cut off: %v", got.trouble)
	}

	// A client that was connected meanwhile comes in again with the old file; one
	// that was not is told what is wrong.
	c.Close()
	if mounted, err := os.ReadFile(filepath.Join(m.dir, "ca.crt")); err != nil || string(mounted) != first.pem() {
		t.Fatalf("the mounted file has changed: %v", err)
	}
	again := m.client(cache, operator.address)
	wantEndpoints(t, watch(t, again, s.full("cart")), "0.2=ready") // which its cache knows, too
	eventually(t, func() error {
		if is := again.Status(); !is.Connected {
			return fmt.Errorf("not connected: %w", is.Err)
		}
		return nil
	})
	wantTrouble(t, watch(t, m.client("", operator.address), s.full("cart")), status.Unavailable, "not trusted")
}

// TestMountWithoutNamespace has a mount that was written by hand and lacks the
// file namespace: the token says it.
func TestMountWithoutNamespace(t *testing.T) {
	s := common.space(t)
	operator := common.run(t, secured)
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)))
	m := s.mount("caller")
	m.configMap()
	m.write("token", m.token("fairlead"))
	if err := os.Remove(filepath.Join(m.dir, "namespace")); err != nil {
		t.Fatal(err)
	}
	c := m.client("", operator.address)
	wantEndpoints(t, watch(t, c, s.full("cart")), "0.2=ready")
	if here := registry.Look(func(name string) string {
		return map[string]string{"FAIRLEAD_CONFIG_DIR": m.dir}[name]
	}); here.Namespace != s.name {
		t.Errorf("the process takes itself to be of %q, its Pod is of %q", here.Namespace, s.name)
	}
}
