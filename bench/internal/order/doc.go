// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package order has the message that every call of the Protobuf lane carries.
//
// It does not encode or decode: each peer does that, all with the same library.
//
// Main flow: New makes a message of exactly Bytes bytes, the caller stamps it,
// and Check looks whether what came back is what was sent.
//
// Concurrency: messages belong to whoever made them.
//
// Invariants:
//  1. A message that New made takes Bytes bytes, whatever its stamp is.
//
// Errors of Check say what differs.
//
// Units and zero values: there are none.
package order
