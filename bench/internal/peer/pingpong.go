// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bench/internal/order"
)

// pingpongPeer is the yardstick for one caller: a connection for each caller, a
// call at a time, and no goroutine that hands anything to another.
func pingpongPeer() Peer {
	return Peer{
		Name: "pingpong", Note: "yardstick: a connection for each caller, nothing handed over",
		Serve: func(ctx context.Context, ln net.Listener, _ string) error {
			return serveConns(ctx, ln, servePingpong)
		},
		Dial: func(_ context.Context, s Setup) (Client, error) { return pingpongClient(s.Address), nil },
	}
}

func servePingpong(conn net.Conn) {
	in := newFrames(conn)
	var out []byte
	for {
		h, payload, err := in.next()
		if err != nil {
			return // the client went
		}
		handler, err := h.handlerOf()
		if err != nil {
			return
		}
		if h.what&orderFlag == 0 {
			handler.run()
			out = appendBytes(out[:0], h, payload)
		} else {
			req := new(order.Order)
			if proto.Unmarshal(payload, req) != nil {
				return
			}
			handler.run()
			if out, err = appendOrder(out[:0], h, req); err != nil {
				return
			}
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

type pingpongClient string

func (c pingpongClient) Caller() (Caller, error) {
	conn, err := dialTCP(context.Background(), string(c))
	if err != nil {
		return nil, err
	}
	return &pingpongCaller{conn: conn, in: newFrames(conn)}, nil
}

func (pingpongClient) Close() error { return nil }

type pingpongCaller struct {
	conn net.Conn
	in   *frames
	out  []byte
	seq  uint32
}

func (c *pingpongCaller) Order(_ context.Context, k Handler, req *order.Order) (*order.Order, error) {
	c.seq++
	var err error
	if c.out, err = appendOrder(c.out[:0], head{seq: c.seq, what: byte(k) | orderFlag}, req); err != nil {
		return nil, err
	}
	payload, err := c.exchange()
	if err != nil {
		return nil, err
	}
	reply := new(order.Order)
	return reply, proto.Unmarshal(payload, reply)
}

func (c *pingpongCaller) Bytes(_ context.Context, k Handler, req, reply []byte) ([]byte, error) {
	c.seq++
	c.out = appendBytes(c.out[:0], head{seq: c.seq, what: byte(k)}, req)
	payload, err := c.exchange()
	if err != nil {
		return nil, err
	}
	return append(reply[:0], payload...), nil
}

func (c *pingpongCaller) exchange() ([]byte, error) {
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, err
	}
	h, payload, err := c.in.next()
	if err == nil && h.seq != c.seq {
		return nil, fmt.Errorf("the answer has seq %d, not %d", h.seq, c.seq)
	}
	return payload, err
}

func (c *pingpongCaller) Close() error { return c.conn.Close() }
