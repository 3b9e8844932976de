// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxGuesses bounds how deep bytes are tried as messages: each level reads the
// bytes below it once more.
const maxGuesses = 8

// protobufText shows Protobuf as it is on the wire, for the names of the fields
// are not in it: NUMBER:TYPE:VALUE for each field. Bytes are shown as text if they
// are that, as a message in braces if they can be one, and else as hex.
func protobufText(c *clip, data []byte) error {
	rest, err := fieldsText(c, data, 0)
	if err != nil {
		return fmt.Errorf("it is not Protobuf from byte %d on: %w", len(data)-len(rest), err)
	}
	return nil
}

func fieldsText(c *clip, data []byte, depth int) (rest []byte, err error) {
	for first := true; len(data) > 0 && !c.full; first = false {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return data, protowire.ParseError(n)
		}
		if size := protowire.ConsumeFieldValue(number, kind, data[n:]); size < 0 {
			return data, protowire.ParseError(size)
		} else if !first {
			c.add(" ")
		}
		c.add(strconv.Itoa(int(number)))
		data = data[n+fieldText(c, number, kind, data[n:], depth):]
	}
	return data, nil
}

// fieldText shows one value, which is known to be well-formed, and returns its
// length.
func fieldText(c *clip, number protowire.Number, kind protowire.Type, data []byte, depth int) int {
	n := protowire.ConsumeFieldValue(number, kind, data)
	switch kind {
	case protowire.VarintType:
		v, _ := protowire.ConsumeVarint(data)
		c.add(":varint:" + strconv.FormatUint(v, 10))
	case protowire.Fixed32Type:
		v := binary.LittleEndian.Uint32(data)
		c.add(fmt.Sprintf(":fixed32:%d(%g)", v, math.Float32frombits(v)))
	case protowire.Fixed64Type:
		v := binary.LittleEndian.Uint64(data)
		c.add(fmt.Sprintf(":fixed64:%d(%g)", v, math.Float64frombits(v)))
	case protowire.BytesType:
		v, _ := protowire.ConsumeBytes(data)
		bytesText(c, v, depth)
	case protowire.StartGroupType:
		v, _ := protowire.ConsumeGroup(number, data)
		c.add(":group:")
		message(c, v, depth)
	default:
		c.add(":type" + strconv.Itoa(int(kind)) + ":")
		c.hex(data[:n])
	}
	return n
}

func bytesText(c *clip, v []byte, depth int) {
	switch {
	case printable(v):
		c.add(":text:")
		c.quote(v)
	case depth < maxGuesses && wellFormed(v):
		c.add(":message:")
		message(c, v, depth)
	default:
		c.add(":bytes:")
		c.hex(v)
	}
}

func message(c *clip, v []byte, depth int) {
	if depth >= maxDepth {
		c.hex(v)
		return
	}
	c.add("{")
	_, _ = fieldsText(c, v, depth+1) // it is well-formed
	c.add("}")
}

// wellFormed reports whether data can be a message.
func wellFormed(data []byte) bool {
	for len(data) > 0 {
		_, _, n := protowire.ConsumeField(data)
		if n < 0 {
			return false
		}
		data = data[n:]
	}
	return true
}
