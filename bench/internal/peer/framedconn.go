// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bench/internal/order"
)

// framedConn is the calling side of a connection.
type framedConn struct {
	out combiner

	mu    sync.Mutex
	slots []*slot // by seq
	free  []*slot
	lost  error // why the reader ended; nothing is answered from then on
}

// slot is the place of a call that waits.
type slot struct {
	seq    uint32
	buf    []byte    // the payload of the answer
	answer chan bool // of 1; the reader sends true when buf is set, false when the connection is lost
}

// take finds a slot that is free.
func (c *framedConn) take() (*slot, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost != nil {
		return nil, c.lost
	}
	if n := len(c.free); n > 0 {
		s := c.free[n-1]
		c.free = c.free[:n-1]
		return s, nil
	}
	s := &slot{seq: uint32(len(c.slots)), answer: make(chan bool, 1)}
	c.slots = append(c.slots, s)
	return s, nil
}

func (c *framedConn) give(s *slot) {
	c.mu.Lock()
	c.free = append(c.free, s)
	c.mu.Unlock()
}

// at finds the slot of an answer.
func (c *framedConn) at(seq uint32) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if int(seq) >= len(c.slots) {
		return nil
	}
	return c.slots[seq]
}

func (c *framedConn) read() {
	in := newFrames(c.out.conn)
	for {
		h, payload, err := in.next()
		if err != nil {
			c.fail(err)
			return
		}
		s := c.at(h.seq)
		if s == nil {
			continue
		}
		s.buf = append(s.buf[:0], payload...)
		s.answer <- true
	}
}

// fail ends all calls, also those that are not waiting: they find their slot's
// channel full, or the connection lost.
func (c *framedConn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = err
	for _, s := range c.slots {
		select {
		case s.answer <- false:
		default:
		}
	}
}

func (c *framedConn) why() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

func (c *framedConn) Order(_ context.Context, k Handler, req *order.Order) (*order.Order, error) {
	s, err := c.take()
	if err != nil {
		return nil, err
	}
	defer c.give(s)
	if err := c.out.order(head{seq: s.seq, what: byte(k) | orderFlag}, req); err != nil {
		return nil, err
	}
	if !<-s.answer {
		return nil, c.why()
	}
	reply := new(order.Order)
	return reply, proto.Unmarshal(s.buf, reply)
}

func (c *framedConn) Bytes(_ context.Context, k Handler, req, reply []byte) ([]byte, error) {
	s, err := c.take()
	if err != nil {
		return nil, err
	}
	defer c.give(s)
	// The answer goes straight into the caller's slice.
	s.buf, reply = reply, s.buf
	if err := c.out.bytes(head{seq: s.seq, what: byte(k)}, req); err != nil {
		return nil, err
	}
	if !<-s.answer {
		return nil, c.why()
	}
	s.buf, reply = reply, s.buf
	return reply, nil
}

// Close does nothing: callers share the connection.
func (c *framedConn) Close() error { return nil }
