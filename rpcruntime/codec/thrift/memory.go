// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package thrift

import (
	"context"
	"io"

	"github.com/apache/thrift/lib/go/thrift"
)

// memory is the transport of one call: it reads from in, and appends to out.
// The library's own buffer copies its input, and cannot begin behind bytes that
// are there already.
type memory struct {
	in  []byte // what is still to be read
	out []byte
}

var (
	_ thrift.TTransport     = (*memory)(nil)
	_ thrift.TRichTransport = (*memory)(nil)
)

// Read reads into p.
func (m *memory) Read(p []byte) (int, error) {
	if len(m.in) == 0 && len(p) > 0 {
		return 0, io.ErrUnexpectedEOF // a struct ends with a byte of its own
	}
	n := copy(p, m.in)
	m.in = m.in[n:]
	return n, nil
}

// ReadByte reads the next byte.
func (m *memory) ReadByte() (byte, error) {
	if len(m.in) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	c := m.in[0]
	m.in = m.in[1:]
	return c, nil
}

// RemainingBytes is what the library holds claims of containers against.
func (m *memory) RemainingBytes() uint64 { return uint64(len(m.in)) }

// Write appends p.
func (m *memory) Write(p []byte) (int, error) {
	m.out = append(m.out, p...)
	return len(p), nil
}

// WriteByte appends c.
func (m *memory) WriteByte(c byte) error {
	m.out = append(m.out, c)
	return nil
}

// WriteString appends s.
func (m *memory) WriteString(s string) (int, error) {
	m.out = append(m.out, s...)
	return len(s), nil
}

// Open, IsOpen, Close and Flush have nothing to do: memory is always open.
func (m *memory) Open() error                 { return nil }
func (m *memory) IsOpen() bool                { return true }
func (m *memory) Close() error                { return nil }
func (m *memory) Flush(context.Context) error { return nil }
