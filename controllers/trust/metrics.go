// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package trust

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	authority, certificate prometheus.Gauge
	steps                  *prometheus.CounterVec
	failures               prometheus.Counter
}

func newMetrics(into prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		authority: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairlead_registry_ca_expiry_timestamp_seconds", Help: "When the authority that signs the registry's certificates ends.",
		}),
		certificate: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairlead_registry_certificate_expiry_timestamp_seconds", Help: "When the certificate of this replica ends; it is renewed long before.",
		}),
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_registry_ca_steps_total", Help: "Steps that this replica took with the authority: made, announced, switched, forgotten.",
		}, []string{"step"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_registry_certificate_failures_total",
			Help: "Failures to read, write or renew certificates, which are tried again.",
		}),
	}
	for _, c := range []prometheus.Collector{m.authority, m.certificate, m.steps, m.failures} {
		if err := into.Register(c); err != nil {
			return nil, fmt.Errorf("trust: %w", err)
		}
	}
	return m, nil
}
