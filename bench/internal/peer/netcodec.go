// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/rpc"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bench/internal/order"
)

// netStream frames what net/rpc sends. A frame is built in one buffer and goes
// out in one write, which is the least that net/rpc's order of things allows: it
// holds a lock while a codec writes, and does not say whether more will follow.
//
//	4 bytes length | 8 bytes seq | 1 byte length, method | 2 bytes length, error | body
type netStream struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	buf  []byte
	body []byte // of the frame that was read last; part of buf
}

func newNetStream(conn net.Conn) netStream {
	return netStream{conn: conn, in: bufio.NewReaderSize(conn, readBytes)}
}

func (s *netStream) write(seq uint64, method, failure string, body any) error {
	b := s.out[:0]
	b = append(b, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, seq)
	b = append(b, byte(len(method)))
	b = append(b, method...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(failure)))
	b = append(b, failure...)
	switch body := body.(type) {
	case *OrderBox:
		var err error
		if b, err = (proto.MarshalOptions{}).MarshalAppend(b, body.order); err != nil {
			return err
		}
	case *BytesBox:
		b = append(b, body.bytes...)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	s.out = b
	_, err := s.conn.Write(b)
	return err
}

func (s *netStream) readHeader() (seq uint64, method, failure []byte, err error) {
	var size [4]byte
	if _, err := io.ReadFull(s.in, size[:]); err != nil {
		return 0, nil, nil, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if n > maxFrame {
		return 0, nil, nil, fmt.Errorf("a frame says that it has %d bytes", n)
	}
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:n]
	if _, err := io.ReadFull(s.in, b); err != nil {
		return 0, nil, nil, err
	}
	if n < 11 || len(b) < 9+int(b[8])+2 {
		return 0, nil, nil, fmt.Errorf("a frame of %d bytes is too short", n)
	}
	seq = binary.BigEndian.Uint64(b)
	method, b = b[9:9+int(b[8])], b[9+int(b[8]):]
	long := 2 + int(binary.BigEndian.Uint16(b))
	if len(b) < long {
		return 0, nil, nil, fmt.Errorf("a frame of %d bytes is too short", n)
	}
	s.body = b[long:]
	return seq, method, b[2:long], nil
}

// readBody decodes the body of the frame whose header was read; nil skips it.
func (s *netStream) readBody(body any) error {
	switch body := body.(type) {
	case nil:
		return nil
	case *OrderBox:
		body.order = new(order.Order)
		return proto.Unmarshal(s.body, body.order)
	case *BytesBox:
		body.fill(s.body)
		return nil
	}
	return fmt.Errorf("the codec cannot decode %T", body)
}

func (s *netStream) Close() error { return s.conn.Close() }

type netServerCodec struct {
	netStream
	names map[string]string // so that a method's name is not allocated again
}

func newNetServerCodec(conn net.Conn) rpc.ServerCodec {
	names := make(map[string]string)
	for h := range handlers {
		names[netOrderNames[h]] = netOrderNames[h]
		names[netBytesNames[h]] = netBytesNames[h]
	}
	return &netServerCodec{netStream: newNetStream(conn), names: names}
}

func (c *netServerCodec) ReadRequestHeader(r *rpc.Request) error {
	seq, method, _, err := c.readHeader()
	r.Seq, r.ServiceMethod = seq, c.names[string(method)]
	return err
}

func (c *netServerCodec) ReadRequestBody(body any) error { return c.readBody(body) }

func (c *netServerCodec) WriteResponse(r *rpc.Response, body any) error {
	return c.write(r.Seq, "", r.Error, body)
}

type netClientCodec struct{ netStream }

func newNetClientCodec(conn net.Conn) rpc.ClientCodec { return &netClientCodec{newNetStream(conn)} }

func (c *netClientCodec) WriteRequest(r *rpc.Request, body any) error {
	return c.write(r.Seq, r.ServiceMethod, "", body)
}

func (c *netClientCodec) ReadResponseHeader(r *rpc.Response) error {
	seq, _, failure, err := c.readHeader()
	r.Seq, r.Error = seq, string(failure)
	return err
}

func (c *netClientCodec) ReadResponseBody(body any) error { return c.readBody(body) }
