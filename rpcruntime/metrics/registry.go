// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/rpcruntime"
)

// serviceKey names what one process knows of one service.
type serviceKey struct{ service, role string }

// holding is what the process goes by: the digest, and where it came from.
type holding struct{ digest, origin string }

// heldDesc has one series per service and role; its labels change with the digest.
var heldDesc = prometheus.NewDesc("fairlead_registry_info",
	"What this process last took from the registry, 1 per service and role: the digest, shortened, and whether it is live or cached.",
	[]string{"service", "role", "digest", "origin"}, nil)

// RegistryChanged counts what the registry said, and remembers what is held.
func (m *Metrics) RegistryChanged(e rpcruntime.RegistryEvent) {
	m.changed.get(changeKey{e.Service, e.Role, e.Kind}).Inc()
	if e.Digest == "" { // trouble: what is held stays in use
		return
	}
	origin := "live"
	if e.Kind == "cached" {
		origin = "cached"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := serviceKey{e.Service, e.Role}
	if _, known := m.held[key]; known || len(m.held) < m.limit {
		m.held[key] = holding{e.Digest, origin}
	}
}

// collectHeld copies first: a slow reader must not hold up the registry's watch.
func (m *Metrics) collectHeld(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	metrics := make([]prometheus.Metric, 0, len(m.held))
	for k, h := range m.held {
		metrics = append(metrics, prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, 1, k.service, k.role, h.digest, h.origin))
	}
	m.mu.Unlock()
	for _, metric := range metrics {
		ch <- metric
	}
}
