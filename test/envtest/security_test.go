// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/controllers/identity"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// wantTrouble waits until a subscriber is told why it is refused.
func wantTrouble(t *testing.T, s *seen, code status.Code, text string) {
	t.Helper()
	eventually(t, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.snapshots) > 0 {
			t.Fatal("the subscriber was served")
		}
		for _, err := range s.trouble {
			if status.CodeOf(err) == code && strings.Contains(err.Error(), text) {
				return nil
			}
		}
		return fmt.Errorf("trouble %v, want %v with %q", s.trouble, code, text)
	})
}

// TestTokens has callers with tokens of all kinds.
func TestTokens(t *testing.T) {
	s := common.space(t)
	operator := common.run(t, secured)
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)))
	m := s.mount("caller")
	m.configMap()
	good := m.token("fairlead")

	t.Run("good", func(t *testing.T) {
		m.write("token", good)
		c := m.client("", operator.address)
		wantEndpoints(t, watch(t, c, s.full("cart")), "0.2=ready")
		eventually(t, func() error { // the answer may come after the endpoints
			self, _ := c.Self()
			if self.Namespace != s.name || self.ServiceAccount != "caller" || self.Pod != "caller" {
				return fmt.Errorf("self %+v", self)
			}
			return nil
		})
	})
	unbound := func(claims map[string]any) {
		claims["kubernetes.io"].(map[string]any)["pod"] = map[string]any{"name": "caller", "uid": "another"}
	}
	nothing := func(map[string]any) {}
	for _, test := range []struct{ name, token, reason string }{
		{"none", "", identity.ReasonNoToken},
		{"nonsense", "abc.def.ghi", identity.ReasonMalformed},
		{"wrong audience", m.token("vault"), identity.ReasonAudience},
		{"expired", common.altered(t, good, expired, false), identity.ReasonExpired},
		{"forged", common.altered(t, good, nothing, true), identity.ReasonSignature},
		{"of a Pod that is not there", common.altered(t, good, unbound, false), identity.ReasonPod},
		{"of another cluster", common.altered(t, good, func(c map[string]any) { c["iss"] = "https://elsewhere" }, false), identity.ReasonIssuer},
	} {
		t.Run(test.name, func(t *testing.T) {
			m.write("token", test.token)
			before := operator.value(t, "fairlead_registry_refused_total", test.reason)
			wantTrouble(t, watch(t, m.client("", operator.address), s.full("cart")), status.Unauthenticated, test.reason)
			if operator.value(t, "fairlead_registry_refused_total", test.reason) <= before {
				t.Errorf("not counted as %s", test.reason)
			}
		})
	}
	m.write("token", good)
	t.Run("another namespace declared", func(t *testing.T) {
		m.write("namespace", "elsewhere")
		defer m.write("namespace", s.name)
		wantTrouble(t, watch(t, m.client("", operator.address), s.full("cart")), status.Unauthenticated, identity.ReasonIdentity)
	})
	t.Run("foreign authority", func(t *testing.T) {
		own := m.configMap()
		m.write("ca.crt", foreignCA(t))
		defer m.write("ca.crt", own)
		wantTrouble(t, watch(t, m.client("", operator.address), s.full("cart")), status.Unavailable, "not trusted")
	})
	t.Run("no authority", func(t *testing.T) {
		c := s.mount("unmounted")
		wantTrouble(t, watch(t, c.client("", operator.address), s.full("cart")), status.Unavailable, "ca.crt")
	})
	t.Run("the Pod goes", func(t *testing.T) {
		p := s.mount("short")
		p.configMap()
		p.write("token", p.token("fairlead"))
		c := p.client("", operator.address)
		got := watch(t, c, s.full("cart"))
		wantEndpoints(t, got, "0.2=ready")
		now := int64(0)
		if err := common.kube(t).CoreV1().Pods(s.name).Delete(t.Context(), "short", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			got.mu.Lock()
			defer got.mu.Unlock()
			for _, err := range got.trouble {
				if strings.Contains(err.Error(), identity.ReasonPod) {
					return nil
				}
			}
			return fmt.Errorf("trouble %v", got.trouble)
		})
	})
}

// TestConfigMaps looks at where the address and the authorities are written.
func TestConfigMaps(t *testing.T) {
	s, empty := common.space(t), common.space(t, "empty")
	operator := common.run(t, secured)
	kube := common.kube(t)
	s.create(kubeService("cart"), rpcService("cart"))
	want := s.mount("caller").configMap()

	maps := kube.CoreV1().ConfigMaps(s.name)
	if _, err := maps.Patch(t.Context(), "fairlead-registry", "application/merge-patch+json", []byte(`{"data":{"address":"evil:1"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := s.mount("other").configMap(); got != want { // waits for the address
		t.Error("the authorities have changed")
	}
	if err := maps.Delete(t.Context(), "fairlead-registry", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.mount("third").configMap()

	if _, err := kube.CoreV1().ConfigMaps(empty.name).Get(t.Context(), "fairlead-registry", metav1.GetOptions{}); err == nil {
		t.Error("written where nobody asked for it")
	}
	label := []byte(`{"metadata":{"labels":{"rpc.fairlead.dev/registry":"true"}}}`)
	if _, err := kube.CoreV1().Namespaces().Patch(t.Context(), empty.name, "application/merge-patch+json", label, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	empty.mount("caller").configMap()

	// Nothing is written when nothing changes.
	settled := operator.value(t, "fairlead_registry_configmap_writes_total")
	other := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "other"}, Data: map[string]string{"address": "x"}}
	s.create(other)
	s.create(rpcService("more"))
	eventually(t, func() error {
		if operator.value(t, "fairlead_services") < 2 {
			return errors.New("not seen yet")
		}
		return nil
	})
	if n := operator.value(t, "fairlead_registry_configmap_writes_total"); n != settled {
		t.Errorf("%v writes for nothing", n-settled)
	}
}
