// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rpcruntime calls and serves RPC between services without a sidecar. A
// program makes one Runtime; Clients and Servers come from it.
//
// It does not decide policy: timeouts, retries, balancing and limits come from a
// registry, or stand in code only for a Client with fixed Endpoints.
//
// Main flow of a call: Call runs the interceptors once, finds the method's
// policy in the client's immutable state, encodes the argument once, and makes
// attempts: Picker.Pick chooses an endpoint, its link has or makes a connection,
// transport carries the request, package retry says what follows a failure. On
// the other side the reader looks the method up, package limit admits it, and a
// reused goroutine decodes, runs the interceptors and the handler, and answers; for
// a handler that returns at once the reader does so itself.
//
// Other ways in end in the same dispatcher: Broadcast, Fork and Inform make one
// attempt at each endpoint; what a Protocol such as package gateway received goes
// through Server.Do. Messages from 64 KiB on travel over a connection of their own to
// their endpoint, so that small ones do not wait behind them; many small calls have
// two.
//
// The registry's changes arrive on the watch's own goroutine, become a new
// immutable state, and are swapped in; calls never wait for them, save the first
// of a client, for the first state.
//
// Concurrency: everything is safe for concurrent use unless it says otherwise.
// Runtime.Close waits for every goroutine of the runtime.
//
// Invariants:
//  1. A call is sent again only if it was surely not executed, or its method is
//     declared idempotent.
//  2. What a handler or a caller is given is never reused behind its back.
//  3. A server answers everything that it read, before it says bye.
//
// Errors of calls are *status.Error: CodeOf, FateOf and RetryAfter read them.
//
// Zero values of options keep the defaults; no limit can be switched off by 0.
package rpcruntime
