// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bufio"
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
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// tokens starts callers that show the registry the wrong thing, or believe the
// wrong authority: each is refused, hears why, and is counted.
func (c *cluster) tokens() {
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "foreign-ca"}, Data: map[string]string{"ca.crt": c.authority()}}
	if _, err := c.kube.CoreV1().ConfigMaps(space).Create(c.Context(), foreign, metav1.CreateOptions{}); err != nil {
		c.Fatal(err)
	}
	const refused = "fairlead_registry_refused_total"
	wrong := []struct{ pod, text, metric, label string }{
		{"probe-audience", "audience: ", refused, `reason="audience"`},
		{"probe-no-token", "no-token: ", refused, `reason="no-token"`},
		{"probe-foreign-ca", "is not trusted by ", "fairlead_server_refused_total", `reason="tls"`},
	}
	before := make([]float64, len(wrong))
	for i, w := range wrong {
		before[i] = c.counted(w.metric, w.label)
	}
	c.apply(c.manifest("probes.yaml"))
	for i, w := range wrong {
		c.eventually(patience, w.pod, func() error {
			var r report
			if err := c.askJSON(w.pod, "/report", &r); err != nil {
				return err
			}
			if r.Answered > 0 {
				c.Fatalf("%s: %d calls were answered", w.pod, r.Answered)
			}
			if !strings.Contains(r.errors(), w.text) {
				return fmt.Errorf("of %d calls none failed because of %q: %s", r.Begun, w.text, r.errors())
			}
			if n := c.counted(w.metric, w.label); n <= before[i] {
				return fmt.Errorf("%s{%s} is still %v", w.metric, w.label, n)
			}
			return nil
		})
		c.figures("tokens: %s: no call answered, %s{%s} rose by %.0f", w.pod, w.metric, w.label, c.counted(w.metric, w.label)-before[i])
	}
	right := []string{"probe-right"}
	if strings.Contains(c.helm("get", "manifest", "fairlead", "--namespace", operatorSpace), "kind: MutatingAdmissionPolicy") {
		right = append(right, "probe-label")
	}
	for _, pod := range right {
		c.eventually(patience, pod, func() error {
			var r report
			if err := c.askJSON(pod, "/report", &r); err != nil {
				return err
			}
			if r.Answered == 0 {
				return fmt.Errorf("of %d calls none was answered: %s", r.Begun, r.errors())
			}
			return nil
		})
		c.figures("tokens: %s: calls are answered", pod)
	}
	grace := int64(1)
	for _, pod := range append(right, "probe-label", wrong[0].pod, wrong[1].pod, wrong[2].pod) {
		_ = c.kube.CoreV1().Pods(space).Delete(c.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: &grace}) // one may be named twice
	}
}

// authority makes a CA that nobody has heard of.
func (c *cluster) authority() string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "foreign"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		c.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// counted adds up a metric of the operator's replicas, of the series that have
// the label.
func (c *cluster) counted(metric, label string) (sum float64) {
	c.Helper()
	c.eventually(patience, metric, func() error {
		sum = 0
		replicas := c.pods(operatorSpace, "app.kubernetes.io/component=manager")
		if len(replicas) == 0 {
			return errors.New("no replica")
		}
		for _, pod := range replicas {
			n, err := c.metric(pod.Name, metric, label)
			if err != nil {
				return err
			}
			sum += n
		}
		return nil
	})
	return sum
}

// metric adds up a metric of one replica, of the series that have the label.
func (c *cluster) metric(pod, metric, label string) (sum float64, err error) {
	body, err := c.ask(operatorSpace, pod, "/metrics")
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(body)); lines.Scan(); {
		line := lines.Text()
		end := strings.LastIndexByte(line, ' ')
		if name, _, _ := strings.Cut(line[:max(end, 0)], "{"); name != metric || !strings.Contains(line, label) {
			continue
		}
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", line, err)
		}
		sum += value
	}
	return sum, nil
}
