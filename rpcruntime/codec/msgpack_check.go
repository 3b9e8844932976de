// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"errors"
	"fmt"
	"io"
)

// The library allocates what a header claims (a slice of 2^32 elements by five
// bytes) and recurses as deep as the input nests, without a limit that could
// be set. So the input is walked once before: it costs a few nanoseconds per
// value, allocates nothing, and what passes cannot claim more than it holds.

// maxDepth is the deepest nesting, as in encoding/json and protobuf.
const maxDepth = 10_000

// token is the header of one value: of a container without its elements.
type token struct {
	head     int // bytes of the header: code, length, extension type
	body     int // bytes that follow and belong to it
	children int // values that follow and belong to it
	ext      bool
}

// counts says what the length of a token counts.
type counts uint8

const (
	nothing counts = iota
	bytesOf
	items
	pairs
	extension
	invalid
)

// layouts describes the codes 0xc0 to 0xdf: how many bytes the length takes,
// or, if none, what it is.
var layouts = [32]struct {
	lenBytes, fixed int
	counts          counts
}{
	0x00: {counts: nothing},                          // nil
	0x01: {counts: invalid},                          // never used
	0x02: {counts: nothing}, 0x03: {counts: nothing}, // false, true
	0x04: {lenBytes: 1, counts: bytesOf},   // bin8
	0x05: {lenBytes: 2, counts: bytesOf},   // bin16
	0x06: {lenBytes: 4, counts: bytesOf},   // bin32
	0x07: {lenBytes: 1, counts: extension}, // ext8
	0x08: {lenBytes: 2, counts: extension}, // ext16
	0x09: {lenBytes: 4, counts: extension}, // ext32
	0x0a: {fixed: 4, counts: bytesOf},      // float32
	0x0b: {fixed: 8, counts: bytesOf},      // float64
	0x0c: {fixed: 1, counts: bytesOf},      // uint8
	0x0d: {fixed: 2, counts: bytesOf},      // uint16
	0x0e: {fixed: 4, counts: bytesOf},      // uint32
	0x0f: {fixed: 8, counts: bytesOf},      // uint64
	0x10: {fixed: 1, counts: bytesOf},      // int8
	0x11: {fixed: 2, counts: bytesOf},      // int16
	0x12: {fixed: 4, counts: bytesOf},      // int32
	0x13: {fixed: 8, counts: bytesOf},      // int64
	0x14: {fixed: 1, counts: extension},    // fixext1
	0x15: {fixed: 2, counts: extension},    // fixext2
	0x16: {fixed: 4, counts: extension},    // fixext4
	0x17: {fixed: 8, counts: extension},    // fixext8
	0x18: {fixed: 16, counts: extension},   // fixext16
	0x19: {lenBytes: 1, counts: bytesOf},   // str8
	0x1a: {lenBytes: 2, counts: bytesOf},   // str16
	0x1b: {lenBytes: 4, counts: bytesOf},   // str32
	0x1c: {lenBytes: 2, counts: items},     // array16
	0x1d: {lenBytes: 4, counts: items},     // array32
	0x1e: {lenBytes: 2, counts: pairs},     // map16
	0x1f: {lenBytes: 4, counts: pairs},     // map32
}

var errTruncated = errors.New("the input ends inside a value")

// readToken reads the token at the start of data, which is not empty. Its
// body is inside data.
func readToken(data []byte) (token, error) {
	c := data[0]
	switch {
	case c <= 0x7f || c >= 0xe0: // small integer
		return token{head: 1}, nil
	case c <= 0x8f: // small map
		return token{head: 1, children: 2 * int(c&0x0f)}, nil
	case c <= 0x9f: // small array
		return token{head: 1, children: int(c & 0x0f)}, nil
	case c <= 0xbf: // small string
		return within(token{head: 1, body: int(c & 0x1f)}, data)
	}
	l := layouts[c-0xc0]
	t := token{head: 1 + l.lenBytes}
	if len(data) < t.head {
		return token{}, errTruncated
	}
	n := uint64(l.fixed)
	for _, b := range data[1:t.head] {
		n = n<<8 | uint64(b)
	}
	if n > uint64(len(data)) {
		return token{}, fmt.Errorf("a value of code 0x%02x claims %d elements or bytes, %d bytes are left", c, n, len(data)-t.head)
	}
	switch l.counts {
	case bytesOf:
		t.body = int(n)
	case items:
		t.children = int(n)
	case pairs:
		t.children = 2 * int(n)
	case extension:
		t.head, t.body, t.ext = t.head+1, int(n), true
		if n == 0 {
			return token{}, errors.New("an extension is empty")
		}
	case invalid:
		return token{}, fmt.Errorf("0x%02x is not a MsgPack code", c)
	case nothing:
	}
	return within(t, data)
}

func within(t token, data []byte) (token, error) {
	if t.head+t.body > len(data) {
		return token{}, errTruncated
	}
	return t, nil
}

// checkMsgPack reports whether data is a sequence of whole values, nested at
// most maxDepth deep, and whether extensions are among them. A sequence,
// because a type's own encoder may write several values where one is expected.
//
// Invariant: at each header, the values still owed by all open containers are
// no more than the bytes left. This bounds what the library allocates ahead.
func checkMsgPack(data []byte) (extensions bool, err error) {
	var few [16]int
	open := few[:0] // values owed by each open container; 0 only below the last
	owed := 0       // their sum
	for pos := 0; pos < len(data); {
		t, err := readToken(data[pos:])
		if err != nil {
			return false, fmt.Errorf("at byte %d: %w", pos, err)
		}
		pos += t.head + t.body
		extensions = extensions || t.ext
		if len(open) > 0 {
			owed--
			open[len(open)-1]--
		}
		if owed += t.children; owed > len(data)-pos {
			return false, fmt.Errorf("before byte %d: %d values are claimed, %d bytes are left", pos, owed, len(data)-pos)
		}
		if t.children > 0 {
			open = append(open, t.children)
		}
		if len(open) > maxDepth {
			return false, fmt.Errorf("at byte %d: nested deeper than %d levels", pos, maxDepth)
		}
		for len(open) > 0 && open[len(open)-1] == 0 {
			open = open[:len(open)-1]
		}
	}
	return extensions, nil
}

// source is the reader below the library's decoder. Guarded, it refuses to
// give out a byte of an extension's body as a code: asked for a map, the
// library skips an extension's header and takes what follows for a map's,
// which would be bytes that checkMsgPack has not looked at as values.
type source struct {
	data    []byte
	pos     int
	guarded bool
	body    int // where the body of the token at or before pos starts
	next    int // where the token after it starts
	ext     bool
}

var errExtension = errors.New("an extension stands where another value is expected")

// ReadByte returns the next byte.
func (s *source) ReadByte() (byte, error) {
	if s.pos >= len(s.data) {
		return 0, io.ErrUnexpectedEOF
	}
	if s.guarded && s.inExtension() {
		return 0, errExtension
	}
	s.pos++
	return s.data[s.pos-1], nil
}

// UnreadByte takes the last ReadByte back.
func (s *source) UnreadByte() error {
	if s.pos == 0 {
		return errors.New("nothing was read")
	}
	s.pos--
	return nil
}

// Read reads into p.
func (s *source) Read(p []byte) (int, error) {
	if s.pos >= len(s.data) && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, s.data[s.pos:])
	s.pos += n
	return n, nil
}

func (s *source) inExtension() bool {
	for s.next <= s.pos {
		t, err := readToken(s.data[s.next:])
		if err != nil {
			return true // cannot be: checkMsgPack has read the same tokens
		}
		s.body, s.next, s.ext = s.next+t.head, s.next+t.head+t.body, t.ext
	}
	return s.ext && s.pos >= s.body
}
