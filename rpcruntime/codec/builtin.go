// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Raw passes bytes through. The argument is a []byte, a *[]byte or nil, the
// target a *[]byte, whose capacity is used when it suffices.
type Raw struct{}

// Append appends the bytes of v.
func (Raw) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return dst, nil
	case []byte:
		return append(dst, v...), nil
	case *[]byte:
		if v == nil {
			return dst, nil
		}
		return append(dst, *v...), nil
	default:
		return dst, errors.New("want []byte or *[]byte")
	}
}

// Decode copies data.
func (Raw) Decode(data []byte, v any) error {
	p, ok := v.(*[]byte)
	if !ok || p == nil {
		return errors.New("want a *[]byte that is not nil")
	}
	*p = append((*p)[:0], data...)
	return nil
}

// JSON is encoding/json. A number that lands in an interface becomes a
// json.Number, so that large integers survive.
type JSON struct{}

// Append appends v as JSON.
func (JSON) Append(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	return append(dst, b...), err
}

// Decode decodes one JSON value, after which only white space may follow.
func (JSON) Decode(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if rest := bytes.TrimLeft(data[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("%d bytes follow the value", len(rest))
	}
	return nil
}

// Protobuf encodes messages of google.golang.org/protobuf, and others that
// bring their own Marshal and Unmarshal, as those of gogo/protobuf do.
type Protobuf struct{}

var errNotProto = errors.New("want a proto.Message, or a type with Marshal and Unmarshal; send plain structs as msgpack or json")

// Append appends v in wire format; nothing for nil.
func (Protobuf) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return dst, nil
	case proto.Message:
		return proto.MarshalOptions{}.MarshalAppend(dst, v)
	case interface{ Marshal() ([]byte, error) }:
		b, err := v.Marshal()
		return append(dst, b...), err
	default:
		return dst, errNotProto
	}
}

// Decode decodes data into v, which is reset first.
func (Protobuf) Decode(data []byte, v any) error {
	switch v := v.(type) {
	case proto.Message:
		return proto.Unmarshal(data, v)
	case interface{ Unmarshal(data []byte) error }:
		if r, ok := v.(interface{ Reset() }); ok {
			r.Reset()
		}
		return v.Unmarshal(data)
	default:
		return errNotProto
	}
}
