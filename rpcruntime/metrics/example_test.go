// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/metrics"
)

// A program keeps its metrics in a registry of its own, and serves them.
func Example() {
	m := metrics.New()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithObserver(m))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer rt.Close(context.Background())
	m.Attach(rt)

	reg := prometheus.NewRegistry()
	reg.MustRegister(m)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))

	families, err := reg.Gather()
	for _, f := range families {
		if f.GetName() == "fairlead_conn_open" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	fmt.Println(err)
	// Output:
	// fairlead_conn_open 0
	// <nil>
}
