// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package codec turns arguments and replies into payload bytes and back, and
// payloads into compressed ones and back.
//
// It does not know of frames or calls: serialize and compress types are numbers
// here, those that the frame header carries. It decides neither what is
// compressed nor how large a payload may be; it keeps to the limit it is given.
//
// Main flow: New returns the Set of what is built in, With and WithCompressor
// return copies with one more. TypeFor says which type fits an argument;
// Set.Append and Set.Decode look the codec up, call it, and turn what goes
// wrong, a panic of the user's own marshalling method included, into an error
// that names codec and Go type. Set.Compress and Set.Decompress do the same for
// compressors.
//
// A Set is immutable and safe for concurrent use. So is each Codec and each
// Compressor, or it must not be put into a Set. Conversions by Gzip wait for
// each other when there are many; nothing else here waits.
//
// Invariants:
//  1. No codec keeps the bytes that it decodes: they belong to a buffer that is
//     used again as soon as Decode has returned.
//  2. Append leaves what dst already holds as it is; that of a Set adds nothing
//     on error.
//  3. What a built-in codec allocates while decoding is bounded by the length of
//     the input times a factor of the target type, whatever lengths the input claims.
//  4. Nesting deeper than 10,000 levels is an error, never an exhausted stack.
//  5. Decompressing yields the limit at most, allocates twice that at most, and
//     begins with no more than eight times the input, whatever the input claims.
//  6. What was returned belongs to the caller. Pools hold state, never a payload.
//
// The bytes of JSON, MsgPack and Protobuf are those of rpcx: MsgPack writes
// structs as maps keyed by the Go field name or the msgpack tag. Two things
// are stricter than there: JSON followed by something else is an error, and so
// is MsgPack that is not a sequence of whole values.
//
// A value that contains itself has no encoding; MsgPack recurses into it until
// the process ends, as the library below it does.
//
// Errors are *Error and *UnknownTypeError, those of compressors ErrTooLarge,
// *UnknownCompressError, and what the compressor said. Sizes and limits are
// bytes; a limit of zero lets nothing pass. The zero Set has no codecs and no
// compressors; the zero Type is TypeRaw, the zero CompressType CompressNone.
package codec
