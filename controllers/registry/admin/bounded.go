// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"net"
	"sync"
)

// maxConns bounds the connections that are open at the same time. The next ones
// wait in the kernel's queue.
const maxConns = 16

// bounded accepts no more connections than it has room for.
type bounded struct {
	net.Listener
	room chan struct{} // has room for maxConns; holds one for each that is open
	// closed is closed by Close.
	closed chan struct{}
	once   sync.Once
}

func newBounded(l net.Listener) *bounded {
	return &bounded{Listener: l, room: make(chan struct{}, maxConns), closed: make(chan struct{})}
}

// Accept waits for room, and for a connection.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.room <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	conn, err := b.Listener.Accept()
	if err != nil {
		<-b.room
		return nil, err
	}
	return &boundedConn{Conn: conn, leave: func() { <-b.room }}, nil
}

// Close ends Accept, even if it waits for room.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}

// boundedConn gives its room back once.
type boundedConn struct {
	net.Conn
	once  sync.Once
	leave func()
}

// Close closes the connection.
func (c *boundedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.leave)
	return err
}
