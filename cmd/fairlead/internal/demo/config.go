// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"io"
	"time"
)

// Config is what Run needs to know.
type Config struct {
	// Self is the command line that leads to Child: the program and what comes
	// before Child's own arguments.
	Self []string
	// Out is where people look.
	Out io.Writer
	// Keep keeps the folder with all files at the end.
	Keep bool
	// Plan says how much of everything there is.
	Plan Plan
}

// Plan says how long the demo looks at each thing, and at how many calls.
type Plan struct {
	// Rate is the load, in calls per second. One in five is not idempotent.
	Rate int
	// Steady is how long the load runs before anything happens.
	Steady time.Duration
	// Settle is how long the load must go on undisturbed after an event.
	Settle time.Duration
	// LimitWindow is the time over which refusals are counted.
	LimitWindow time.Duration
	// Away is how long the control plane is gone.
	Away time.Duration
	// MinCalls is the least number of calls in all: the last step goes on until
	// it is reached.
	MinCalls int
	// Patience bounds every wait.
	Patience time.Duration
}

// DefaultPlan is the plan of the command: about half a minute.
func DefaultPlan() Plan {
	return Plan{
		Rate: 1500, Steady: 4 * time.Second, Settle: 2 * time.Second, LimitWindow: 4 * time.Second,
		Away: 4 * time.Second, MinCalls: 20_500, Patience: 20 * time.Second,
	}
}

const (
	namespace = "shop"
	service   = "shop/arith"
	// mulShare of every mulShare+1 calls are to the idempotent method.
	mulShare = 4
	// limitShare: the limit lets half of the idempotent calls through.
	limitShare = 2
	// probeSleep is how long the handler of a probe sleeps: under the long
	// timeout it succeeds, under the short one it does not.
	probeSleep   = 300 * time.Millisecond
	longTimeout  = 3 * time.Second
	shortTimeout = 100 * time.Millisecond
	// slowCalls are in flight, for slowSleep each, when a server is killed.
	slowCalls = 12
	slowSleep = time.Second
)

// serverNames are those of the servers, which a new process takes over.
func serverNames() []string { return []string{"a", "b", "c"} }

// limitPerServer is what the limit admits on each server, in calls per second.
func (p Plan) limitPerServer() int {
	return p.mulRate() / limitShare / len(serverNames())
}

// mulRate is the load of idempotent calls, in calls per second.
func (p Plan) mulRate() int { return p.Rate * mulShare / (mulShare + 1) }
