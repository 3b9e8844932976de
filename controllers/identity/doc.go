// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package identity finds out who connects to the registry: it judges projected
// ServiceAccount tokens.
//
// It does not decide what whom is allowed, and it issues nothing.
//
// Main flow: Verifier.Authenticate checks a token here, with the keys that the API
// server publishes: signature, issuer, audience, time; and that the Pod that it is
// bound to is known, by a watch of Pods. Keys that are not known are looked for,
// at most once in ten seconds. Only if no keys can be had at all is the API server
// asked about the token, by a TokenReview. When a Pod goes, Gone is called.
//
// Concurrency: Authenticate may be called from any goroutine, and blocks for a few
// seconds at most. Start is called once.
//
// Invariants:
//  1. Nothing that is said in a token counts before its signature was checked,
//     but for which key to check it with.
//  2. No token is logged, or part of an error.
//  3. What the API server is asked is bounded, whatever clients send.
//  4. Without the API server, what was known goes on to be judged by.
//
// Errors are *status.Error: Unauthenticated with the reason, which is counted,
// too; Unavailable when it cannot be told now.
//
// Units and zero values: see the fields of Config.
package identity
