// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package buffer lends byte buffers by size class.
//
// A Buffer belongs to whoever got it until Free; nothing handed to a user's
// code may come from here. Get and Free are safe for concurrent use.
//
// Invariant: a buffer of more than MaxPooled bytes is never kept, so that one
// large message does not hold memory for good.
package buffer

import (
	"math/bits"
	"sync"
)

// MaxPooled is the largest capacity, in bytes, that is kept for reuse.
const MaxPooled = 256 << 10

const (
	minShift = 9 // 512 B
	maxShift = 18
)

// Buffer is a lent byte slice. Grow B by append as needed; Free takes what
// has become of it.
type Buffer struct {
	// B is the content; its capacity is the loan.
	B []byte
}

var classes [maxShift - minShift + 1]sync.Pool // pools of our own buffers; stateless to users

// Get returns an empty buffer with a capacity of at least n bytes.
func Get(n int) *Buffer {
	c := classOf(n)
	if c >= len(classes) {
		return &Buffer{B: make([]byte, 0, n)}
	}
	if b, ok := classes[c].Get().(*Buffer); ok {
		return b
	}
	return &Buffer{B: make([]byte, 0, 1<<(c+minShift))}
}

// Free gives the buffer back. Nil is ignored; the caller must not use b, or
// slices of it, any more.
func (b *Buffer) Free() {
	if b == nil || cap(b.B) > MaxPooled || cap(b.B) < 1<<minShift {
		return
	}
	c := bits.Len(uint(cap(b.B))) - 1 - minShift // the largest class that it can serve
	b.B = b.B[:0]
	classes[c].Put(b)
}

// classOf returns the smallest class that holds n bytes.
func classOf(n int) int {
	if n <= 1<<minShift {
		return 0
	}
	return bits.Len(uint(n-1)) - minShift
}
