// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"net"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bench/internal/order"
)

// framedPeer is the yardstick for many callers: frames of all on a few
// connections, writes combined on both sides, a goroutine for each request. It
// has no deadlines, limits, metadata or errors.
func framedPeer() Peer {
	return Peer{
		Name: "framed", Note: "yardstick: multiplexed frames, combined writes on both sides", Shared: true,
		Serve: func(ctx context.Context, ln net.Listener, _ string) error {
			return serveConns(ctx, ln, serveFramed)
		},
		Dial: dialFramed,
	}
}

// framedServer answers on one connection.
type framedServer struct {
	out     combiner
	idle    sync.Pool // of *framedRequest
	running sync.WaitGroup
}

// framedRequest is used again for other requests; what a handler is given is not.
type framedRequest struct {
	server *framedServer
	head   head
	buf    []byte
	run    func() // answer, bound once so that starting it allocates nothing
}

func serveFramed(conn net.Conn) {
	s := &framedServer{out: combiner{conn: conn}}
	s.idle.New = func() any {
		r := &framedRequest{server: s}
		r.run = r.answer
		return r
	}
	defer s.running.Wait()
	in := newFrames(conn)
	for {
		h, payload, err := in.next()
		if err != nil {
			return // the client went
		}
		r := s.idle.Get().(*framedRequest)
		r.head = h
		if h.what&orderFlag == 0 {
			r.buf = append(make([]byte, 0, len(payload)), payload...) // the handler may keep it
		} else {
			r.buf = append(r.buf[:0], payload...)
		}
		s.running.Add(1)
		go r.run()
	}
}

func (r *framedRequest) answer() {
	s := r.server
	defer s.running.Done()
	handler, err := r.head.handlerOf()
	if err != nil {
		_ = s.out.conn.Close() // the client is broken
		return
	}
	if r.head.what&orderFlag == 0 {
		handler.run()
		_ = s.out.bytes(r.head, r.buf) // the reader sees that the connection is lost
		r.buf = nil
	} else {
		req := new(order.Order)
		if proto.Unmarshal(r.buf, req) != nil {
			_ = s.out.conn.Close()
			return
		}
		handler.run()
		_ = s.out.order(r.head, req)
	}
	s.idle.Put(r)
}

func dialFramed(ctx context.Context, s Setup) (Client, error) {
	conns, err := dialled(ctx, s)
	if err != nil {
		return nil, err
	}
	var reading sync.WaitGroup
	client := &spread{close: func() error {
		err := closeAll(conns)
		reading.Wait()
		return err
	}}
	for _, conn := range conns {
		c := &framedConn{out: combiner{conn: conn}}
		reading.Go(c.read)
		client.callers = append(client.callers, c)
	}
	return client, nil
}
