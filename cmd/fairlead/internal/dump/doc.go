// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dump decodes captured traffic of rpcx and Fairlead for people: one
// line for each frame.
//
// It captures nothing itself and never decrypts. It reads files that tcpdump
// and others wrote, or stands between two programs as a proxy.
//
// Main flow, for a file:
//
//	records -> packet -> half -> scanner -> conversation -> printer
//
// records (capture.go) reads the file; packet.go finds the TCP segment in a
// packet; a half puts the segments of one direction into order and names what
// is missing; a scanner cuts the bytes into frames and finds the next one after
// damage; a conversation knows both directions, so it can say which request a
// response answers; a printer writes lines or JSON. Proxy starts at the scanner.
//
// Concurrency: everything that decodes belongs to one goroutine. Proxy has two
// more for each connection, which copy bytes and never wait for the decoder:
// what it cannot keep up with is counted, and said.
//
// Invariants:
//  1. What a peer sent reaches the output escaped: nothing in it can move a
//     cursor, and no token is shown.
//  2. Memory is bounded by a budget that all connections share, whatever
//     lengths the traffic claims. What exceeds it is described less, and
//     never decoded wrongly.
//  3. How the bytes were split into segments or reads changes no line but in
//     its time.
//  4. A proxy passes on every byte that came, and in order, whether or not it
//     was decoded.
//
// Errors are those of the file, of the output and of the listener. Traffic that
// is wrong is no error: it is what is looked for, and becomes a line.
//
// Sizes are in bytes. The zero Options mean one line for each frame.
package dump
