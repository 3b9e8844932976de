// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"errors"
	"fmt"
	"strconv"
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
// keep neither data nor what they return: the caller owns that.
type Compressor interface {
	// Compress appends the compressed form of data to dst. It must not change
	// what dst holds.
	Compress(dst, data []byte) ([]byte, error)
	// Decompress appends what data holds to dst, which it must not change and
	// which may grow by limit bytes at most: more is ErrTooLarge. What it
	// allocates is bounded by limit and by a small multiple of what it has read,
	// whatever size data claims.
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

// Compress appends the compressed form of data to dst, which may be longer than
// data. On error it returns dst as it came. A panic of the compressor is
// returned as an error.
func (s *Set) Compress(t CompressType, dst, data []byte) (out []byte, err error) {
	if t == CompressNone {
		return append(dst, data...), nil
	}
	return s.convert(t, "compress", dst, data, func(c Compressor) ([]byte, error) { return c.Compress(dst, data) })
}

// Decompress appends what data holds to dst, at most limit bytes of it, 0 being
// none: more is ErrTooLarge, whoever wrote the compressor. On error it returns
// dst as it came. A panic of the compressor is returned as an error.
func (s *Set) Decompress(t CompressType, dst, data []byte, limit int) (out []byte, err error) {
	if t == CompressNone {
		if len(data) > limit {
			return dst, ErrTooLarge
		}
		return append(dst, data...), nil
	}
	return s.convert(t, "decompress", dst, data, func(c Compressor) ([]byte, error) {
		out, err := c.Decompress(dst, data, limit)
		if err == nil && len(out)-len(dst) > limit {
			return nil, ErrTooLarge
		}
		return out, err
	})
}

func (s *Set) convert(t CompressType, op string, dst, data []byte, do func(Compressor) ([]byte, error)) (out []byte, err error) {
	if !s.HasCompressor(t) {
		return dst, &UnknownCompressError{Type: t}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
		if err == nil && len(out) < len(dst) {
			err = errNotAppended
		}
		if err != nil {
			out, err = dst, fmt.Errorf("%s: %s %d bytes: %w", t, op, len(data), err)
		}
	}()
	return do(s.compressors[t])
}

// errNotAppended is a user's codec or compressor that returned its own bytes
// instead of dst with them behind: what dst held would be lost.
var errNotAppended = errors.New("the result is shorter than dst was: append to dst and return that")
