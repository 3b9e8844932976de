// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures Fairlead beside other RPC libraries and beside bare
// echoes, over the loopback of this machine:
//
//	make bench          # all of it, with the goals: docs/benchmarks.md
//	make bench-quick    # under a minute
//
// It does not say how fast anything is on other machines, over a network, or with
// other messages: docs/benchmarks.md says what the figures mean.
//
// Main flow: the driver starts a registry, and for each peer a server and a client
// as processes of their own, which are this program again. Then it goes through
// rounds. In each it takes the cells of the plan (what is sent, what the handler
// does, how many callers) in a random order, and in each cell the peers in a random
// order: warm up, measure. Only the two processes of one peer work at a time. The
// ratio of medians over the rounds decides.
//
// Concurrency: one measurement runs at a time. The driver owns its children; they
// end when their standard input does.
//
// Invariants:
//  1. What was measured is reported, also where a peer is ahead; nothing is left
//     out as an outlier.
//  2. All peers get the same load from the same code.
//
// Errors end the run. Calls that fail are counted and shown.
//
// Units and zero values: flags of 0 or "" leave the plan as it is.
package main
