// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package openloop

import "time"

// pacer sleeps as exactly as Go's timers do; Result.Late says how exactly.
type pacer struct{ timer *time.Timer }

func newPacer() (*pacer, error) {
	return &pacer{timer: time.NewTimer(time.Hour)}, nil
}

// until returns when it is due, or at once if that has passed.
func (p *pacer) until(due time.Time) error {
	if wait := time.Until(due); wait > 0 {
		p.timer.Reset(wait)
		<-p.timer.C
	}
	return nil
}

func (p *pacer) close() { p.timer.Stop() }
