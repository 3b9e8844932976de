// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire is the layout of rpcx frames: parse, append, limits. It knows
// bytes only. The bytes are described in docs/wire-protocol.md; the constants
// here carry its names.
//
// It does not read or write connections, compress, or know what a payload
// means, and it starts no goroutine.
//
// Main flow, reading: ParsePrefix on the first 16 bytes says how long the frame
// is; Limits.Check says whether to read it, to discard and answer it, or to give
// up; Parse on the whole yields a Frame whose slices point into the input.
// Writing: Begin, then Builder.Meta for each entry, then Builder.Payload. What
// stands inside frames as text or numbers of our own (announcement, hello, retry
// advice, payloads of control frames) has an Append and a Parse each.
//
// All functions are pure. A Frame is valid as long as nobody changes the bytes
// it was parsed from. A Builder belongs to one goroutine.
//
// Invariants:
//  1. Parse accepts a frame only if its inner lengths add up exactly to the
//     total, and its metadata block is made of whole entries.
//  2. No length from the wire is allocated, or added without a check for overflow.
//  3. What a Builder makes, Parse accepts, and yields the same fields.
//
// Errors are *MalformedError, which names the field that is wrong, and
// *LimitError, which names the limit, its value and the claim. What is inside
// frames fails with ok=false and is then taken as absent.
//
// Lengths are in bytes. The zero Limits means the defaults, never unlimited.
package wire
