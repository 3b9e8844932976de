// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rpcxpeer is a second implementation of rpcx's protocol, for tests: a
// caller, a callee and a service between the two that behave as rpcx's own do,
// quirks included. It is written from the protocol's description and shares
// nothing with package wire, so that a mistake in one is found by the other.
//
// What it leaves out: HTTP, other transports than the net.Conn it is given, file
// transfer, registries, breakers, all fail modes but Failover, and rpcx's way of
// shutting down. It knows no codecs: payloads are bytes, and the serialize type
// is a number that the user states. Of rpcx's lenient parser it has the one
// habit that peers may come to rely on, that the payload is the rest of the
// frame whatever its length says. What else does not add up ends the connection
// here, where rpcx would go on with empty fields. Sizes are bounded here, and
// are not in rpcx.
//
// Main flow. Client writes each message by one Write and matches answers by seq,
// which starts at 0. XClient keeps one Client for each server, and calls in
// Failover mode: four attempts, each at a server chosen anew, perhaps the same.
// Server runs a goroutine for each request, or a pool of workers. Forward is the
// handler of a service in the middle: it hands its context on, and with it, in
// both directions, metadata that was meant for one hop.
//
// Quirks that are kept, because others must get along with them:
//
//   - an error response without metadata counts as a success (Client);
//   - the connection ends when a heartbeat is not answered in time (Client);
//   - pushes that find their channel full are dropped (Client);
//   - a call whose connection was lost is sent again, whether it ran or not, and
//     sending to a server that is gone uses up attempts (XClient);
//   - heartbeats wait for a worker like any call, and their answers repeat
//     metadata, even if they are oneway (Server);
//   - answers copy the request's header, path and method (Server);
//   - a handler's context does not end with its caller's connection (Server);
//   - a rejected token is answered, then the connection is closed (Server);
//   - a panic's text goes to the caller (Server).
//
// Concurrency: Client, XClient and Server are safe for concurrent use. Each owns
// the goroutines it started; its Close waits for them, a Server's also for its
// handlers, whose contexts do not end.
//
// Invariants:
//  1. A message is written by one Write.
//  2. A pending call is ended once: by its answer, its context or its connection.
//
// Errors: ServiceError is what the callee answered, all else is the
// connection's. Units: durations as in the standard library; the deadline
// travels in whole milliseconds, truncated.
package rpcxpeer
