// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package hist counts durations in buckets whose width grows with them, so that
// each caller of a benchmark can have a histogram of its own that costs it a few
// nanoseconds per call.
//
// It does not share anything between goroutines and takes no lock: callers
// record into their own Hist, and whoever waits for them merges these.
//
// Main flow: Record while the callers run, Merge when they have ended, then
// Quantile.
//
// Concurrency: a Hist belongs to one goroutine at a time.
//
// Invariants:
//  1. The buckets are without gaps: each duration is in exactly one.
//  2. A bucket is at most 1/32 as wide as the durations in it are long.
//
// Errors: there are none.
//
// Units and zero values: durations are in nanoseconds inside. The zero Hist is
// empty and ready. Quantile of an empty one is 0.
package hist
