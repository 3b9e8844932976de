// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"errors"
	"iter"
	"slices"
)

// errDepth is JSON that nests too deep.
var errDepth = errors.New("it nests too deep")

// maxDepth bounds how deep the JSON of a request nests.
const maxDepth = 512

// isSpace reports whether c is white space in JSON.
func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func trimSpace(b []byte) []byte {
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// checkDepth says whether JSON, which need not be valid, nests too deep.
func checkDepth(b []byte) error {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLen(b[i:]) - 1
		case '{', '[':
			if depth++; depth > maxDepth {
				return errDepth
			}
		case '}', ']':
			depth--
		}
	}
	return nil
}

// stringLen is the length of the string that b begins with, quotes included.
func stringLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// valueLen is the length of the value that b begins with. b must be what stands
// inside a valid JSON array or object, from that value on.
func valueLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '"':
			i += stringLen(b[i:]) - 1
			if depth == 0 {
				return i + 1
			}
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case depth == 0 && (c == ',' || c == ':' || isSpace(c)):
			return i
		}
	}
	return len(b)
}

// elements are the elements of an array, or the keys and values of an object in
// turn, as they stand in b, which must be one valid JSON array or object.
func elements(b []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		b = trimSpace(b)
		if len(b) < 2 {
			return
		}
		for b = b[1 : len(b)-1]; ; {
			b = trimFront(b)
			if len(b) == 0 {
				return
			}
			n := valueLen(b)
			if n == 0 || !yield(slices.Clip(b[:n])) {
				return
			}
			b = b[n:]
		}
	}
}

// trimFront cuts what stands between two values.
func trimFront(b []byte) []byte {
	for len(b) > 0 && (isSpace(b[0]) || b[0] == ',' || b[0] == ':') {
		b = b[1:]
	}
	return b
}
