// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/rpcruntime"
)

// maxMethods bounds the methods that are told apart, per direction.
const maxMethods = 1000

// maxReasons bounds how many combinations of reason and decision one method's
// failed attempts have; the sets are closed and smaller.
const maxReasons = 64

// kindsOfChange is how many kinds of changes there are for each service.
const kindsOfChange = 4

// other stands for what is beyond a bound.
const other = "other"

// seconds are the buckets of durations: from a call on the same machine to the
// default timeout.
var seconds = []float64{
	.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10,
}

// Metrics observes runtimes and is a prometheus.Collector. Make it with New.
type Metrics struct {
	clientCalls    *prometheus.CounterVec
	clientSeconds  *prometheus.HistogramVec
	clientAttempts *prometheus.CounterVec
	clientFailed   *prometheus.CounterVec
	serverCalls    *prometheus.CounterVec
	serverSeconds  *prometheus.HistogramVec
	serverRefused  *prometheus.CounterVec
	changes        *prometheus.CounterVec

	client  *table[clientKey, *clientMethod]
	server  *table[string, *serverMethod]
	refused map[string]prometheus.Counter // by reason; never changed
	changed *table[changeKey, prometheus.Counter]

	limit int // of methods, and of services

	mu       sync.Mutex // guards what follows
	runtimes []*rpcruntime.Runtime
	held     map[serviceKey]holding
}

var (
	_ rpcruntime.Observer  = (*Metrics)(nil)
	_ prometheus.Collector = (*Metrics)(nil)
)

type clientKey struct{ service, method string }

// clientMethod are the metrics of one method that the program calls.
type clientMethod struct {
	calls    byCode
	seconds  prometheus.Observer
	attempts prometheus.Counter
	failed   *table[failedKey, prometheus.Counter]
}

type failedKey struct{ reason, retry string }

// serverMethod are the metrics of one method that the program serves.
type serverMethod struct {
	calls   byCode
	seconds prometheus.Observer
}

type changeKey struct{ service, role, kind string }

// New returns a Metrics that has seen nothing yet. One is enough for a process;
// several runtimes may share it.
func New() *Metrics { return newMetrics(maxMethods) }

func newMetrics(limit int) *Metrics {
	m := &Metrics{
		limit:          limit,
		clientCalls:    counters("client_calls_total", "Outgoing calls that ended, by the code they ended with.", "service", "method", "code"),
		clientSeconds:  histogram("client_call_seconds", "Duration of outgoing calls with all their attempts.", "service", "method"),
		clientAttempts: counters("client_attempts_total", "Attempts of outgoing calls that ended.", "service", "method"),
		clientFailed: counters("client_failed_attempts_total",
			"Failed attempts of outgoing calls, by why another followed or not. retry is no, paid (from the budget) or free.", "service", "method", "reason", "retry"),
		serverCalls:   counters("server_calls_total", "Calls that reached a handler and ended, by the code they ended with.", "method", "code"),
		serverSeconds: histogram("server_call_seconds", "Duration of calls since their request was read.", "method"),
		serverRefused: counters("server_refused_total", "Calls and connections that were refused before any handler saw them.", "reason"),
		changes:       counters("registry_changes_total", "What the registry said of services, by kind.", "service", "role", "kind"),
		refused:       map[string]prometheus.Counter{},
		held:          map[serviceKey]holding{},
	}
	for _, reason := range []string{"limit", "wrong-endpoint", "connections", "deadline", "auth", "cancel", "protocol", "tls", "silent", "unimplemented", other} {
		m.refused[reason] = m.serverRefused.WithLabelValues(reason)
	}
	m.client = newTable(limit, clientKey{other, other}, m.newClientMethod)
	m.server = newTable(limit, other, m.newServerMethod)
	m.changed = newTable(kindsOfChange*limit, changeKey{other, other, other}, func(k changeKey) prometheus.Counter {
		return m.changes.WithLabelValues(k.service, k.role, k.kind)
	})
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "fairlead", Name: name, Help: help}, labels)
}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "fairlead", Name: name, Help: help, Buckets: seconds}, labels)
}

func (m *Metrics) newClientMethod(k clientKey) *clientMethod {
	return &clientMethod{
		calls:    byCode{vec: m.clientCalls, labels: []string{k.service, k.method}},
		seconds:  m.clientSeconds.WithLabelValues(k.service, k.method),
		attempts: m.clientAttempts.WithLabelValues(k.service, k.method),
		failed: newTable(maxReasons, failedKey{other, other}, func(f failedKey) prometheus.Counter {
			return m.clientFailed.WithLabelValues(k.service, k.method, f.reason, f.retry)
		}),
	}
}

func (m *Metrics) newServerMethod(method string) *serverMethod {
	return &serverMethod{
		calls:   byCode{vec: m.serverCalls, labels: []string{method}},
		seconds: m.serverSeconds.WithLabelValues(method),
	}
}

// Called counts an outgoing call.
func (m *Metrics) Called(e rpcruntime.CalledEvent) {
	c := m.client.get(clientKey{e.Service, e.Method})
	c.calls.inc(uint32(e.Code), e.Code.String())
	c.seconds.Observe(e.Duration.Seconds())
	c.attempts.Add(float64(e.Attempts))
}

// Attempted counts a failed attempt.
func (m *Metrics) Attempted(e rpcruntime.AttemptedEvent) {
	retry := "no"
	switch {
	case e.Free:
		retry = "free"
	case e.Retry:
		retry = "paid"
	}
	m.client.get(clientKey{e.Service, e.Method}).failed.get(failedKey{e.Reason, retry}).Inc()
}

// Served counts a call that a handler of this process ended.
func (m *Metrics) Served(e rpcruntime.ServedEvent) {
	s := m.server.get(e.Method)
	s.calls.inc(uint32(e.Code), e.Code.String())
	s.seconds.Observe(e.Duration.Seconds())
}

// Refused counts a refusal by its reason alone: path and method are whatever the
// peer sent.
func (m *Metrics) Refused(e rpcruntime.RefusedEvent) {
	reason := e.Reason
	if reason == "" {
		reason = "unimplemented"
	}
	c := m.refused[reason]
	if c == nil {
		c = m.refused[other]
	}
	c.Inc()
}
