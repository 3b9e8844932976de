// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"math"
	"time"
)

// Methods of control frames, whose path is ControlPath. docs/wire-protocol.md §8
const (
	// MethodHello answers an announcement. Payload: AppendHello.
	MethodHello = "hello"
	// MethodDrain asks for no new calls. Payload: AppendDrain.
	MethodDrain = "drain"
	// MethodBye says which requests were read, and that no more will be.
	// Payload: AppendBye.
	MethodBye = "bye"
)

// AppendDrain appends the payload of a drain: how long the callee goes on
// reading, in whole milliseconds.
func AppendDrain(dst []byte, grace time.Duration) []byte {
	millis := max(0, min(grace.Milliseconds(), math.MaxUint32))
	return binary.BigEndian.AppendUint32(dst, uint32(millis))
}

// ParseDrain reads the payload of a drain. What is longer than it needs to be
// is accepted, and the excess ignored.
func ParseDrain(payload []byte) (grace time.Duration, ok bool) {
	if len(payload) < 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(payload)) * time.Millisecond, true
}

// AppendBye appends the payload of a bye: how many ordinary requests of this
// connection the callee has read, oneway ones included.
func AppendBye(dst []byte, read uint64) []byte {
	return binary.BigEndian.AppendUint64(dst, read)
}

// ParseBye reads the payload of a bye, as ParseDrain does.
func ParseBye(payload []byte) (read uint64, ok bool) {
	if len(payload) < 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(payload), true
}
