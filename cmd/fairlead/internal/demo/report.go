// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"time"
)

// Result is what the last line says.
type Result struct {
	// Calls of the load, however they ended; Failed, Unknown and Refused are among
	// them. Unknown calls were not idempotent and under way when their server was
	// killed: the caller was told that nobody knows whether they ran.
	Calls, Failed, Unknown, Refused int
	// Duplicates are calls that were not idempotent and ran more than once.
	Duplicates int
	// P99 is the time that 99 of 100 calls did not exceed.
	P99 time.Duration
	// Events, each of which was seen to have its effect.
	Kills, RollingRestarts, PolicyChanges, ControlPlaneRestarts int
}

// String is the demo's last line.
func (r Result) String() string {
	return fmt.Sprintf("demo: calls=%d failed=%d unknown=%d refused=%d duplicates=%d p99=%s kills=%d rolling_restarts=%d policy_changes=%d control_plane_restarts=%d",
		r.Calls, r.Failed, r.Unknown, r.Refused, r.Duplicates, millis(r.P99), r.Kills, r.RollingRestarts, r.PolicyChanges, r.ControlPlaneRestarts)
}

// complaints says what must not be; nothing if all is well.
func (r Result) complaints() (list []string) {
	if r.Failed > 0 {
		list = append(list, fmt.Sprintf("%d calls failed", r.Failed))
	}
	if r.Duplicates > 0 {
		list = append(list, fmt.Sprintf("%d calls that are not idempotent ran more than once", r.Duplicates))
	}
	return list
}

// missing says what should have been there; nothing if all is.
func (r Result) missing(minCalls int) (list []string) {
	if r.Calls < minCalls {
		list = append(list, fmt.Sprintf("%d calls were made, which is less than %d", r.Calls, minCalls))
	}
	for _, event := range []struct {
		what  string
		count int
	}{
		{"no server was killed", r.Kills},
		{"there was no rolling restart", r.RollingRestarts},
		{"no policy was changed", r.PolicyChanges},
		{"the control plane was not restarted", r.ControlPlaneRestarts},
	} {
		if event.count < 1 {
			list = append(list, event.what)
		}
	}
	return list
}
