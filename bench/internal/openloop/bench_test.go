// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package openloop

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// BenchmarkGenerator says how late the generator is by itself, and what it costs.
func BenchmarkGenerator(b *testing.B) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	for b.Loop() {
		before := cpu()
		res, err := Run(b.Context(), Config{Rate: 16_000, Duration: time.Second}, func(context.Context) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(res.Late.Quantile(0.5).Nanoseconds())/1e3, "late-p50-us")
		b.ReportMetric(float64(res.Late.Quantile(0.99).Nanoseconds())/1e3, "late-p99-us")
		b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(res.Took.Nanoseconds())*100, "%-of-a-core")
		b.ReportMetric(float64(res.Errors()), "errors")
	}
}
