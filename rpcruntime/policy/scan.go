// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// schema is the shape that one of our types has in MessagePack. It is read off
// the type once, and read-only then.
type schema struct {
	kind reflect.Kind
	// bits is the size of a number.
	bits int
	// elem is the shape of a list's elements.
	elem *schema
	// fields are those of a struct, by key.
	fields map[string]field
}

type field struct {
	// bit tells fields apart, to find a key that stands twice.
	bit uint64
	of  *schema
}

func schemaOf(t reflect.Type) *schema {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	s := &schema{kind: t.Kind()}
	switch t.Kind() {
	case reflect.Struct:
		s.fields = make(map[string]field, t.NumField())
		for i := range t.NumField() {
			key, _, _ := strings.Cut(t.Field(i).Tag.Get("msgpack"), ",")
			s.fields[key] = field{bit: 1 << i, of: schemaOf(t.Field(i).Type)}
		}
	case reflect.Slice:
		s.elem = schemaOf(t.Elem())
	case reflect.Int32, reflect.Int64, reflect.Uint8, reflect.Uint32:
		s.bits = t.Bits()
	default:
	}
	return s
}

// scanner walks an encoded value against a schema and builds nothing. The
// decoder proper believes lengths and cuts numbers, so nothing reaches it that
// the scanner has not passed: every length is backed by bytes, every number
// fits, no key stands twice, nothing follows. So memory is bounded by the input.
type scanner struct {
	rest []byte
	// unknown are the fields that the schema does not have, each once.
	unknown []string
	// critical is the first of them whose key starts with "!".
	critical string
}

const (
	// maxDepth bounds nesting; our own types need 3.
	maxDepth = 16
	// maxUnknown bounds how many unknown fields are named.
	maxUnknown = 64
	// criticalMark begins the key of what must not be ignored.
	criticalMark = "!"
)

var (
	errShort    = errors.New("ends too early")
	errTrailing = errors.New("bytes after the end")
	errDeep     = errors.New("nested too deeply")
)

func (s *scanner) scan(sch *schema) error {
	if err := s.value(sch, "", 0); err != nil {
		return err
	}
	if len(s.rest) > 0 {
		return errTrailing
	}
	return nil
}

// value walks one value. A nil schema is that of an unknown field: anything
// well-formed will do.
func (s *scanner) value(sch *schema, path string, depth int) error {
	if depth > maxDepth {
		return errDeep
	}
	t, err := s.token()
	if err != nil {
		return err
	}
	if sch != nil && !t.fits(sch) {
		return fmt.Errorf("field %q: %s does not fit %s", path, t.kind, sch.kind)
	}
	switch t.kind {
	case kindMap:
		return s.pairs(sch, path, t.n, depth)
	case kindList:
		var elem *schema
		if sch != nil {
			elem = sch.elem
		}
		for range t.n {
			if err := s.value(elem, path+"[]", depth+1); err != nil {
				return err
			}
		}
		return nil
	case kindText, kindBin, kindExt:
		_, err := s.take(t.n)
		return err
	default:
		return nil
	}
}

func (s *scanner) pairs(sch *schema, path string, n, depth int) error {
	var seen uint64
	if sch == nil {
		for range 2 * n {
			if err := s.value(nil, path, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	for range n {
		key, err := s.key()
		if err != nil {
			return err
		}
		at := key
		if path != "" {
			at = path + "." + key
		}
		f, known := sch.fields[key]
		if !known {
			s.missed(key, at)
		}
		if seen&f.bit != 0 {
			return fmt.Errorf("field %q stands twice", at)
		}
		seen |= f.bit
		if err := s.value(f.of, at, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) key() (string, error) {
	t, err := s.token()
	if err != nil {
		return "", err
	}
	if t.kind != kindText || t.n > maxWord {
		return "", fmt.Errorf("key is %s of length %d, not text of up to %d bytes", t.kind, t.n, maxWord)
	}
	b, err := s.take(t.n)
	return string(b), err
}

func (s *scanner) missed(key, at string) {
	if s.critical == "" && strings.HasPrefix(key, criticalMark) {
		s.critical = at
	}
	if len(s.unknown) < maxUnknown {
		s.unknown = append(s.unknown, at)
	}
}

func (s *scanner) take(n int) ([]byte, error) {
	if n > len(s.rest) {
		return nil, errShort
	}
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return b, nil
}

// kind is what a value is in MessagePack.
type kind string

const (
	kindNil   kind = "nil"
	kindBool  kind = "bool"
	kindInt   kind = "a number"
	kindFloat kind = "a float"
	kindText  kind = "text"
	kindBin   kind = "bytes"
	kindExt   kind = "an extension"
	kindList  kind = "a list"
	kindMap   kind = "a map"
)

// token is the head of a value.
type token struct {
	kind kind
	// n counts the bytes that follow, the elements, or the pairs.
	n int
	// bits are those of a number; negative says how to read them.
	bits     uint64
	negative bool
}

func (t token) fits(s *schema) bool {
	switch s.kind {
	case reflect.Struct:
		return t.kind == kindMap
	case reflect.Slice:
		return t.kind == kindList
	case reflect.String:
		return t.kind == kindText
	case reflect.Bool:
		return t.kind == kindBool
	case reflect.Int32, reflect.Int64:
		limit := uint64(1) << (s.bits - 1)
		return t.kind == kindInt && (t.negative && -t.bits <= limit || !t.negative && t.bits < limit)
	case reflect.Uint8, reflect.Uint32:
		return t.kind == kindInt && !t.negative && t.bits>>s.bits == 0
	default:
		return false
	}
}

// lengths are the codes that a length follows, of so many bytes; read-only.
var lengths = map[byte]struct {
	kind  kind
	width int
}{
	0xc4: {kindBin, 1}, 0xc5: {kindBin, 2}, 0xc6: {kindBin, 4},
	0xc7: {kindExt, 1}, 0xc8: {kindExt, 2}, 0xc9: {kindExt, 4},
	0xd9: {kindText, 1}, 0xda: {kindText, 2}, 0xdb: {kindText, 4},
	0xdc: {kindList, 2}, 0xdd: {kindList, 4},
	0xde: {kindMap, 2}, 0xdf: {kindMap, 4},
}

// token reads the head of a value, and all of a value that is only a head.
func (s *scanner) token() (token, error) {
	b, err := s.take(1)
	if err != nil {
		return token{}, err
	}
	switch c := b[0]; {
	case c < 0x80:
		return token{kind: kindInt, bits: uint64(c)}, nil
	case c >= 0xe0:
		return token{kind: kindInt, bits: uint64(int64(int8(c))), negative: true}, nil
	case c < 0x90:
		return s.sized(kindMap, uint64(c&0x0f))
	case c < 0xa0:
		return s.sized(kindList, uint64(c&0x0f))
	case c < 0xc0:
		return s.sized(kindText, uint64(c&0x1f))
	case c == 0xc0:
		return token{kind: kindNil}, nil
	case c == 0xc2 || c == 0xc3:
		return token{kind: kindBool}, nil
	case c == 0xca || c == 0xcb:
		_, err := s.take(4 << (c - 0xca))
		return token{kind: kindFloat}, err
	case c >= 0xcc && c <= 0xcf:
		bits, err := s.number(1 << (c - 0xcc))
		return token{kind: kindInt, bits: bits}, err
	case c >= 0xd0 && c <= 0xd3:
		width := 1 << (c - 0xd0)
		bits, err := s.number(width)
		shift := 64 - 8*width
		signed := int64(bits<<shift) >> shift
		return token{kind: kindInt, bits: uint64(signed), negative: signed < 0}, err
	case c >= 0xd4 && c <= 0xd8:
		// A fixed extension: its type, then its bytes.
		return s.sized(kindExt, 1+1<<(c-0xd4))
	default:
		return s.lengthy(c)
	}
}

func (s *scanner) lengthy(c byte) (token, error) {
	l, known := lengths[c]
	if !known {
		return token{}, fmt.Errorf("code %#x is not in use", c)
	}
	n, err := s.number(l.width)
	if err != nil {
		return token{}, err
	}
	if l.kind == kindExt {
		n++
	}
	return s.sized(l.kind, n)
}

// sized refuses a length that the rest cannot hold: bytes, elements and pairs
// take at least one byte each.
func (s *scanner) sized(k kind, n uint64) (token, error) {
	if n > uint64(len(s.rest)) {
		return token{}, errShort
	}
	return token{kind: k, n: int(n)}, nil
}

func (s *scanner) number(width int) (uint64, error) {
	b, err := s.take(width)
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[8-width:], b)
	return binary.BigEndian.Uint64(wide[:]), nil
}
