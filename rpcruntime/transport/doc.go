// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package transport is one multiplexed connection, in both roles: ClientConn
// makes calls, ServerConn takes them. docs/wire-protocol.md is what they speak.
//
// It does not dial or listen, choose endpoints, retry, encode arguments or run
// handlers. It says of each call that failed what is known of its execution, and
// leaves to others what to do about it.
//
// Main flow of a call: ClientConn.Do takes a slot, waits for its turn if the
// peer's window is full, appends the frame to the writer, which combines the
// frames of many callers into one write, and waits for whoever takes the slot out
// of the table: the reader with an answer, the wheel at the deadline, the caller
// itself, or the end of the connection; of a oneway call, the writer. On the
// other side the reader hands an Inbound to the Handler, which ends it once. The
// states of a call on both sides are drawn in cancel.go, those of the window in
// window.go.
//
// States of the calling side:
//
//	open --drain--> draining --bye--> closed to new calls --no call left, EOF--> over
//	  \________________\______________________\___error, Close__________________/
//
// States of the callee's side, of which Drain goes through all:
//
//	open --> draining --> reading stopped --> bye said --> half-closed --> over
//	  \__________\_______________\_______________\____error, Close______/
//
// Concurrency: all methods may be called at any time from any goroutine, unless
// they say otherwise. Each connection has one reader goroutine, started by the
// constructor, and at times one flusher and one that drains; Close and Done wait
// for all. As long as calls come one at a time, their caller may read in its place:
// see lone.go. It may run handlers, and is replaced if that takes long: see here.go.
// Handler, Ender and Events are called by whoever reads
// and must not block.
// Of the locks, a writer's is taken before that of the table of calls.
//
// Invariants:
//
//  1. Each call ends exactly once, by whoever took its slot.
//
//  2. Whoever reads never writes to the connection, it only appends. A reader that
//     runs a handler, or writes what those have answered, does not read, and is
//     replaced if that takes long.
//
//  3. A request is called unexecuted only if Write did not accept its last byte,
//     or the callee's bye does not count it, or the callee's dispatcher said so.
//
//  4. Control frames pass waiting data, but bye, which follows every answer, and
//     cancel, which follows its request.
//
//  5. What a peer claims is believed only after announcement and hello.
//
//  6. A quiet connection holds no buffers: the one to read into goes back at
//     once, those to write from after half a second without a byte. Then its
//     reader rests: it goes on in a new goroutine, whose stack has not grown,
//     and over TLS waits below the TLS (Ahead). One that began a frame holds
//     little more than what came of it.
//
//  7. Neither side has a queue, buffer or number of goroutines without a bound:
//
//     what                                   bound
//     frames that wait to be written         Config.WriteBuffer, and the frame that reached it
//     and the reader's own answers         twice that, then the reader waits
//     and cancels                          one of 50 bytes per call in flight
//     requests taken back, not closed up   Config.WriteBuffer
//     control frames that wait               hello, window, drain: once each; load: not while 1 KiB waits;
//     heartbeats: one per interval, until WriteTimeout
//     cancels kept until the hello           1,024; what is more is dropped
//     pushes                                 none: the Source is asked when nothing else waits
//     calls in flight, at the caller         Config.MaxCalls, and the peer's window
//     calls that wait for the window         Config.MaxCalls
//     requests being served                  Config.MaxCalls, Config.MaxRequestBytes, Config.Shared
//     and those whose answer waits         as many again, and 256; as many bytes, at least 16 MiB
//     a frame half read                      what came of it, times 4 (at least 64 KiB from 8 KiB on)
//     all of them together                 half of Config.Shared
//     a heartbeat to be echoed               128 KiB; larger ones are dropped
//     goroutines                             reader, flusher, drain
//
// Errors of Do are *status.Error with a Fate and, where one applies, a Reason.
// A connection's own end is told by Err and to Events or Handler.
//
// Zero values of Config are its defaults, never unlimited. Sizes are bytes.
package transport
