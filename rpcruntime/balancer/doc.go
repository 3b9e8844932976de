// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package balancer chooses the endpoint of each attempt.
//
// It does not connect, send or count time: it is told what became of the
// endpoints that it chose. It decides nothing about retries.
//
// Main flow. The control path hands each change of a service's endpoints to a
// Table, which keeps one EndpointState per endpoint id over all updates, asks
// it for the Candidates, and builds an immutable Picker from them, to be
// swapped in atomically. The data path loads the Picker, calls Pick, makes the
// attempt, and says how it went with EndpointState.Done.
//
// What a Picker prefers. An endpoint is in one of these classes, best first:
//
//	clean       nothing speaks against it
//	unproven    a suspect that answered once, but not since its last failure
//	draining    its connection said drain; what is sent is still served, mostly
//	dial-backoff  it could not be reached, and the next dial is not due
//	avoided     a limit refused a call there, and its delay is not over
//
// Whoever is in several classes is in the worst of them. A worse class is used
// only when the better ones are empty. Endpoints that this call has tried come
// after all others, and only if the caller asks for them. Suspects without
// evidence, and dropped endpoints for as long as they are left alone, are never
// picked. Within a class the choice is
// uniform (LeastRequest: by calls in flight, ties uniform), so that the load of
// an unusable endpoint spreads over all others and not onto its successor.
//
// Cost. Typically Pick reads one or two endpoints, however many there are. Only
// when those are not clean does it look further: at random places first, then
// at no more than scanLimit endpoints in a row. So, with more endpoints than
// that, a better class may be missed where fewer than one in a hundred is in it.
//
// Concurrency: a Picker and an EndpointState are safe for concurrent use, take
// no lock and allocate nothing. A Table belongs to one goroutine at a time.
//
// Invariants:
//  1. A Picker never changes after Build, save RoundRobin's counter.
//  2. Each successful Pick, and each Begin, counts one call in flight; each Done
//     takes one away.
//  3. An endpoint's state lives as long as its id is in the Table; a state that
//     was removed keeps working for the calls that still hold it.
//  4. A suspect is picked only on evidence: because it answered on the
//     connection that still stands, or, when nothing else is left, because it
//     answered once.
//  5. The package is pure: the time is given to it, and so is randomness.
//
// Errors: there are none. Pick reports false when there is nothing to pick.
//
// Units and zero values: times are durations since the start of the Runtime, on
// the monotonic clock; the zero time means "no longer". Rand is 64 uniformly
// random bits. The zero Table is empty and ready, the zero PickInfo is a first
// attempt at the start of the Runtime.
package balancer
