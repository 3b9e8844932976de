// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/controllers/registry/gather"
)

// metrics has a bounded number of series: by kind and state, never by object.
type metrics struct {
	compiles  prometheus.Histogram
	delays    prometheus.Histogram
	publishes prometheus.Counter
	services  prometheus.Gauge
	seen      *prometheus.GaugeVec
	moved     *prometheus.GaugeVec
	heldBack  *prometheus.CounterVec
	holding   *prometheus.GaugeVec
}

func newMetrics(into prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		compiles: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fairlead_compile_duration_seconds", Help: "How long it took to compile one service.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 8),
		}),
		delays: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fairlead_publish_delay_seconds",
			Help: "From when a change of an object came from the API server to when what follows from it was published. " +
				"What is held back to be merged with more is not in it.",
			Buckets: []float64{.00025, .0005, .001, .0015, .002, .003, .004, .005, .0075, .01, .025, .05, .1, .25, 1, 5},
		}),
		publishes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairlead_publishes_total", Help: "Services handed to the registry's store, changed or not.",
		}),
		services: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairlead_services", Help: "RPCServices that are known.",
		}),
		seen: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairlead_seen_revision", Help: "Revision of a kind up to which everything is published; compare replicas to see one that is behind.",
		}, []string{"kind"}),
		moved: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairlead_seen_timestamp_seconds", Help: "When the API server was last heard of a kind; without changes that is about once a minute.",
		}, []string{"kind"}),
		heldBack: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairlead_gone_held_back_total", Help: "Times that deletions of a kind were not believed, by what its definition was found to be.",
		}, []string{"kind", "definition"}),
		holding: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fairlead_gone_held", Help: "Objects whose deletion is not believed: waiting for their definition to be read, or frozen because it went with them.",
		}, []string{"kind", "state"}),
	}
	for _, c := range []prometheus.Collector{m.compiles, m.delays, m.publishes, m.services, m.seen, m.moved, m.heldBack, m.holding} {
		if err := into.Register(c); err != nil {
			return nil, fmt.Errorf("publish: %w", err)
		}
	}
	return m, nil
}

// changesPublished notes that what follows from changes is published.
func (m *metrics) changesPublished(arrived []time.Time, now time.Time) {
	for _, at := range arrived {
		m.delays.Observe(now.Sub(at).Seconds())
	}
}

func (m *metrics) compiled(took time.Duration) { m.compiles.Observe(took.Seconds()) }

func (m *metrics) publishedAll(seen map[string]uint64, services int) {
	m.services.Set(float64(services))
	for kind, revision := range seen {
		m.seen.WithLabelValues(kind).Set(float64(revision))
	}
}

// heard notes when a kind was heard of.
func (m *metrics) heard(kind string, now time.Time) {
	m.moved.WithLabelValues(kind).Set(float64(now.UnixMilli()) / 1000)
}

// held shows the deletions that are not applied.
func (m *metrics) held(w *world) {
	for _, kind := range gather.Kinds() {
		if own(kind) {
			m.holding.WithLabelValues(kind, "waiting").Set(float64(w.waiting[kind]))
			m.holding.WithLabelValues(kind, "frozen").Set(float64(w.frozen[kind]))
		}
	}
}
