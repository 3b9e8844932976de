// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// secretOf is the Secret with a material, of a revision.
func secretOf(t *testing.T, m *Material, revision string) *corev1.Secret {
	t.Helper()
	laid, err := m.lay("ns", "name")
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: revision, Annotations: laid.Annotations}, Data: laid.Data}
}

// TestFollower has a replica that does not hold the Lease.
func TestFollower(t *testing.T) {
	now, changes := start, 0
	m, err := NewManaged(Config{
		Hosts: []string{"registry"}, May: func() bool { return false }, Changed: func() { changes++ }, Metrics: prometheus.NewRegistry(),
		Now: func() time.Time { return now }, Leaf: 24 * time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	serial := func() *x509.Certificate {
		t.Helper()
		c, err := m.Shown().ServerTLS().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	m.step(t.Context())
	if _, err := m.Shown().ServerTLS().GetCertificate(nil); err == nil || m.Shown().Bundle() != nil {
		t.Error("there is a certificate out of nothing")
	}
	h := &history{t: t, c: circumstances{now: start}}
	h.decide(0, stepMade)
	first := h.m
	k := (*keeper)(m)
	k.Set(secretOf(t, first, "9"))
	m.step(t.Context())
	before := serial()
	if !bytes.Equal(m.Shown().Bundle(), first.Bundle()) || changes != 1 || before.CheckSignatureFrom(first.Current.Cert) != nil {
		t.Fatalf("after %d changes: %v", changes, before.Issuer)
	}
	m.step(t.Context())
	if serial() != before || changes != 1 {
		t.Error("a certificate without need")
	}
	now = now.Add(8 * time.Hour) // a third of its life
	m.step(t.Context())
	renewed := serial()
	if renewed == before || changes != 2 {
		t.Error("the certificate was not renewed")
	}

	h.c.asked = "please"
	h.decide(time.Second, stepAnnounce)
	k.Set(secretOf(t, h.m, "10"))
	m.step(t.Context())
	if serial() != renewed || !bytes.Equal(m.Shown().Bundle(), h.m.Bundle()) || changes != 3 {
		t.Error("an authority that is announced is not believed, or signs")
	}
	h.decide(time.Hour+365*24*time.Hour, stepSwitch)
	k.Set(secretOf(t, h.m, "11"))
	m.step(t.Context())
	if serial().CheckSignatureFrom(h.m.Current.Cert) != nil || changes != 4 {
		t.Error("the new authority does not sign")
	}
	switched := serial()
	broken := secretOf(t, first, "12")
	broken.Data[keyKey] = []byte("nonsense")
	k.Set(broken)
	m.step(t.Context())
	m.written = "20" // by us; the watch is behind
	k.Set(secretOf(t, first, "13"))
	m.step(t.Context())
	k.Delete(nil)
	m.step(t.Context())
	if serial() != switched || changes != 4 {
		t.Error("what is broken, old or gone was followed")
	}
}
