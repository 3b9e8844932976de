// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package openloop makes calls at a fixed rate, whether or not former ones have
// ended, and says how long they took from when they were due.
//
// It does not know peers: a call is a function. It does not make load in bursts
// of its own, as a sleep of a fixed 200 microseconds does with all the calls that
// became due meanwhile.
//
// Main flow: Run computes when each call is due, wakes for each by a pacer, and
// starts a goroutine for it. Call number i is due at a random moment of the i-th
// interval: the rate is exact, and no more than two calls are due within the
// length of an interval.
//
// What was measured before this was built, at 16,000 calls/s on 2 cores, with
// calls that do nothing (lateness p50, p99, CPU of one core): a timer of the
// kernel whose file is waited for as a socket is (the pacer on Linux); a thread of
// its own in nanosleep holds one of two Ps most of the time; yielding in a loop
// takes a whole core. docs/benchmarks.md has the figures.
//
// Concurrency: Run is for one goroutine at a time; it starts one goroutine per
// call and returns when all have ended.
//
// Invariants:
//
//  1. Latency counts from when the call was due, never from when it was made.
//  2. No more than Outstanding calls are under way. A call for which there is no
//     room is counted as Overflow, and so as a failure.
//  3. Each call that was due in the counted time is in exactly one of Latency,
//     Failed and Overflow.
//
// Errors: those of a Config that makes no sense, and of the kernel's timer.
//
// Units and zero values: the zero Outstanding is DefaultOutstanding; a Rate and a
// Duration must be given.
package openloop
