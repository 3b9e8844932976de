// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// reader reads MessagePack front to back into types that are known. It is
// written by hand because a decoder by reflection believes lengths: every length
// here is backed by bytes and bounded before anything is allocated, every number
// fits, no key stands twice.
//
// The first error is kept, and then every method returns zero.
type reader struct {
	rest []byte
	err  error
	// unknown counts the fields that were passed over.
	unknown int
}

const (
	// maxDepth bounds the nesting of what is passed over.
	maxDepth = 16
	// criticalMark begins the names of what must not be passed over.
	criticalMark = "!"
)

var (
	errShort    = errors.New("ends too early")
	errDeep     = errors.New("nested too deeply")
	errTrailing = errors.New("bytes after the end")
)

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.rest = err, nil
	}
}

func (r *reader) failf(format string, args ...any) { r.fail(fmt.Errorf(format, args...)) }

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail(errShort)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) code() byte {
	b := r.take(1)
	if len(b) == 0 {
		return 0xc1 // no code; the error is kept already
	}
	return b[0]
}

// big reads a number of that many bytes.
func (r *reader) big(width uint64) uint64 {
	var wide [8]byte
	copy(wide[8-width:], r.take(width))
	return binary.BigEndian.Uint64(wide[:])
}

// sized reads the length of a value: fix is the code of a short form and mask
// the length in it, wide the code of the first long form, of width bytes. Nil
// is empty: that is how some encoders write a list that is not there.
func (r *reader) sized(what string, fix, mask, wide byte, width uint64) uint64 {
	c := r.code()
	switch {
	case c == 0xc0:
		return 0
	case mask != 0 && c&^mask == fix:
		return uint64(c & mask)
	case c >= wide && c < wide+3 && width<<(c-wide) <= 4:
		return r.big(width << (c - wide))
	}
	r.failf("code 0x%02x is not %s", c, what)
	return 0
}

func (r *reader) textLen() uint64 { return r.sized("text", 0xa0, 0x1f, 0xd9, 1) }
func (r *reader) listLen() uint64 { return r.sized("a list", 0x90, 0x0f, 0xdc, 2) }
func (r *reader) mapLen() uint64  { return r.sized("a map", 0x80, 0x0f, 0xde, 2) }

// text reads text of at most limit bytes.
func (r *reader) text(limit int) string {
	n := r.textLen()
	if n > uint64(limit) {
		r.failf("text of %d bytes, more than %d", n, limit)
	}
	return string(r.take(n))
}

// bytes reads bytes, as a copy: what is read from is not ours. None are nil, as
// they are encoded.
func (r *reader) bytes(limit int) []byte {
	n := r.sized("bytes", 0, 0, 0xc4, 1)
	if n > uint64(limit) {
		r.failf("%d bytes, more than %d", n, limit)
	}
	if n == 0 {
		return nil
	}
	return slices.Clone(r.take(n))
}

func (r *reader) digest() (d policy.Digest) {
	if n := r.sized("a digest", 0, 0, 0xc4, 1); n != uint64(len(d)) {
		r.failf("digest has %d bytes, not %d", n, len(d))
	}
	copy(d[:], r.take(uint64(len(d))))
	return d
}

func (r *reader) flag() bool {
	c := r.code()
	if c != 0xc2 && c != 0xc3 {
		r.failf("code 0x%02x is not a boolean", c)
	}
	return c == 0xc3
}

// number reads a number that is not negative.
func (r *reader) number(limit uint64) uint64 {
	c := r.code()
	n := uint64(c)
	switch {
	case c < 0x80:
	case c >= 0xcc && c <= 0xcf:
		n = r.big(1 << (c - 0xcc))
	case c >= 0xd0 && c <= 0xd3:
		width := uint64(1) << (c - 0xd0)
		if n = r.big(width); n>>(8*width-1) != 0 {
			r.failf("a negative number")
		}
	default:
		r.failf("code 0x%02x is not a number from 0", c)
	}
	if n > limit {
		r.failf("number %d, more than %d", n, limit)
		return 0
	}
	return n
}

// list calls elem for each of at most limit elements.
func (r *reader) list(limit int, elem func()) {
	n := r.listLen()
	if n > uint64(limit) {
		r.failf("list of %d elements, more than %d", n, limit)
	}
	for ; n > 0 && r.err == nil; n-- {
		elem()
	}
}

// object calls field for each key of a map; false means that it is not known.
// Unknown fields are passed over and counted, those with the mark are an error.
func (r *reader) object(field func(key string) bool) {
	var keys [24]string
	seen := keys[:0]
	for n := r.mapLen(); n > 0 && r.err == nil; n-- {
		key := r.text(64)
		switch {
		case slices.Contains(seen, key):
			r.failf("field %q stands twice", key)
		case len(seen) >= 256:
			r.failf("more than %d fields", len(seen))
		case r.err != nil || field(key):
		case strings.HasPrefix(key, criticalMark):
			r.fail(&policy.CriticalFieldError{Field: key})
		default:
			r.unknown++
			r.skip(0)
		}
		if r.err != nil {
			r.err = inField(key, r.err)
		}
		seen = append(seen, key)
	}
}

// inField says where an error is, once per level.
func inField(key string, err error) error {
	var critical *policy.CriticalFieldError
	if errors.As(err, &critical) {
		return err
	}
	return fmt.Errorf("%q: %w", key, err)
}

// skip passes over one value of any kind.
func (r *reader) skip(depth int) {
	if depth > maxDepth {
		r.fail(errDeep)
		return
	}
	if len(r.rest) == 0 {
		r.fail(errShort)
		return
	}
	children := uint64(0)
	switch c := r.rest[0]; {
	case c&0xf0 == 0x80 || c == 0xde || c == 0xdf:
		children = 2 * r.mapLen()
	case c&0xf0 == 0x90 || c == 0xdc || c == 0xdd:
		children = r.listLen()
	case c&0xe0 == 0xa0 || c >= 0xd9 && c <= 0xdb:
		r.take(r.textLen())
	case c >= 0xc4 && c <= 0xc6:
		r.take(r.sized("bytes", 0, 0, 0xc4, 1))
	case c >= 0xc7 && c <= 0xc9:
		r.take(1 + r.sized("an extension", 0, 0, 0xc7, 1))
	case c == 0xc1:
		r.failf("code 0xc1 is not in use")
	default:
		r.take(1 + fixed(c))
	}
	for ; children > 0 && r.err == nil; children-- {
		r.skip(depth + 1)
	}
}

// fixed gives how many bytes follow a code of fixed length.
func fixed(c byte) uint64 {
	switch {
	case c == 0xca || c == 0xcb:
		return 4 << (c - 0xca)
	case c >= 0xcc && c <= 0xcf:
		return 1 << (c - 0xcc)
	case c >= 0xd0 && c <= 0xd3:
		return 1 << (c - 0xd0)
	case c >= 0xd4 && c <= 0xd8:
		return 1 + 1<<(c-0xd4)
	default:
		return 0
	}
}

// anyCount is the limit of lists that only their bytes bound: each element
// takes some, and the list grows as they come.
const anyCount = math.MaxInt32
