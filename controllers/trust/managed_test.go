// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"bytes"
	"context"
	"crypto/x509"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
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

// secrets is an API server that takes every Secret; the rest of it is nil.
type secrets struct {
	corev1client.CoreV1Interface
	corev1client.SecretInterface
	applied []time.Time
}

func (s *secrets) Secrets(string) corev1client.SecretInterface { return s }

func (s *secrets) Apply(context.Context, *applycorev1.SecretApplyConfiguration, metav1.ApplyOptions) (*corev1.Secret, error) {
	s.applied = append(s.applied, time.Now())
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7"}}, nil
}

// TestFirstInstallIsQuick: it is heard that there is no Secret before this replica
// may decide, and nobody is ready until there is one.
func TestFirstInstallIsQuick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &secrets{}
		var held atomic.Bool
		var looked atomic.Int64
		m, err := NewManaged(Config{
			Client: api, Namespace: "ns", Secret: "name", Hosts: []string{"registry"}, Metrics: prometheus.NewRegistry(),
			May: func() bool { looked.Add(1); return held.Load() },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { m.run(ctx) })
		defer running.Wait()
		defer stop()
		(*keeper)(m).Replace(nil)
		time.Sleep(3*time.Second + 200*time.Millisecond) // of the bubble
		held.Store(true)
		since := time.Now()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(api.applied) == 0 || api.applied[0].Sub(since) > time.Second {
			t.Fatalf("an authority was made at %v, after the Lease came at %s", api.applied, since)
		}
		(*keeper)(m).Set(secretOf(t, m.material, "7"))
		synctest.Wait()
		before := looked.Load()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := looked.Load() - before; n > 61 || len(api.applied) > 1+int(time.Minute/m.cfg.Every) {
			t.Errorf("with an authority it was looked %d times in ten minutes; %d writes", n, len(api.applied))
		}
	})
}
