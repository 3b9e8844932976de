// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/controllers/registry/gather"
	"github.com/fairlead/fairlead/internal/compile"
)

// TestDelays has publishing take 3 ms each time: what is told of changes is how
// long they waited for it, and nothing is told of what is not published.
func TestDelays(t *testing.T) {
	play(t, func(s *stage) {
		registry := prometheus.NewRegistry()
		registry.MustRegister(s.c.metrics.delays)
		want := func(what string, changes uint64, seconds float64) {
			t.Helper()
			synctest.Wait()
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			h := families[0].GetMetric()[0].GetHistogram()
			if sum := h.GetSampleSum(); h.GetSampleCount() != changes || sum < seconds-1e-6 || sum > seconds+1e-6 {
				t.Errorf("%s: %d changes took %v s, want %d and %v", what, h.GetSampleCount(), sum, changes, seconds)
			}
		}
		s.during = func() { time.Sleep(3 * time.Millisecond) }
		s.lists(rpc("cart"))
		time.Sleep(time.Second)
		want("the first time", 0, 0)

		service := func(name string) *corev1.Service {
			return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		}
		s.event(compile.KindService, gather.Set, service("cart"))
		time.Sleep(time.Second)
		want("a change", 1, .003)
		written := rpc("cart")
		written.Status.ObservedGeneration = 1
		s.event(compile.KindRPCService, gather.Set, written)
		s.event(compile.KindService, gather.Set, service("stranger"))
		s.event(compile.KindEndpointSlice, gather.Mark)
		time.Sleep(time.Second)
		want("what concerns no service", 1, .003)

		// One is being published while another comes 1 ms later: it waits for both.
		s.event(compile.KindService, gather.Set, service("cart"))
		time.Sleep(time.Millisecond)
		s.event(compile.KindService, gather.Set, service("cart"))
		time.Sleep(time.Second)
		want("changes in a row", 3, .003+.003+.005)
	})
}
