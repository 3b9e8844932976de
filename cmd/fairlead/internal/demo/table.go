// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// printer writes lines for people. Safe for concurrent use.
type printer struct {
	mu sync.Mutex
	w  io.Writer
}

func (p *printer) linef(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// table prints a row each second until ctx ends.
func (p *printer) table(ctx context.Context, t *tally, digest func() string) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for second := 1; ; second++ {
		select {
		case <-ticker.C:
			row := t.takeRow()
			p.linef("%s", formatRow(second, &row, digest()))
		case <-ctx.Done():
			return
		}
	}
}

// header names the columns of the rows.
func header() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6s %6s %6s %7s %8s %8s ", "second", "calls", "failed", "refused", "p50", "p99")
	for _, name := range serverNames() {
		fmt.Fprintf(&b, " %4s", name)
	}
	return b.String() + "  digest"
}

func formatRow(second int, row *window, digest string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%6d %6d %6d %7d %8s %8s ", second, row.calls, row.failed, row.refused,
		millis(quantile(row.took, 0.5)), millis(quantile(row.took, 0.99)))
	sum := 0
	for _, n := range row.answers {
		sum += n
	}
	for _, name := range serverNames() {
		fmt.Fprintf(&b, " %4s", share(row.answers[name], sum))
	}
	return b.String() + "  " + digest
}

// share is n of sum in percent.
func share(n, sum int) string {
	if sum == 0 {
		return "-"
	}
	return fmt.Sprintf("%d%%", (100*n+sum/2)/sum)
}

// millis is d in milliseconds, to two places.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.2fms", float64(d)/float64(time.Millisecond))
}
