// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package projection writes statuses: what an object's status should be is known
// elsewhere; here it is laid over the status that the object has, compared, and
// written if that is worth a write, now or a little later.
//
// It knows nothing of what statuses say, and watches nothing.
//
// Main flow: Conditions and Ancestors lay what should be over what is; what
// others wrote there stays, and so does the time of a condition that has not
// turned. Compare says what kind of change that makes. Writer.Write writes it
// if this replica may: verdicts at once, with the numbers of the moment; numbers
// alone, which move all the time, at most once per object in 10 s and 20 times a
// second overall.
//
// A status is a projection: it is never read to decide anything but whether it
// has to be written, and a write that was lost is made good by the next look.
// Writes name the revision that they were made from, so that a replica that has
// just lost the Lease cannot overwrite what its successor wrote.
//
// Concurrency: Writer and Pace may be used from any goroutine. The rest is pure.
//
// Invariants: a status that says what it should is not written.
//
// Errors: those of the API server are returned, to be tried again. That an
// object has gone, or has moved on, is none: its own event will follow.
//
// Zero values: those of Writer are not useful; make it by NewWriter.
package projection
