// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package publish keeps the objects that compilation reads, compiles the
// services that a change concerns, and publishes them. Every replica of the
// operator does this all the time; who holds the Lease does not matter here.
//
// It also keeps the newest census of clients (package count), and says whose
// status that changes. When policies of a service change, nobody holds what is
// served until the next census says so.
//
// It watches nothing itself (package gather does), serves no connection
// (package serve does) and writes no status. It tells those who do what is new:
// see Watch, Service, CallPolicy and LimitPolicy.
//
// Main flow: events come in by Receive and wait. The loop takes all that wait,
// applies them to the objects, compiles each service that is concerned once,
// publishes what came of it, and moves the watermark on. Nothing is compiled
// before every kind has been listed; then everything is, and the store is set
// ready.
//
// Deletions of our own kinds are not applied when they are seen, but when the
// kind's definition has been read live and stands (package crd). Until then the
// object counts as there. If the definition is on its way out, has gone or is
// another one, or has replaced another since the object was made, the deletion is
// never applied: the object is frozen, its service goes on being served and
// follows its endpoints, until an object of that name appears again.
//
// A service that exists but is not accepted any more keeps what was published of
// it: gone is said of deletions only.
//
// # Concurrency
//
// The loop is the only writer of the objects; it takes the lock for that, and
// others take it to read. Receive, Watch and the functions that look something
// up may be called from any goroutine. The functions given to Watch are called
// on the loop's goroutine and must not block. The loop waits for what it starts.
//
// # Invariants
//
//  1. Nothing is served before every kind was listed and everything compiled.
//  2. The watermark covers a revision only after all that it covers has been
//     published. A deletion that is not applied counts as covered.
//  3. A service is removed only for an RPCService whose deletion is believed.
//  4. A broken object harms no other service: compilation sees one at a time.
//  5. What is told of an object and of its status is of one batch of events: for
//     one generation, and the same other objects, a condition turns once.
//
// # Errors
//
// What is wrong with objects is in their status. Trouble with reading a
// definition is logged, counted and tried again.
//
// # Units and zero values
//
// Revisions are resourceVersions as numbers. Config needs all fields but Log,
// Now and the intervals.
package publish
