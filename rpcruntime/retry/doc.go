// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package retry decides whether a failed attempt is followed by another.
//
// It makes no attempt, does not wait and chooses no endpoint: it returns a
// Decision, and the caller carries it out.
//
// Main flow: each call is recorded in its Budget (RecordCall). Before an
// attempt, AttemptTimeout says how long it may take. When it failed, Decide
// says whether there is another, after which delay, and why.
//
// An attempt after the first happens only if all of these allow it:
//
//   - The callee: an answer that says never is final.
//   - Safety: the failed attempt is unexecuted, or the method is idempotent.
//   - The error: below.
//   - The policy: attempts are left, and an endpoint not yet tried.
//   - The deadline: it is later than the end of the delay.
//   - The budget, which is asked last, so that nothing is taken in vain.
//
// Which errors are retried:
//
//	fate         idempotent method                       other methods
//	unexecuted   all that do not speak of the request    the same
//	unknown      Unavailable, DeadlineExceeded, Unknown  none
//	executed     Unavailable                             none
//
// Of the request speak InvalidArgument, NotFound, AlreadyExists,
// PermissionDenied, FailedPrecondition, OutOfRange, Unimplemented, Internal,
// DataLoss and Unauthenticated: every endpoint would say the same. They do not
// count as such when the endpoint did not take the call, for then it has not
// looked at it. The caller's own end of patience, Canceled or its own deadline,
// is never retried. An executed error is the application's answer, and it is
// respected; only Unavailable asks by its very meaning to be tried elsewhere.
// Aborted is left to the application, which knows where to start again.
//
// One resend per call is free: of budget, of attempts, of delay, and of the
// fail mode. It follows an attempt that its endpoint did not take: drain, bye,
// wrong-endpoint, or a frame that never left. So restarts do not eat up the
// budget, nor fail a Failfast call. A refusal by a limit always pays, but goes
// at once to an endpoint not yet tried.
//
// Along a chain of services only the hop next to a failure retries. A handler
// that fails with the error of a call that it made answers never to those above
// (SaysNever).
//
// The Budget allows retries up to a share of the calls of its interval, and
// beyond that a minimum rate, for services that are called rarely. Its windows
// move in tenths, and hold the last whole interval and up to a tenth more. New
// parameters start an empty Budget (With).
//
// Concurrency: everything is safe for concurrent use, takes no lock and
// allocates nothing. Rules, Attempt and Decision are values.
//
// Invariants:
//  1. A call that may have been executed is repeated only if its method is idempotent.
//  2. Each paid retry was taken from the budget: within an interval there are at
//     most its share of that window's calls, plus the minimum rate.
//  3. A call is resent for free at most once.
//  4. The package is pure: the time is given to it, and so is randomness.
//
// Errors: there are none; a Decision has a Reason out of a closed set.
//
// Units and zero values: times are durations since the start of the Runtime, on
// the monotonic clock. The zero Rules allow one attempt without a timeout of its
// own. A nil Budget has nothing to give. A zero share or minimum gives nothing.
package retry
