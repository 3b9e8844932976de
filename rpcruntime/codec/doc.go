// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package codec turns arguments and replies into payload bytes and back.
//
// It does not know of frames, compression or calls: a serialize type is a
// number here, the one that the frame header carries.
//
// Main flow: New returns the Set of built-in codecs, With returns a copy with
// one more. TypeFor says which type fits an argument; Set.Append and Set.Decode
// look the codec up, call it, and turn what goes wrong, a panic of the user's
// own marshalling method included, into an error that names codec and Go type.
//
// A Set is immutable and safe for concurrent use. So is each Codec, or it must
// not be put into a Set.
//
// Invariants:
//  1. No codec keeps the bytes that it decodes: they belong to a buffer that is
//     used again as soon as Decode has returned.
//  2. Append leaves what dst already holds as it is; that of a Set adds nothing
//     on error.
//  3. What a built-in codec allocates while decoding is bounded by the length of
//     the input times a factor of the target type, whatever lengths the input claims.
//  4. Nesting deeper than 10,000 levels is an error, never an exhausted stack.
//
// The bytes of JSON, MsgPack and Protobuf are those of rpcx: MsgPack writes
// structs as maps keyed by the Go field name or the msgpack tag. Two things
// are stricter than there: JSON followed by something else is an error, and so
// is MsgPack that is not a sequence of whole values.
//
// A value that contains itself has no encoding; MsgPack recurses into it until
// the process ends, as the library below it does.
//
// Errors are *Error and *UnknownTypeError. The zero Set has no codecs; the zero
// Type is TypeRaw.
package codec
