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
	// MethodCancel says that the caller gave a call up. Payload: AppendCancel.
	MethodCancel = "cancel"
	// MethodWindow says what the caller may have in flight. Payload: AppendWindow.
	MethodWindow = "window"
	// MethodLoad says how busy the callee is. Payload: AppendLoad.
	MethodLoad = "load"
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

// AppendCancel appends the payload of a cancel: the seq of the request.
func AppendCancel(dst []byte, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(dst, seq)
}

// ParseCancel reads the payload of a cancel, as ParseDrain does.
func ParseCancel(payload []byte) (seq uint64, ok bool) {
	if len(payload) < 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(payload), true
}

// Window is the most that a caller may have in flight on one connection. Zeros
// are as the peer wrote them; what they mean is for the reader to say.
type Window struct {
	// Calls is the number of requests that were not answered.
	Calls uint32
	// Bytes is the sum of their metadata and payloads.
	Bytes uint32
}

// AppendWindow appends the payload of a window.
func AppendWindow(dst []byte, w Window) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(dst, w.Calls), w.Bytes)
}

// ParseWindow reads the payload of a window, as ParseDrain does.
func ParseWindow(payload []byte) (w Window, ok bool) {
	if len(payload) < 8 {
		return Window{}, false
	}
	return Window{Calls: binary.BigEndian.Uint32(payload), Bytes: binary.BigEndian.Uint32(payload[4:])}, true
}

// Load is how busy a callee is, all its connections together.
type Load struct {
	// InFlight is the number of requests being served.
	InFlight uint32
	// QueueDelay is how long requests lately waited for their handler. On the
	// wire it is in whole microseconds, at most 71 minutes.
	QueueDelay time.Duration
	// Utilisation is the part of the bound on calls that is used, in thousandths.
	Utilisation uint32
}

// AppendLoad appends the payload of a load.
func AppendLoad(dst []byte, l Load) []byte {
	micros := max(0, min(l.QueueDelay.Microseconds(), math.MaxUint32))
	dst = binary.BigEndian.AppendUint32(dst, l.InFlight)
	dst = binary.BigEndian.AppendUint32(dst, uint32(micros))
	return binary.BigEndian.AppendUint32(dst, l.Utilisation)
}

// ParseLoad reads the payload of a load, as ParseDrain does.
func ParseLoad(payload []byte) (l Load, ok bool) {
	if len(payload) < 12 {
		return Load{}, false
	}
	return Load{
		InFlight:    binary.BigEndian.Uint32(payload),
		QueueDelay:  time.Duration(binary.BigEndian.Uint32(payload[4:])) * time.Microsecond,
		Utilisation: binary.BigEndian.Uint32(payload[8:]),
	}, true
}
