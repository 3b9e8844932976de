// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// maxDepth bounds how deep nested values are shown.
const maxDepth = 64

var (
	errEnds = errors.New("it ends inside a value")
	errDeep = errors.New("it is nested too deep to be shown")
)

// msgpackText shows MsgPack as text that looks like JSON: bytes are 0x and hex
// digits, extensions ext(TYPE, 0x...), and keys are what they are. Several values
// have blanks between them.
func msgpackText(c *clip, data []byte) error {
	m := msgpack{clip: c, data: data}
	for first := true; len(m.data) > 0 && !c.full; first = false {
		if !first {
			c.add(" ")
		}
		if err := m.value(0); err != nil {
			return fmt.Errorf("it is not MsgPack from byte %d on: %w", len(data)-len(m.data), err)
		}
	}
	return nil
}

type msgpack struct {
	*clip
	data []byte
}

// bytes takes n bytes off the data.
func (m *msgpack) bytes(n uint64) ([]byte, error) {
	if n > uint64(len(m.data)) {
		return nil, errEnds
	}
	b := m.data[:n]
	m.data = m.data[n:]
	return b, nil
}

// number takes a big-endian number of n bytes.
func (m *msgpack) number(n int) (uint64, error) {
	b, err := m.bytes(uint64(n))
	if err != nil {
		return 0, err
	}
	var wide [8]byte
	copy(wide[8-n:], b)
	return binary.BigEndian.Uint64(wide[:]), nil
}

func (m *msgpack) value(depth int) error {
	if m.full {
		return nil
	}
	if depth > maxDepth {
		return errDeep
	}
	first, err := m.bytes(1)
	if err != nil {
		return err
	}
	switch b := first[0]; {
	case b <= 0x7f, b >= 0xe0:
		m.add(strconv.Itoa(int(int8(b))))
		return nil
	case b <= 0x8f:
		return m.items(uint64(b&0x0f), depth, true)
	case b <= 0x9f:
		return m.items(uint64(b&0x0f), depth, false)
	case b <= 0xbf:
		return m.text(uint64(b & 0x1f))
	case b >= 0xd4 && b <= 0xd8:
		return m.ext(1 << (b - 0xd4))
	case b >= 0xca && b <= 0xd3:
		return m.scalar(b)
	default:
		return m.long(b, depth)
	}
}

// scalar shows floats and integers that do not stand in their first byte.
func (m *msgpack) scalar(b byte) error {
	size := 1 << ((b - 0xcc) & 3)
	if b < 0xcc {
		size = 4 << (b - 0xca)
	}
	n, err := m.number(size)
	if err != nil {
		return err
	}
	switch {
	case b == 0xca:
		m.add(strconv.FormatFloat(float64(math.Float32frombits(uint32(n))), 'g', -1, 32))
	case b == 0xcb:
		m.add(strconv.FormatFloat(math.Float64frombits(n), 'g', -1, 64))
	case b < 0xd0:
		m.add(strconv.FormatUint(n, 10))
	default:
		shift := 64 - 8*size
		m.add(strconv.FormatInt(int64(n)<<shift>>shift, 10))
	}
	return nil
}

// long shows what has a length in bytes of its own, and the constants.
func (m *msgpack) long(b byte, depth int) error {
	switch b {
	case 0xc0:
		m.add("null")
		return nil
	case 0xc1:
		return errors.New("0xc1 is no code")
	case 0xc2:
		m.add("false")
		return nil
	case 0xc3:
		m.add("true")
		return nil
	}
	base := map[bool]byte{true: 0xdc, false: 0xd9}[b >= 0xdc] // of lengths of 1 byte, or 2
	var width int
	switch {
	case b >= 0xdc:
		width = 2 << ((b - base) & 1)
	case b >= 0xd9:
		width = 1 << (b - base)
	default:
		width = 1 << ((b - 0xc4) % 3)
	}
	n, err := m.number(width)
	if err != nil {
		return err
	}
	switch {
	case b >= 0xde:
		return m.items(n, depth, true)
	case b >= 0xdc:
		return m.items(n, depth, false)
	case b >= 0xd9:
		return m.text(n)
	case b >= 0xc7:
		return m.ext(n)
	}
	data, err := m.bytes(n)
	if err == nil {
		m.hex(data)
	}
	return err
}

func (m *msgpack) text(n uint64) error {
	data, err := m.bytes(n)
	if err == nil {
		m.quote(data)
	}
	return err
}

// items shows an array, or the pairs of a map.
func (m *msgpack) items(n uint64, depth int, pairs bool) error {
	opening, closing := "[", "]"
	if pairs {
		opening, closing = "{", "}"
	}
	m.add(opening)
	for i := uint64(0); i < n && !m.full; i++ {
		if i > 0 {
			m.add(",")
		}
		if err := m.value(depth + 1); err != nil {
			return err
		}
		if !pairs {
			continue
		}
		m.add(":")
		if err := m.value(depth + 1); err != nil {
			return err
		}
	}
	m.add(closing)
	return nil
}

// ext shows an extension of n bytes; those that are times as such.
func (m *msgpack) ext(n uint64) error {
	kind, err := m.bytes(1)
	if err != nil {
		return err
	}
	data, err := m.bytes(n)
	if err != nil {
		return err
	}
	if at, ok := timestamp(int8(kind[0]), data); ok {
		m.add(strconv.Quote(at.Format(time.RFC3339Nano)))
		return nil
	}
	m.add(fmt.Sprintf("ext(%d,", int8(kind[0])))
	m.hex(data)
	m.add(")")
	return nil
}

// timestamp reads MsgPack's extension for times.
func timestamp(kind int8, data []byte) (time.Time, bool) {
	if kind != -1 {
		return time.Time{}, false
	}
	switch len(data) {
	case 4:
		return time.Unix(int64(binary.BigEndian.Uint32(data)), 0).UTC(), true
	case 8:
		n := binary.BigEndian.Uint64(data)
		return time.Unix(int64(n&(1<<34-1)), int64(n>>34)).UTC(), true
	case 12:
		return time.Unix(int64(binary.BigEndian.Uint64(data[4:])), int64(binary.BigEndian.Uint32(data))).UTC(), true
	default:
		return time.Time{}, false
	}
}
