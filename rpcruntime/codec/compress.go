// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// CompressType says how a payload is compressed, as frame headers carry it.
type CompressType uint8

// The compress types of rpcx. 2 to 7 are free for users: both sides need a
// compressor of that number, for an old peer ends the connection over one that
// it does not know.
const (
	CompressNone CompressType = 0
	CompressGzip CompressType = 1

	// MaxCompressType is the largest type that a header can carry.
	MaxCompressType CompressType = 7
)

// CompressAbove is the size that a payload must exceed to be compressed, as in
// rpcx: below it there is little to gain. Bytes.
const CompressAbove = 1024

// String returns the name of the type, or "compressor N" for one of the user's.
func (t CompressType) String() string {
	switch t {
	case CompressNone:
		return "none"
	case CompressGzip:
		return "gzip"
	default:
		return "compressor " + strconv.Itoa(int(t))
	}
}

// Compressor compresses payloads. Both methods are safe for concurrent use and
// keep neither data nor dst.
type Compressor interface {
	// Compress appends the compressed form of data to dst.
	Compress(dst, data []byte) ([]byte, error)
	// Decompress appends what data holds to dst, which may grow by limit bytes at
	// most: more is ErrTooLarge. It allocates as bytes come, and never by what
	// data claims.
	Decompress(dst, data []byte, limit int) ([]byte, error)
}

// ErrTooLarge is a payload that holds more than the limit once decompressed.
var ErrTooLarge = errors.New("holds more than the limit once decompressed")

// UnknownCompressError is a compress type without a compressor.
type UnknownCompressError struct {
	// Type is the one asked for.
	Type CompressType
}

// Error names the type.
func (e *UnknownCompressError) Error() string {
	return fmt.Sprintf("no compressor for compress type %d is in this side's set", e.Type)
}

// WithCompressor returns a copy of s in which c compresses payloads of type t.
func (s *Set) WithCompressor(t CompressType, c Compressor) (*Set, error) {
	switch {
	case t == CompressNone || t > MaxCompressType:
		return nil, fmt.Errorf("compress type %d cannot have a compressor: choose one from 2 to %d", t, MaxCompressType)
	case c == nil:
		return nil, fmt.Errorf("the compressor for compress type %d is nil", t)
	}
	with := new(Set)
	if s != nil {
		*with = *s
	}
	with.compressors[t] = c
	return with, nil
}

// HasCompressor reports whether the set can decompress t.
func (s *Set) HasCompressor(t CompressType) bool {
	return t == CompressNone || s != nil && t <= MaxCompressType && s.compressors[t] != nil
}

// Compress appends the compressed form of data to dst. On error it returns dst
// as it came.
func (s *Set) Compress(t CompressType, dst, data []byte) (out []byte, err error) {
	return s.convert(t, dst, data, "compress", func(c Compressor) ([]byte, error) { return c.Compress(dst, data) })
}

// Decompress appends what data holds to dst, at most limit bytes of it: more is
// ErrTooLarge. On error it returns dst as it came.
func (s *Set) Decompress(t CompressType, dst, data []byte, limit int) (out []byte, err error) {
	return s.convert(t, dst, data, "decompress", func(c Compressor) ([]byte, error) { return c.Decompress(dst, data, limit) })
}

func (s *Set) convert(t CompressType, dst, data []byte, op string, do func(Compressor) ([]byte, error)) (out []byte, err error) {
	if t == CompressNone {
		return append(dst, data...), nil
	}
	if !s.HasCompressor(t) {
		return dst, &UnknownCompressError{Type: t}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err != nil {
			out, err = dst, fmt.Errorf("%s %d bytes of %s: %w", op, len(data), t, err)
		}
	}()
	return do(s.compressors[t])
}

// Gzip is RFC 1952, at the default level.
type Gzip struct{}

var gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// Compress appends data as one gzip member.
func (Gzip) Compress(dst, data []byte) ([]byte, error) {
	w, _ := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	buf := bytes.NewBuffer(dst)
	w.Reset(buf)
	if _, err := w.Write(data); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	return buf.Bytes(), nil
}

// Decompress appends what the members in data hold.
func (Gzip) Decompress(dst, data []byte, limit int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return dst, err
	}
	buf := bytes.NewBuffer(dst)
	n, err := io.Copy(buf, io.LimitReader(r, int64(limit)+1))
	switch {
	case err != nil:
		return dst, err
	case n > int64(limit):
		return dst, ErrTooLarge
	}
	return buf.Bytes(), nil
}
