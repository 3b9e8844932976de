// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package thrift is the codec of serialize type 4: structs of Apache Thrift in
// its binary protocol, for services whose types come from its compiler.
//
// It does not speak Thrift's own RPC: there is no message envelope, no frame
// and no transport of it. Nor is it built in, so that only programs that ask
// for it carry the library:
//
//	codecs, err := codec.New().With(codec.TypeThrift, thrift.Codec{})
//	...
//	rt, err := rpcruntime.New(rpcruntime.WithCodecs(codecs))
//	arith := rt.NewClient("arith", rpcruntime.WithCodec(codec.TypeThrift))
//
// Main flow: Append hands the value a protocol that writes behind what dst
// holds. Decode hands it one that reads from the payload, and then wants
// nothing left. Both are the library's binary protocol, guarded: generated code
// makes slices and maps as large as the input says, so what the input says is
// held against what it can hold.
//
// A Codec is safe for concurrent use. Values are not: generated code sees to
// neither.
//
// Invariants:
//  1. Decode keeps no byte of its input, and no buffer outlives either call.
//  2. All sizes of containers that one input claims are together no more than
//     its bytes: an element takes a byte at least. So what is allocated is bounded
//     by the length of the input times a factor of the target type, also where
//     the target reads other types than were written.
//  3. Structs and skipped values nested deeper than 10,000 levels are an error,
//     in both directions; a struct that contains itself ends there.
//  4. Append leaves what dst already holds as it is.
//
// Errors are those of the library, and of generated code, for example over a
// required field that is missing; a Set adds codec and Go type, and turns panics
// into errors. The zero Codec is ready for use.
package thrift
