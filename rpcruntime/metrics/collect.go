// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/rpcruntime"
)

// connMetric is one counter of the runtimes' connections.
type connMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*rpcruntime.Runtime) int64
}

func connCounter(name, help string, read func(*rpcruntime.Runtime) int64) connMetric {
	return connMetric{prometheus.NewDesc("fairlead_conn_"+name+"_total", help, nil, nil), prometheus.CounterValue, read}
}

// connMetrics are read when somebody collects: connections count for themselves.
var connMetrics = []connMetric{
	{
		prometheus.NewDesc("fairlead_conn_open", "Open connections, of clients, servers and the registry.", nil, nil),
		prometheus.GaugeValue, func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Connections.Load() },
	},
	connCounter("read_frames", "Frames read.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().FramesRead.Load() }),
	connCounter("read_bytes", "Bytes read.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().BytesRead.Load() }),
	connCounter("writes", "Write calls; each may carry many frames.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Writes.Load() }),
	connCounter("written_bytes", "Bytes written.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().BytesWritten.Load() }),
	connCounter("write_waits", "Times that a caller waited for room in a write buffer.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().WriteWaits.Load() }),
	connCounter("malformed", "Connections ended by frames that cannot be right.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Malformed.Load() }),
	connCounter("over_limit_frames", "Frames over a limit of size.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().OverLimit.Load() }),
	connCounter("unknown_responses", "Responses that no call waited for, late ones mostly.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().UnknownResponses.Load() }),
	connCounter("heartbeats", "Heartbeats sent.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Heartbeats.Load() }),
	connCounter("slow_heartbeats", "Heartbeats that an old peer did not answer in time.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().SlowHeartbeats.Load() }),
	connCounter("wrong_endpoint", "Requests refused because they were meant for another service or Pod.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().WrongEndpoint.Load() }),
	connCounter("refused", "Requests refused because of a connection's bounds.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Refused.Load() }),
	connCounter("unknown_pushes", "Pushes that nobody takes.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().UnknownPushes.Load() }),
}

// Attach adds the runtime's connections to what is collected; those of several
// runtimes are added up. It is needed because a runtime gets its Observer before
// it exists. Doing it again changes nothing.
func (m *Metrics) Attach(rt *rpcruntime.Runtime) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.runtimes, rt) {
		m.runtimes = append(m.runtimes, rt)
	}
}

// Describe sends the descriptions of all metrics.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.observed() {
		c.Describe(ch)
	}
	ch <- heldDesc
	for _, c := range connMetrics {
		ch <- c.desc
	}
}

// Collect sends the metrics as they are now.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.observed() {
		c.Collect(ch)
	}
	m.collectHeld(ch)
	m.mu.Lock()
	runtimes := slices.Clone(m.runtimes)
	m.mu.Unlock()
	if len(runtimes) == 0 {
		return // zeros would say that there are no connections
	}
	for _, c := range connMetrics {
		var sum int64
		for _, rt := range runtimes {
			sum += c.read(rt)
		}
		ch <- prometheus.MustNewConstMetric(c.desc, c.kind, float64(sum))
	}
}

func (m *Metrics) observed() []prometheus.Collector {
	return []prometheus.Collector{
		m.clientCalls, m.clientSeconds, m.clientAttempts, m.clientFailed, m.serverCalls, m.serverSeconds, m.serverRefused, m.changes,
	}
}
