// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"sync/atomic"
	"time"
)

const (
	// quickCall is the time within which a handler returns that a connection's
	// reader may run, when nobody else is on the connection.
	quickCall = 100 * time.Microsecond
	// quickCalls is how many calls in a row must have been as quick.
	quickCalls = 64
	// slowCall is the time from which a handler may have kept others waiting. It is
	// not run by a reader again before slowPenalty quick calls more.
	slowCall    = time.Millisecond
	slowPenalty = 4096
)

// pace learns whether a handler returns at once. Whoever waits for something
// now and then does not. Safe for concurrent use; updates that are lost do no harm.
type pace struct {
	quick atomic.Int32 // calls in a row; negative after a slow one
}

// isQuick reports whether the next call is likely to be quick.
func (p *pace) isQuick() bool { return p.quick.Load() >= quickCalls }

// note learns from one call.
func (p *pace) note(took time.Duration) {
	n := p.quick.Load()
	switch {
	case took >= slowCall:
		p.quick.Store(-slowPenalty)
	case took > quickCall:
		p.quick.Store(min(n, 0))
	case n < quickCalls:
		p.quick.Store(n + 1)
	}
}
