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

func level(name, help string, read func(*rpcruntime.Runtime) int64) connMetric {
	return connMetric{prometheus.NewDesc("fairlead_"+name, help, nil, nil), prometheus.GaugeValue, read}
}

// connMetrics are read when somebody collects: connections count for themselves.
var connMetrics = []connMetric{
	level("conn_open", "Open connections, of clients, servers and the registry.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Connections.Load() }),
	level("conn_client_calls", "Calls in flight at the calling side.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().ClientCalls.Load() }),
	level("conn_server_calls", "Requests being served.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().ServerCalls.Load() }),
	level("conn_request_bytes", "Bytes that the requests being served hold.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().RequestBytes.Load() }),
	level("conn_write_buffered_bytes", "Bytes that wait to be written.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().WriteBuffered.Load() }),
	level("server_connections", "Connections of the servers, whatever they speak.", func(rt *rpcruntime.Runtime) int64 { return int64(rt.ServerStats().Connections) }),
	level("server_connections_max", "The most that the servers accept.", func(rt *rpcruntime.Runtime) int64 { return int64(rt.ServerStats().MaxConnections) }),
	level("server_calls_running", "Calls whose handlers have not returned.", func(rt *rpcruntime.Runtime) int64 { return int64(rt.ServerStats().Calls) }),
	level("server_calls_running_max", "The most that the servers run.", func(rt *rpcruntime.Runtime) int64 { return int64(rt.ServerStats().MaxCalls) }),
	level("server_request_bytes", "Bytes of requests that count for the servers' bound.", func(rt *rpcruntime.Runtime) int64 { return rt.ServerStats().RequestBytes }),
	level("server_request_bytes_max", "The most that the servers take.", func(rt *rpcruntime.Runtime) int64 { return rt.ServerStats().MaxRequestBytes }),
	connCounter("read_frames", "Frames read.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().FramesRead.Load() }),
	connCounter("read_bytes", "Bytes read.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().BytesRead.Load() }),
	connCounter("writes", "Write calls; each may carry many frames.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Writes.Load() }),
	connCounter("written_bytes", "Bytes written.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().BytesWritten.Load() }),
	connCounter("write_waits", "Times that a caller waited for room in a write buffer.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().WriteWaits.Load() }),
	connCounter("window_waits", "Calls that waited for room in the peer's window.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().WindowWaits.Load() }),
	connCounter("malformed", "Connections ended by frames that cannot be right.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Malformed.Load() }),
	connCounter("over_limit_frames", "Frames over a limit of size.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().OverLimit.Load() }),
	connCounter("unknown_responses", "Responses that no call waited for, late ones mostly.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().UnknownResponses.Load() }),
	connCounter("heartbeats", "Heartbeats sent.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Heartbeats.Load() }),
	connCounter("slow_heartbeats", "Heartbeats that an old peer did not answer in time.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().SlowHeartbeats.Load() }),
	connCounter("wrong_endpoint", "Requests refused because they were meant for another service or Pod.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().WrongEndpoint.Load() }),
	connCounter("refused", "Requests refused because of a connection's bounds.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Refused.Load() }),
	connCounter("cancels", "Cancels sent for calls that were given up.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Cancels.Load() }),
	connCounter("withdrawn", "Requests taken back before they left.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Withdrawn.Load() }),
	connCounter("cancelled", "Requests being served that a cancel ended.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().Cancelled.Load() }),
	connCounter("pushes_dropped", "Pushes for which their queue had no room.", func(rt *rpcruntime.Runtime) int64 { return rt.Counters().PushesDropped.Load() }),
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
