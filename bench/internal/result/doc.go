// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package result holds what a run of the benchmarks measured, judges it against
// the goals and writes it down: as text, JSON, Markdown and a chart.
//
// It measures nothing and starts nothing. Numbers come in as Cells (closed loops,
// round by round) and Values (everything else); names of lanes, handlers, peers
// and values are the constants of this package.
//
// Main flow: the driver fills a Report, calls Finish, and then WriteTable,
// WriteJSON and WriteChart.
//
// A Report is plain data without locks: one goroutine at a time.
//
// Invariants:
//
//  1. A figure that was not measured is said to be not measured. It is never zero,
//     and never divided by.
//  2. Between peers the ratio of the medians decides. The lowest ratio of a single
//     round stands beside it.
//  3. A goal that leans on a yardstick is not counted if that yardstick was weak in
//     the same run.
//
// Errors are those of files, wrapped with the path.
//
// Units: calls per second, time.Duration, bytes, nanoseconds where a Value's unit
// says so. Zero in a Round means not measured, but for Errors.
package result
