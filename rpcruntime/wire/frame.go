// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import "encoding/binary"

// Magic is the first byte of each frame.
const Magic = 0x08

// PrefixLen is the length of the fixed part: up to and including the total.
const PrefixLen = 16

// MinTotal is the smallest legal total: four lengths of zero.
const MinTotal = 16

// Bits of the flags byte. docs/wire-protocol.md §2
const (
	flagResponse  = 0x80
	flagHeartbeat = 0x40
	flagOneway    = 0x20
	maskCompress  = 0x1c
	maskStatus    = 0x03
)

// Serialize says how a payload is encoded.
type Serialize uint8

// The serialize types of rpcx. 5 to 15 are free for users.
const (
	SerializeRaw      Serialize = 0
	SerializeJSON     Serialize = 1
	SerializeProtobuf Serialize = 2
	SerializeMsgPack  Serialize = 3
	SerializeThrift   Serialize = 4
)

// Compress says how a payload is compressed.
type Compress uint8

// The compress types of rpcx. 2 to 7 are free for users.
const (
	CompressNone Compress = 0
	CompressGzip Compress = 1
)

// Status of a frame.
type Status uint8

// The two defined statuses; 2 and 3 are read as errors.
const (
	StatusNormal Status = 0
	StatusError  Status = 1
)

// Header is the fixed part of a frame without its total.
type Header struct {
	// Version is written as 0 by everybody and checked by nobody.
	Version byte
	// Flags holds type, heartbeat, oneway, compress and status.
	Flags byte
	// Kind holds the serialize type in its high nibble and a reserved low one.
	Kind byte
	// Seq matches a response to its request.
	Seq uint64
}

// Response reports whether the frame is a response; else it is a request.
func (h Header) Response() bool { return h.Flags&flagResponse != 0 }

// Heartbeat reports whether the frame is a heartbeat.
func (h Header) Heartbeat() bool { return h.Flags&flagHeartbeat != 0 }

// Oneway reports whether the sender wants no answer.
func (h Header) Oneway() bool { return h.Flags&flagOneway != 0 }

// Compress returns how the payload is compressed.
func (h Header) Compress() Compress { return Compress(h.Flags & maskCompress >> 2) }

// Status returns the status bits.
func (h Header) Status() Status { return Status(h.Flags & maskStatus) }

// Serialize returns how the payload is encoded.
func (h Header) Serialize() Serialize { return Serialize(h.Kind >> 4) }

// RequestHeader returns the header of a request.
func RequestHeader(seq uint64, s Serialize, oneway bool) Header {
	h := Header{Kind: byte(s) << 4, Seq: seq}
	if oneway {
		h.Flags = flagOneway
	}
	return h
}

// HeartbeatHeader returns the header of a heartbeat request, which is MsgPack
// whatever the codec of the calls. docs/wire-protocol.md §6
func HeartbeatHeader(seq uint64) Header {
	return Header{Flags: flagHeartbeat, Kind: byte(SerializeMsgPack) << 4, Seq: seq}
}

// Reply returns the header of the response to h: a copy, as rpcx makes it, with
// the response bit set, the status given and no compression.
func (h Header) Reply(s Status) Header {
	h.Flags = h.Flags&^(maskCompress|maskStatus) | flagResponse | byte(s)
	return h
}

// WithCompress returns the header of a frame whose payload is compressed so.
func (h Header) WithCompress(c Compress) Header {
	h.Flags = h.Flags&^maskCompress | byte(c)<<2&maskCompress
	return h
}

// Frame is one parsed frame. Its slices point into the bytes that were parsed.
type Frame struct {
	Header
	Path    []byte
	Method  []byte
	Meta    Meta
	Payload []byte
}

// ParsePrefix reads the first PrefixLen bytes of a frame and returns its header
// and the length of the whole frame, prefix included.
func ParsePrefix(b []byte) (Header, uint64, error) {
	if len(b) < PrefixLen {
		return Header{}, 0, &MalformedError{Field: "prefix", Claim: PrefixLen, Have: uint64(len(b))}
	}
	if b[0] != Magic {
		return Header{}, 0, &MalformedError{Field: "magic", Claim: uint64(b[0]), Have: Magic}
	}
	h := Header{Version: b[1], Flags: b[2], Kind: b[3], Seq: binary.BigEndian.Uint64(b[4:])}
	total := binary.BigEndian.Uint32(b[12:])
	if total < MinTotal {
		return h, 0, &MalformedError{Field: "total", Claim: uint64(total), Have: MinTotal}
	}
	return h, PrefixLen + uint64(total), nil
}

// Parse reads one whole frame: len(b) must be the length that ParsePrefix gave.
// It checks structure; sizes are for Limits.Check.
func Parse(b []byte) (Frame, error) {
	h, size, err := ParsePrefix(b)
	if err != nil {
		return Frame{}, err
	}
	if size != uint64(len(b)) {
		return Frame{}, &MalformedError{Field: "total", Claim: size - PrefixLen, Have: uint64(len(b)) - PrefixLen}
	}
	// Field by field: a loop over pointers to them would put the frame on the heap.
	f := Frame{Header: h}
	var meta []byte
	rest := b[PrefixLen:]
	if f.Path, rest, err = section("path", rest); err != nil {
		return Frame{}, err
	}
	if f.Method, rest, err = section("method", rest); err != nil {
		return Frame{}, err
	}
	if meta, rest, err = section("metadata", rest); err != nil {
		return Frame{}, err
	}
	if f.Payload, rest, err = section("payload", rest); err != nil {
		return Frame{}, err
	}
	if len(rest) != 0 {
		return Frame{}, &MalformedError{Field: "payload", Claim: uint64(len(f.Payload)), Have: uint64(len(f.Payload) + len(rest))}
	}
	f.Meta = Meta(meta)
	if err := f.Meta.check(); err != nil {
		return Frame{}, err
	}
	return f, nil
}

// section splits a length-prefixed field off b.
func section(name string, b []byte) (field, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, &MalformedError{Field: name, Claim: 4, Have: uint64(len(b))}
	}
	n := uint64(binary.BigEndian.Uint32(b))
	if n > uint64(len(b)-4) {
		return nil, nil, &MalformedError{Field: name, Claim: n, Have: uint64(len(b) - 4)}
	}
	return b[4 : 4+n : 4+n], b[4+n:], nil
}
