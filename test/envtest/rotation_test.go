// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/fairlead/fairlead/controllers"
	"github.com/fairlead/fairlead/controllers/identity"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// shown gives the certificate that a replica shows to whoever believes a bundle.
func shown(bundle, address string) (*x509.Certificate, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(bundle))
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// TestRotation replaces the authority under clients whose mounted file stays as
// it was: the connections stand, and who was told by the stream comes in again.
func TestRotation(t *testing.T) {
	s := common.space(t)
	quick := func(o *controllers.Options) { o.CASettle, o.CertificateLifetime = 2*time.Second, 3*time.Second }
	first, second := common.run(t, secured, quick), common.run(t, secured, quick)
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)))
	m := s.mount("caller")
	old := m.configMap()
	m.write("token", m.token("fairlead"))
	caches := []string{t.TempDir(), t.TempDir()}
	var watching []*seen
	var clients []*registry.Client
	for i, replica := range []*replica{first, second} {
		clients = append(clients, m.client(caches[i], replica.address))
		watching = append(watching, watch(t, clients[i], s.full("cart")))
		wantEndpoints(t, watching[i], "0.2=ready")
	}
	before, err := shown(old, first.address)
	if err != nil {
		t.Fatal(err)
	}
	trouble := watching[0].bad() + watching[1].bad()

	steps := func() float64 {
		return first.value(t, "fairlead_registry_ca_steps_total", "forgotten") + second.value(t, "fairlead_registry_ca_steps_total", "forgotten")
	}
	earlier := steps()
	request := fmt.Sprintf(`{"metadata":{"annotations":{"rpc.fairlead.dev/rotate":%q}}}`, time.Now().String())
	_, err = common.kube(t).CoreV1().Secrets("fairlead-system").Patch(t.Context(), "fairlead-registry-ca", "application/merge-patch+json", []byte(request), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	within(t, time.Minute, func() error {
		if steps() <= earlier {
			return errors.New("the old authority is not forgotten yet")
		}
		return nil
	})
	next := ""
	eventually(t, func() error {
		if next = m.s.authorities(); next == old {
			return errors.New("the ConfigMap is the old one")
		}
		for _, r := range []*replica{first, second} {
			if _, err := shown(next, r.address); err != nil {
				return err
			}
			if _, err := shown(old, r.address); err == nil {
				return errors.New("the old authority still signs")
			}
		}
		return nil
	})
	after, err := shown(next, first.address)
	if err != nil || after.SerialNumber.Cmp(before.SerialNumber) == 0 {
		t.Errorf("the certificate was not renewed: %v", err)
	}
	if n := watching[0].bad() + watching[1].bad(); n != trouble || !clients[0].Status().Connected || !clients[1].Status().Connected {
		t.Errorf("clients were cut off: %v %v", watching[0].trouble, watching[1].trouble)
	}

	mounted, err := os.ReadFile(filepath.Join(m.dir, "ca.crt"))
	if err != nil || string(mounted) != old {
		t.Fatalf("the mounted file has changed: %v", err)
	}
	// What a client does that starts again, and finds the old file.
	for _, c := range clients {
		c.Close()
	}
	wantEndpoints(t, watch(t, m.client(caches[0], second.address), s.full("cart")), "0.2=ready")
	wantTrouble(t, watch(t, m.client("", second.address), s.full("cart")), status.Unavailable, "not trusted")
}

// authorities gives the authorities that the ConfigMap of the namespace has now.
func (s *space) authorities() string {
	s.t.Helper()
	found, err := s.c.kube(s.t).CoreV1().ConfigMaps(s.name).Get(s.t.Context(), "fairlead-registry", metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return found.Data["ca.crt"]
}

// TestSecuredWithoutAPIServer takes the API server away: certificates are renewed
// and tokens are judged as before.
func TestSecuredWithoutAPIServer(t *testing.T) {
	c := ownCluster(t, func(e *envtest.Environment) {
		e.ControlPlane.GetAPIServer().Configure().Append("request-timeout", "3s")
		e.ControlPlane.GetAPIServer().CertDir = t.TempDir()
	})
	s := c.space(t)
	operator := c.run(t, secured, func(o *controllers.Options) { o.CertificateLifetime = 3 * time.Second })
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)))
	m := s.mount("caller")
	bundle := m.configMap()
	good := m.token("fairlead")
	m.write("token", good)
	connected := m.client("", operator.address)
	got := watch(t, connected, s.full("cart"))
	wantEndpoints(t, got, "0.2=ready")
	trouble := got.bad()
	if err := c.env.ControlPlane.APIServer.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if operator.value(t, "fairlead_lease_held") != 0 {
			return errors.New("still holds the Lease")
		}
		return nil
	})
	before, err := shown(bundle, operator.address)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		after, err := shown(bundle, operator.address)
		if err != nil || after.SerialNumber.Cmp(before.SerialNumber) != 0 {
			return err
		}
		return errors.New("the certificate is still the old one")
	})
	wantEndpoints(t, watch(t, m.client("", operator.address), s.full("cart")), "0.2=ready")
	m.write("token", c.altered(t, good, expired, false))
	wantTrouble(t, watch(t, m.client("", operator.address), s.full("cart")), status.Unauthenticated, identity.ReasonExpired)
	if got.bad() != trouble || !connected.Status().Connected {
		t.Errorf("a client was cut off: %v", got.trouble)
	}
}
