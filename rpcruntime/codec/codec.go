// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"fmt"
	"strconv"
)

// Type is the serialize type of a payload, as frame headers carry it.
type Type uint8

// The types of rpcx. 5 to 15 are free for users. TypeThrift has no codec in
// this package.
const (
	TypeRaw      Type = 0
	TypeJSON     Type = 1
	TypeProtobuf Type = 2
	TypeMsgPack  Type = 3
	TypeThrift   Type = 4

	// MaxType is the largest type that a header can carry.
	MaxType Type = 15
)

var typeNames = [...]string{"raw", "json", "protobuf", "msgpack", "thrift"}

// String returns the name of the type, or "codec N" for one of the user's.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return "codec " + strconv.Itoa(int(t))
}

// Codec encodes and decodes payloads of one type. Both methods are safe for
// concurrent use.
type Codec interface {
	// Append appends the encoding of v to dst. It must not change what dst
	// holds. v may be nil: a call without an argument.
	Append(dst []byte, v any) ([]byte, error)
	// Decode decodes data into v, which is a pointer. It must not keep data.
	Decode(data []byte, v any) error
}

// Error is a value that could not be encoded or decoded.
type Error struct {
	// Type is the codec's.
	Type Type
	// Op is "encode" or "decode".
	Op string
	// Value is the Go type of the value, or of the pointer decoded into.
	Value string
	// Err is what the codec said.
	Err error
}

// Error names the operation, the codec, the Go type and the cause.
func (e *Error) Error() string {
	return fmt.Sprintf("%s %s as %s: %v", e.Op, e.Value, e.Type, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// UnknownTypeError is a serialize type without a codec.
type UnknownTypeError struct {
	// Type is the one asked for.
	Type Type
}

// Error begins with rpcx's text, which old callers may look for.
func (e *UnknownTypeError) Error() string {
	return fmt.Sprintf("can not find codec for %d: no codec of that type is in this side's set", e.Type)
}
