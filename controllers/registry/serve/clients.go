// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// clients counts clients, what they subscribe to, and those sent away, when it is asked. By role
// and not by service: there may be tens of thousands of services.
type clients struct {
	endpoint               *Endpoint
	clients, subscriptions *prometheus.Desc
	sent                   *prometheus.Desc
}

func newClients(e *Endpoint) *clients {
	return &clients{
		endpoint: e,
		clients: prometheus.NewDesc("fairlead_registry_clients",
			"Clients of this replica: connections that subscribe to something, each once.", nil, nil),
		subscriptions: prometheus.NewDesc("fairlead_registry_subscriptions",
			"Subscriptions that clients have with this replica, by role; a connection has one for each service that it calls or serves.",
			[]string{"role"}, nil),
		sent: prometheus.NewDesc("fairlead_registry_clients_sent_away_total",
			"Clients that this replica sent to other replicas because it had more than 1.2 times its share.", nil, nil),
	}
}

// Describe names the metrics.
func (c *clients) Describe(out chan<- *prometheus.Desc) {
	out <- c.clients
	out <- c.subscriptions
	out <- c.sent
}

// Collect counts.
func (c *clients) Collect(out chan<- prometheus.Metric) {
	connections, sent, counts := 0, int64(0), map[policy.Role]int{policy.Caller: 0, policy.Server: 0}
	if s := c.endpoint.service.Load(); s != nil {
		connections, sent = s.Connections(), s.Sent()
		for _, n := range s.Clients() {
			counts[n.Role] += n.Clients
		}
	}
	out <- prometheus.MustNewConstMetric(c.clients, prometheus.GaugeValue, float64(connections))
	out <- prometheus.MustNewConstMetric(c.sent, prometheus.CounterValue, float64(sent))
	for role, n := range counts {
		out <- prometheus.MustNewConstMetric(c.subscriptions, prometheus.GaugeValue, float64(n), string(role))
	}
}
