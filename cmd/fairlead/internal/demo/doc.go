// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package demo runs the product on one machine, under load, through what usually
// hurts: restarts, kills, changes of policy, a control plane that goes away. Each
// step checks its own effect, and one line at the end says how it went.
//
// It is not a benchmark: latencies are those of a machine that runs six processes
// at once. It tests nothing of Kubernetes.
//
// Main flow: Run makes a folder, starts the control plane and three servers as
// processes of their own (the same program, run again, by Child), and makes calls
// at a fixed rate (load) whatever becomes of them. The steps (steps.go) change
// manifests and end processes meanwhile. Calls that end are counted (tally);
// servers write the id of each call that is not idempotent to a file before they
// run it (ledger), so that after the end nothing that ran twice can hide.
//
// Concurrency: Run is the owner of every goroutine and process, and waits for
// each. Steps run one after the other. tally and printer are locked.
//
// Invariants:
//  1. Nothing outlives Run: processes end with their standard input, which ends
//     with the process that holds it, however that ended.
//  2. A call is counted once, by one outcome.
//  3. Steps wait for what they wait for, up to a bound; they never hope.
//
// Errors: Run's error says which step went wrong, and what was waited for.
//
// Units: the load is in calls per second. The zero Plan is not usable;
// DefaultPlan is what people see.
package demo
