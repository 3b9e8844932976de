// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package demo runs the product on one machine, under load, through what usually
// hurts: restarts, kills, changes of policy, a control plane that goes away. Each
// step checks its own effect, and one line at the end says how it went.
//
// It is not a benchmark: latencies are those of a machine that runs six processes
// at once. It tests nothing of Kubernetes.
//
// Main flow: Run makes a folder and starts the control plane, three servers and
// the caller as processes of their own (the same program, run again, by Child).
// The caller (calling.go, load.go) makes calls at a fixed rate whatever becomes of
// them, and writes how each ended to its standard output (lines.go), from which
// Run counts them (caller.go, tally.go). The steps (steps.go) change manifests and
// end processes meanwhile. Servers write the id of each call that is not
// idempotent to a file before they run it (ledger), so that after the end nothing
// that ran twice can hide.
//
// Concurrency: Run is the owner of every goroutine and process, and waits for
// each. Steps run one after the other. caller, tally and printer are locked.
//
// Invariants:
//  1. Nothing outlives Run: processes end with their standard input, which ends
//     with the process that holds it, however that ended.
//  2. A call is counted once, by one outcome.
//  3. Steps wait for what they wait for, up to a bound; they never hope. What is
//     measured is measured over a time that is fixed beforehand, and judged once.
//
// Errors: Run's error says which step went wrong, and what was waited for.
//
// Units: the load is in calls per second, times between processes are in
// nanoseconds. The zero Plan is not usable; DefaultPlan is what people see.
package demo
