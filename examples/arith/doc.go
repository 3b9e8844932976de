// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package arith is a service to try things on: the methods Arith.Mul, Add, Error
// and Sleep, in JSON, MsgPack and Protobuf under the same names, and Arith.Echo
// for raw bytes. The programs in server and client serve and call it, and so can
// any rpcx peer.
//
// It does not open connections; that is for the programs.
//
// Main flow: Register gives a server the methods. One Go type for each message
// serves all codecs: MsgPack and JSON see its fields, A and B, and Protobuf its
// methods Marshal and Unmarshal, which go by arithpb/arith.proto. What both
// programs have beside is here too: the files of TLS, the token that a server
// wants, the pushes that it sends.
//
// Concurrency: the methods keep nothing between calls.
//
// Errors are *status.Error; those of Sleep are the end of its context.
//
// Units: Sleep takes milliseconds. Zero values of the messages are valid.
package arith
