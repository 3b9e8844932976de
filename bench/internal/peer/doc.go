// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package peer has the servers and clients that are measured side by side, each
// behind the same two interfaces: Fairlead through its public API, the other
// libraries set up as their own benchmarks set them up, and two yardsticks that
// do no more than move frames.
//
// It does not make load or measure: package load does.
//
// Main flow: a server's process calls Peer.Serve, a client's Peer.Dial, and each
// of its callers gets a Caller of its own, which sends an order or bytes to one
// of the handlers and returns the echo.
//
// Concurrency: a Client may be used from any goroutine, a Caller from one at a
// time. Serve returns when its context ends and all that it started has ended.
//
// Invariants:
//  1. All peers echo: the reply is what the handler was given. That is never used
//     again, and neither is an order that is returned to a caller.
//  2. All encode orders with google.golang.org/protobuf and nothing else.
//  3. All sockets are plain TCP with the options that Go gives them.
//
// Errors are those of the library behind.
//
// Units and zero values: Setup says.
package peer
