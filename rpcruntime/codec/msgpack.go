// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// MsgPack encodes structs as maps keyed by the Go field name, or the msgpack
// tag. Types that have the MarshalMsg and UnmarshalMsg methods of tinylib/msgp
// are encoded by those.
//
// Extensions other than times are read only as whole bodies: the library's
// interned strings are not decoded.
type MsgPack struct{}

// keepBuffers is the longest input after which a decoder goes back to its
// pool: it keeps a buffer as long as the longest string that it has read.
const keepBuffers = 64 << 10

type encoder struct {
	enc *msgpack.Encoder
	buf []byte
}

func (e *encoder) Write(p []byte) (int, error) {
	e.buf = append(e.buf, p...)
	return len(p), nil
}

func (e *encoder) WriteByte(c byte) error {
	e.buf = append(e.buf, c)
	return nil
}

type decoder struct {
	dec *msgpack.Decoder
	src source
}

var (
	encoders = sync.Pool{New: func() any { return &encoder{enc: msgpack.NewEncoder(nil)} }}
	decoders = sync.Pool{New: func() any { return &decoder{dec: msgpack.NewDecoder(nil)} }}
)

// Append appends v as MsgPack; nil as MsgPack's nil.
func (MsgPack) Append(dst []byte, v any) ([]byte, error) {
	if m, ok := v.(interface {
		MarshalMsg(b []byte) ([]byte, error)
	}); ok {
		return m.MarshalMsg(dst)
	}
	e := encoders.Get().(*encoder)
	e.buf = dst
	e.enc.Reset(e) // a custom encoder of the user may have left options set
	err := e.enc.Encode(v)
	dst, e.buf = e.buf, nil
	encoders.Put(e) // not after a panic
	return dst, err
}

// Decode decodes the first value of data, all of which must be well-formed.
func (MsgPack) Decode(data []byte, v any) error {
	if len(data) == 0 {
		return nil
	}
	extensions, err := checkMsgPack(data)
	if err != nil {
		return err
	}
	if m, ok := v.(interface {
		UnmarshalMsg(b []byte) ([]byte, error)
	}); ok {
		_, err := m.UnmarshalMsg(data)
		return err
	}
	d := decoders.Get().(*decoder)
	d.src = source{data: data, guarded: extensions}
	d.dec.Reset(&d.src)
	err = d.dec.Decode(v)
	d.src = source{}
	if err == nil && len(data) <= keepBuffers {
		decoders.Put(d) // not after a panic or error: it may still be recording
	}
	return err
}
