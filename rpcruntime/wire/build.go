// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"math"
)

// MaxFrame is the longest frame that the total field can describe.
const MaxFrame = PrefixLen + math.MaxUint32

// Builder appends one frame to a buffer, front to back. Lengths are filled in
// as the parts end, so nothing is encoded twice or moved.
type Builder struct {
	buf   []byte
	start int // of the frame in buf
	meta  int // of the metadata's length in buf
}

// Begin starts a frame at the end of dst.
func Begin(dst []byte, h Header, path, method string) Builder {
	b := Builder{start: len(dst)}
	dst = append(dst, Magic, h.Version, h.Flags, h.Kind)
	dst = binary.BigEndian.AppendUint64(dst, h.Seq)
	dst = binary.BigEndian.AppendUint32(dst, 0) // total, known at the end
	dst = appendString(dst, path)
	dst = appendString(dst, method)
	b.meta = len(dst)
	b.buf = binary.BigEndian.AppendUint32(dst, 0) // metadata's length
	return b
}

// Meta appends one metadata entry.
func (b *Builder) Meta(key, value string) {
	b.buf = appendString(appendString(b.buf, key), value)
}

// MetaBytes is Meta for a value in bytes.
func (b *Builder) MetaBytes(key string, value []byte) {
	b.buf = appendString(b.buf, key)
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(len(value)))
	b.buf = append(b.buf, value...)
}

// Payload appends the payload and returns the buffer with the whole frame.
func (b *Builder) Payload(p []byte) []byte {
	return append(b.PayloadFollows(len(p)), p...)
}

// PayloadFollows ends the frame but for a payload of n bytes, which the caller
// writes right behind the returned buffer.
func (b *Builder) PayloadFollows(n int) []byte {
	metaLen := len(b.buf) - b.meta - 4
	binary.BigEndian.PutUint32(b.buf[b.meta:], uint32(metaLen))
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(n))
	total := len(b.buf) - b.start - PrefixLen + n // what follows the total field
	binary.BigEndian.PutUint32(b.buf[b.start+PrefixLen-4:], uint32(total))
	return b.buf
}

func appendString(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}

// PairLen returns the length of one metadata entry on the wire.
func PairLen(key, value int) int { return 8 + key + value }

// FrameLen returns the length of a frame with parts of these lengths.
func FrameLen(path, method, meta, payload int) int {
	return PrefixLen + MinTotal + path + method + meta + payload
}
