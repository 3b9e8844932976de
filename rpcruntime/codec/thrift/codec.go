// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package thrift

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/thrift/lib/go/thrift"
)

// Codec encodes thrift.TStruct: pointers to the types that thrift's compiler
// makes.
type Codec struct{}

var errNotStruct = errors.New("want a thrift.TStruct, which is a pointer to a type that thrift's compiler made")

// Append appends v as a struct of the binary protocol; nil as the struct
// without fields, which is one byte.
func (Codec) Append(dst []byte, v any) ([]byte, error) {
	if v == nil {
		return append(dst, thrift.STOP), nil
	}
	s, ok := v.(thrift.TStruct)
	if !ok {
		return dst, errNotStruct
	}
	m := &memory{out: dst}
	if err := s.Write(context.Background(), guard(m)); err != nil {
		return dst, err
	}
	return m.out, nil
}

// Decode decodes one struct, behind which nothing may follow, into v. Fields
// that data does not mention stay as they are; no data mentions none.
func (Codec) Decode(data []byte, v any) error {
	s, ok := v.(thrift.TStruct)
	if !ok {
		return errNotStruct
	}
	if len(data) == 0 {
		return nil
	}
	m := &memory{in: data}
	if err := s.Read(context.Background(), guard(m)); err != nil {
		return err
	}
	if len(m.in) > 0 {
		return fmt.Errorf("%d bytes follow the struct", len(m.in))
	}
	return nil
}
