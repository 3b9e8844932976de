// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bench/internal/order"
)

// A yardstick's frame: the length of what follows, a seq, what is meant, and the
// payload; numbers are big endian.
//
//	4 bytes length | 4 bytes seq | 1 byte handler | payload
//
// The handler's byte has orderFlag set if the payload is an order.
const (
	headBytes = 9
	orderFlag = 0x80
	// maxFrame is far more than what is sent: it only tells a broken stream.
	maxFrame  = 1 << 24
	readBytes = 64 << 10
)

type head struct {
	seq  uint32
	what byte
}

// frames cuts a connection into frames.
type frames struct {
	conn net.Conn
	buf  []byte
	// Invariant: 0 <= start <= end <= len(buf); what was read and not yet
	// returned is buf[start:end].
	start, end int
}

func newFrames(conn net.Conn) *frames { return &frames{conn: conn, buf: make([]byte, readBytes)} }

// next returns a frame. The payload is valid until next is called again.
func (f *frames) next() (h head, payload []byte, err error) {
	if err := f.fill(headBytes); err != nil {
		return head{}, nil, err
	}
	b := f.buf[f.start:]
	length := int(binary.BigEndian.Uint32(b))
	if length < headBytes-4 || length > maxFrame {
		return head{}, nil, fmt.Errorf("a frame says that it has %d bytes", length)
	}
	h = head{seq: binary.BigEndian.Uint32(b[4:]), what: b[8]}
	if err := f.fill(4 + length); err != nil {
		return head{}, nil, err
	}
	payload = f.buf[f.start+headBytes : f.start+4+length]
	f.start += 4 + length
	return h, payload, nil
}

// fill reads until n bytes are there.
func (f *frames) fill(n int) error {
	if f.end-f.start >= n {
		return nil
	}
	if f.start+n > len(f.buf) {
		to := f.buf
		if n > len(f.buf) {
			to = make([]byte, 2*n)
		}
		f.end = copy(to, f.buf[f.start:f.end])
		f.start, f.buf = 0, to
	}
	for f.end-f.start < n {
		got, err := f.conn.Read(f.buf[f.end:])
		f.end += got
		if err != nil && f.end-f.start < n {
			return err
		}
	}
	return nil
}

// appendBytes appends a frame with that payload.
func appendBytes(b []byte, h head, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(headBytes-4+len(payload)))
	b = binary.BigEndian.AppendUint32(b, h.seq)
	b = append(b, h.what)
	return append(b, payload...)
}

// appendOrder appends a frame with that order.
func appendOrder(b []byte, h head, m *order.Order) ([]byte, error) {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.seq)
	b = append(b, h.what)
	out, err := proto.MarshalOptions{}.MarshalAppend(b, m)
	if err != nil {
		return b[:start], err
	}
	binary.BigEndian.PutUint32(out[start:], uint32(len(out)-start-4))
	return out, nil
}

var errUnknownHandler = errors.New("a frame names no handler")

// handlerOf is the handler that a frame names.
func (h head) handlerOf() (Handler, error) {
	if k := Handler(h.what &^ orderFlag); k < handlers {
		return k, nil
	}
	return 0, errUnknownHandler
}
