// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package count counts clients over all replicas of the operator.
//
// Each replica counts its own connections; the replica that writes statuses asks
// all that it finds, itself included, and adds up. It decides nothing about
// statuses: compilation does, from the census. Nor does it balance: each replica
// is told what all have, and sends clients away by itself.
//
// Main flow: while this replica holds the Lease, Counter asks every address at
// which there is a replica, every Interval, and tells it what all had in the round
// before. It adds the answers up, compares what clients hold with what is served
// now, and tells the census. When it loses the Lease it tells a census that knows
// nothing.
//
// Concurrency: Counter.Start has one goroutine, and one per replica while it
// asks; it waits for them. Tell is called on the one.
//
// Invariants:
//  1. A census that says Complete has the counts of every replica that there is.
//     One that cannot be reached makes it incomplete, and never lower.
//     Nor is it complete if this replica does not find itself.
//  2. Replicas are told totals only if every one of them has said what it has.
//  3. A replica counts once, at however many addresses it is found.
//
// Errors: a replica that does not answer is counted, and asked again next time.
//
// Zero values: Config needs all fields but Interval, Timeout and Log.
package count
