// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package registry is the watch client of the registry, and the messages that
// registry and client exchange. docs/registry-protocol.md is what they speak.
//
// It does not serve a registry, merge policies, choose endpoints or make calls
// to services. It says what is known of a service, and how new that is.
//
// Main flow: Watch adds a service to the subscription of the one connection,
// and starts from the last-known-good cache if the registry does not answer. Part
// frames are staged per connection; the change that names them puts the service
// together, checks digest and order, decodes it, hands it to the watchers and to
// the cache, and has it acked. A connection that ends is replaced, with full
// jitter, by one to the next address; what is held is told to it, so that only
// what differs is sent.
//
// Concurrency: all methods of Client may be called from any goroutine. One
// goroutine, the loop, calls the watchers, one at a time; dialling, calls and
// files have goroutines of their own. Close waits for all of them.
//
// Invariants:
//  1. Nothing of a service is applied before its change: all parts move together.
//  2. What is held is replaced only by what decodes whole, and in one epoch never
//     by what its replica may have seen less of.
//  3. Memory is bounded by what came: a length is believed when its bytes are
//     there, and what waits for a change is bounded in bytes.
//  4. Trouble with the registry, and anything it sends that is wrong, leaves what
//     is held as it is.
//
// Errors given to watchers are *status.Error; errors.As finds NotFoundError,
// GoneError, FrameError and those of policy in them.
//
// Zero values: a Config without addresses works from the cache alone, one
// without CacheDir has no cache. Times in messages are milliseconds.
package registry
