// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package load makes calls through a peer's client and says what came of them.
// It is the same for all peers, and lean: what it does beside a call is to read
// the clock once, to count in a histogram of the caller's own, and to look at a
// few fields of the reply.
//
// It does not start servers, choose loads or compare: the driver does.
//
// Main flow: Closed runs a number of callers, each of which calls again as soon
// as it has been answered; Open makes calls at a fixed rate by package openloop;
// Blocked is Closed beside callers whose handlers block.
//
// Concurrency: one load runs at a time; each returns when all its calls have
// ended.
//
// Invariants:
//  1. Each reply is looked at: its length, its stamp, and on every 256th call all
//     of it. A reply that is not the echo counts as an error.
//  2. Callers share nothing but the client.
//  3. Nothing is left out: a call that is under way when time is up counts in the
//     histogram and in CPU time, and only not in the rate.
//
// Errors are those of calls; the first is reported, and all are counted.
//
// Units and zero values: Job says.
package load
