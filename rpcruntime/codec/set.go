// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Set maps types to codecs. It is immutable; With makes another. A nil or zero
// Set is empty.
type Set struct {
	codecs      [MaxType + 1]Codec
	compressors [MaxCompressType + 1]Compressor
}

// New returns the set of the built-in codecs: raw, JSON, Protobuf, MsgPack, and
// of the compressor gzip.
func New() *Set {
	s := new(Set)
	s.codecs[TypeRaw] = Raw{}
	s.codecs[TypeJSON] = JSON{}
	s.codecs[TypeProtobuf] = Protobuf{}
	s.codecs[TypeMsgPack] = MsgPack{}
	s.compressors[CompressGzip] = Gzip{}
	return s
}

// With returns a copy of s in which c encodes payloads of type t. Built-in
// codecs can be replaced.
func (s *Set) With(t Type, c Codec) (*Set, error) {
	if t > MaxType {
		return nil, fmt.Errorf("serialize type %d does not fit into a frame: choose one from 5 to %d", t, MaxType)
	}
	if c == nil {
		return nil, fmt.Errorf("the codec for serialize type %d is nil", t)
	}
	with := new(Set)
	if s != nil {
		*with = *s
	}
	with.codecs[t] = c
	return with, nil
}

// Has reports whether the set has a codec for t.
func (s *Set) Has(t Type) bool { return s != nil && t <= MaxType && s.codecs[t] != nil }

// Append appends the encoding of v as t to dst. On error it returns dst as it
// came. A panic of the codec, or of a method of v, is returned as an error.
func (s *Set) Append(t Type, dst []byte, v any) (out []byte, err error) {
	if !s.Has(t) {
		return dst, &UnknownTypeError{Type: t}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err == nil && len(out) < len(dst) {
			err = errNotAppended
		}
		if err != nil {
			out, err = dst, &Error{Type: t, Op: "encode", Value: fmt.Sprintf("%T", v), Err: err}
		}
	}()
	return s.codecs[t].Append(dst, v)
}

// Decode decodes data, encoded as t, into v, which is a pointer, or nil when
// nobody wants the value. A panic of the codec, or of a method of v, is
// returned as an error.
//
// Empty data leaves v as it is for JSON and MsgPack, whose encodings are never
// empty; it is the empty message for Protobuf and no bytes for raw.
func (s *Set) Decode(t Type, data []byte, v any) (err error) {
	if v == nil {
		return nil
	}
	if !s.Has(t) {
		return &UnknownTypeError{Type: t}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			err = &Error{Type: t, Op: "decode", Value: fmt.Sprintf("%T", v), Err: err}
		}
	}()
	return s.codecs[t].Decode(data, v)
}

// TypeFor returns the type that a call with this argument is sent as when
// nobody said otherwise: Protobuf for a proto.Message, raw for []byte and
// *[]byte, else MsgPack. A call without an argument goes by its reply.
func TypeFor(arg, reply any) Type {
	if arg == nil {
		arg = reply
	}
	switch arg.(type) {
	case proto.Message:
		return TypeProtobuf
	case []byte, *[]byte:
		return TypeRaw
	default:
		return TypeMsgPack
	}
}
