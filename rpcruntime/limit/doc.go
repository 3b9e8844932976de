// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package limit decides which calls a server admits.
//
// It does not queue, does not answer and knows nothing of connections: the
// dispatcher asks it between parsing a request and starting its handler, and
// sends the refusal.
//
// Main flow: New builds a Limiter from the limits of a service's policies, to be
// swapped in atomically; With builds the next one. Admit decides on a call. A
// call that runs holds a Ticket until its handler has returned (Ticket.Done).
//
// Limits never merge: each that covers the method must admit. What a limit gave
// to a call that another one refuses, it gets back; in the moment between, it may
// refuse a third call that it would have admitted.
//
// A rate is a bucket of tokens, filled evenly, and full at the start. It is kept
// as the time at which it would be full again (the generic cell rate
// algorithm), so that a decision is one compare-and-swap. Delays are rounded up,
// so that a rate is never exceeded, by 1/16 ns per token at most.
//
// By caller, a proven name has counts of its own, all others share one. With
// declared names believed, these have counts of their own too, apart from the
// proven ones, so that nobody spends a proven caller's share by taking its name;
// of them at most MaxDeclared, and of the proven at most MaxProven, are told
// apart at a time, the rest shares with the nameless. Who has nothing running and a full bucket is forgotten, a few
// at a time, when a new name comes: a new entry would be just the same.
//
// Concurrency: a Limiter is immutable but for its counts, and safe for
// concurrent use. Admit and Done take no lock and allocate nothing, save when a
// caller's name is new, or when more than inlineLimits limits cover one method.
//
// Invariants:
//  1. In any time t a bucket admits at most burst + t * count / interval calls.
//  2. Never do more than max calls of a limit run at once.
//  3. A refused call leaves nothing behind.
//  4. A limit that an update leaves as it was keeps its counts; one that is
//     changed starts anew. Calls that are running are released where they were
//     counted.
//  5. The package is pure: the time is given to it. Seeds of hash tables are the
//     only randomness, and no decision depends on them.
//
// Errors: there are none. A refusal names its limit, and the delay after which
// another try makes sense.
//
// Units and zero values: times are durations since the start of the Runtime, on
// the monotonic clock. A nil or zero Limiter admits everything, the zero Ticket
// holds nothing. Limits have passed policy's validation; a rate of nothing, or
// without an interval, admits nothing.
package limit
