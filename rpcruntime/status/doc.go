// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status holds the closed set of codes that a call can end with, and
// the one error type that carries them.
//
// It does not know of frames, retries or policies: it says how a call ended,
// what is known about whether it ran, and nothing about what to do next.
//
// Main flow: whoever ends a call makes an *Error (New, Errorf, or With... on
// one that exists); the code is read back with CodeOf, FateOf and RetryAfter,
// through any wrapping.
//
// All functions are safe for concurrent use. An *Error is immutable once it
// has been handed out.
//
// Invariants:
//  1. Codes have gRPC's numbers and names, and the set is closed: a number
//     from the wire outside of it reads as Unknown.
//  2. The fate of a call (executed, unexecuted, unknown) is never derived from
//     its code. It is set from where the call stood when it failed.
//
// Zero values: Code 0 is OK, which no *Error has; Fate 0 is FateUnknown, the
// safe reading; RetryAfter 0 means that nothing was advised.
package status
