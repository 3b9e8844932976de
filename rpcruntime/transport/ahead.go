// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"crypto/tls"
	"net"
)

// Ahead is a connection of which something was read ahead, which its Read returns
// first. It belongs between a *tls.Conn and the connection below: with it, a
// connection that is quiet waits for the next byte here, and not in the depths
// of crypto/tls with a buffer and a stack four times as large.
//
// Its Read must not be called concurrently; the other methods are those of the
// connection below.
type Ahead struct {
	net.Conn
	unread []byte // what was read ahead; empty mostly
	err    error  // how reading ahead failed; told once unread is empty
}

// NewAhead returns nc with what was read of it already; mostly none.
func NewAhead(nc net.Conn, unread []byte) *Ahead { return &Ahead{Conn: nc, unread: unread} }

// aheadOf returns what a TLS connection reads from, if that is an Ahead.
func aheadOf(nc net.Conn) *Ahead {
	if t, ok := nc.(*tls.Conn); ok {
		if a, ok := t.NetConn().(*Ahead); ok {
			return a
		}
	}
	return nil
}

// Read reads what was read ahead, then from the connection.
func (a *Ahead) Read(b []byte) (int, error) {
	switch {
	case len(a.unread) > 0:
		n := copy(b, a.unread)
		a.unread = a.unread[n:]
		return n, nil
	case a.err != nil:
		return 0, a.err
	default:
		return a.Conn.Read(b)
	}
}
