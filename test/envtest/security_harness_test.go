// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"context"
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

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/fairlead/fairlead/controllers"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// advertised is what Pods are told; the tests dial where the operator listens.
const advertised = "127.0.0.1:1"

// secured makes an operator serve with TLS, and ask for tokens.
func secured(o *controllers.Options) {
	o.RegistryTLS, o.RegistryAdvertise = controllers.TLSManaged, []string{advertised}
}

// kube is the administrator's client of what is not ours.
func (c *cluster) kube(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.env.Config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// mount is the folder that a Pod has at /var/run/fairlead.
type mount struct {
	s   *space
	dir string
	pod *corev1.Pod
}

// mount makes a Pod, and the folder that it would have.
func (s *space) mount(name string) *mount {
	s.t.Helper()
	kube := s.c.kube(s.t)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	_, err := kube.CoreV1().ServiceAccounts(s.name).Create(s.t.Context(), account, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := kube.CoreV1().Pods(s.name).Create(s.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			ServiceAccountName: name, Containers: []corev1.Container{{Name: "app", Image: "none"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	m := &mount{s: s, dir: s.t.TempDir(), pod: p}
	m.write("namespace", s.name)
	m.write("pod-uid", string(p.UID))
	m.write("pod-name", p.Name)
	m.write("address", advertised)
	return m
}

// write replaces a file as the kubelet does: at once.
func (m *mount) write(name, content string) {
	m.s.t.Helper()
	temporary := filepath.Join(m.dir, ".new")
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		m.s.t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(m.dir, name)); err != nil {
		m.s.t.Fatal(err)
	}
}

// token asks for one that is bound to the Pod.
func (m *mount) token(audience string) string {
	m.s.t.Helper()
	seconds := int64(600)
	answer, err := m.s.c.kube(m.s.t).CoreV1().ServiceAccounts(m.s.name).CreateToken(m.s.t.Context(), m.pod.Spec.ServiceAccountName,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{audience}, ExpirationSeconds: &seconds,
			BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: m.pod.Name, UID: m.pod.UID},
		}}, metav1.CreateOptions{})
	if err != nil {
		m.s.t.Fatal(err)
	}
	return answer.Status.Token
}

// configMap waits for the ConfigMap of the namespace, and mounts it.
func (m *mount) configMap() string {
	m.s.t.Helper()
	bundle := ""
	eventually(m.s.t, func() error {
		found, err := m.s.c.kube(m.s.t).CoreV1().ConfigMaps(m.s.name).Get(m.s.t.Context(), "fairlead-registry", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if found.Data["address"] != advertised {
			return fmt.Errorf("address %q", found.Data["address"])
		}
		if bundle = found.Data["ca.crt"]; bundle == "" {
			return errors.New("no ca.crt")
		}
		return nil
	})
	m.write("ca.crt", bundle)
	return bundle
}

// client is a client of the registry, as rpcruntime.New makes it in such a Pod,
// which finds a replica at its address here.
func (m *mount) client(cacheDir, address string) *registry.Client {
	m.s.t.Helper()
	here := registry.Look(func(name string) string {
		switch name {
		case "FAIRLEAD_CONFIG_DIR":
			return m.dir
		case "FAIRLEAD_CACHE_DIR":
			return cacheDir
		default:
			return ""
		}
	})
	cfg := registry.Config{
		Identity: registry.Identity{Namespace: here.Namespace, PodUID: here.PodUID, Pod: here.Pod}, CacheDir: here.CacheDir,
	}
	here.Configure(&cfg, func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}, logr.Discard())
	c := registry.New(cfg)
	m.s.t.Cleanup(c.Close)
	return c
}

// altered signs the claims of a token anew, changed, with a key of the API
// server, or with another.
func (c *cluster) altered(t *testing.T, token string, change func(claims map[string]any), forge bool) string {
	t.Helper()
	return resign(t, filepath.Join(c.env.ControlPlane.GetAPIServer().CertDir, "sa-signer.key"), token, change, forge)
}

// foreignCA is the certificate of an authority that signs nothing of ours.
func foreignCA(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "foreign"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// expired makes claims those of a token of an hour ago.
func expired(claims map[string]any) {
	past := time.Now().Add(-time.Hour)
	claims["exp"], claims["nbf"], claims["iat"] = jwt.NewNumericDate(past), jwt.NewNumericDate(past.Add(-time.Hour)), jwt.NewNumericDate(past.Add(-time.Hour))
}
