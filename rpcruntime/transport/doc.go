// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package transport is one multiplexed connection, in both roles: ClientConn
// makes calls, ServerConn takes them. docs/wire-protocol.md is what they speak.
//
// It does not dial or listen, choose endpoints, retry, encode arguments or run
// handlers. It says of each call that failed what is known of its execution, and
// leaves to others what to do about it.
//
// Main flow of a call: ClientConn.Do takes a slot, appends the frame to the
// writer, which combines the frames of many callers into one write, and waits
// for whoever takes the slot out of the table: the reader with an answer, the
// wheel at the deadline, the caller itself, or the end of the connection. On the
// other side the reader hands an Inbound to the Handler, which ends it once.
//
// States of the calling side:
//
//	open --drain--> draining --bye--> closed to new calls --EOF--> over
//	  \________________\______________________\___error, Close___/
//
// States of the callee's side, of which Drain goes through all:
//
//	open --> draining --> reading stopped --> bye said --> half-closed --> over
//	  \__________\_______________\_______________\____error, Close______/
//
// Concurrency: all methods may be called at any time from any goroutine, unless
// they say otherwise. Each connection has one reader goroutine, started by the
// constructor, and at times one flusher; Close and Done wait for both. Handler
// and Events are called by the reader and must not block.
//
// Invariants:
//  1. Each call ends exactly once, by whoever took its slot.
//  2. The reader never writes to the connection, it only appends.
//  3. A request is called unexecuted only if Write did not accept its last byte,
//     or the callee's bye does not count it, or the callee's dispatcher said so.
//  4. Control frames pass waiting data, but bye, which follows every answer.
//  5. What a peer claims is believed only after announcement and hello.
//  6. A quiet connection holds no buffers: the one to read into goes back at
//     once, those to write from after a heartbeat interval without a byte.
//
// Errors of Do are *status.Error with a Fate and, where one applies, a Reason.
// A connection's own end is told by Err and to Events or Handler.
//
// Zero values of Config are its defaults, never unlimited. Sizes are bytes.
package transport
