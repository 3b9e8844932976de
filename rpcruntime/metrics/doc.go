// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics counts what a Runtime tells its Observer, for Prometheus.
//
// It does not choose a registry of metrics, serve HTTP, or change what is
// observed. It imports client_golang, which the runtime's core does not.
//
// Main flow: New makes a Metrics, rpcruntime.WithObserver hands it to a runtime,
// Attach gives it the runtime's connection counters, and the program registers
// it where it keeps its other metrics. docs/operations.md lists the metrics.
//
// An event finds its counters in a table that is read without a lock. Only the
// first event of its kind takes one, and adds to a copy of the table.
//
// Concurrency: all methods may be called from any goroutine. It starts none.
//
// Invariants:
//  1. What a peer sends never becomes a label: refused calls count by reason.
//  2. There are at most maxMethods pairs of service and method, and as many
//     methods of servers; the rest counts as "other".
//  3. Once its table has an entry, an event takes no lock and allocates nothing.
//
// Errors: there are none.
//
// Units and zero values: durations are in seconds, sizes in bytes. The zero
// Metrics is not usable.
package metrics
