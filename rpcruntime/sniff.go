// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

const (
	// sniffTimeout is what a connection has from its beginning for its handshake
	// and the byte that says what it speaks.
	sniffTimeout = 10 * time.Second
	// sniffGrace is what a connection without a byte has in a drain: whoever
	// dialled is about to send one.
	sniffGrace = time.Second
	// tlsHandshake is the first byte of a TLS connection.
	tlsHandshake = 0x16
)

// Reasons for which a connection is refused, as the observer is told.
const (
	reasonConnections = "connections"
	reasonProtocol    = "protocol"
	reasonTLS         = "tls"
	reasonSilent      = "silent"
	// reasonLeft: it went by itself, as those that only look whether the port is
	// open do. Nobody is told.
	reasonLeft = ""
)

// newcomer is a connection of which nobody knows yet what it speaks:
//
//	accepted --0x16--> handshake --> first byte inside --> handed on
//	   \------- first byte of ours or of a protocol -------/
//	    \--- no byte in time, a strange one, the drain's cut ---> closed
//
// Its goroutine belongs to the server, whose drain waits for it. It counts as a
// connection.
type newcomer struct {
	srv *Server
	nc  net.Conn
	// first is where the first byte is read to.
	first [1]byte

	// until is when it must be known. It does not change.
	until time.Time
	// idle, guarded by the server's lock: it has not sent a byte since it was accepted, or since its handshake.
	idle bool
}

// refusal is why a newcomer is closed.
type refusal struct {
	reason string // one of the above
	err    error
}

// sniff finds out what the newcomer speaks, and hands it on.
func (n *newcomer) sniff() {
	s := n.srv
	defer s.sniffing.Done()
	r := n.sort()
	s.mu.Lock()
	delete(s.newcomers, n)
	draining := s.state == serverDraining
	s.mu.Unlock()
	if r == nil {
		return
	}
	_ = n.nc.Close() // refused anyway
	if r.reason != reasonLeft && (r.reason != reasonSilent || !draining) {
		s.refuseConn(n.nc, r)
	}
}

func (s *Server) refuseConn(nc net.Conn, r *refusal) {
	s.rt.observer.Refused(RefusedEvent{Reason: r.reason})
	s.rt.log.V(1).Info("connection refused", "peer", nc.RemoteAddr().String(), "reason", r.reason, "error", loggable(r.err.Error()))
}

// sort hands the connection to whom it is for, or says why it is for nobody.
func (n *newcomer) sort() *refusal {
	o := &n.srv.opts
	first, r := n.firstByte(n.nc)
	if r != nil {
		return r
	}
	if o.tls == nil {
		return n.hand(n.nc, nil, first)
	}
	if first == tlsHandshake {
		return n.secure(first)
	}
	if !o.plaintext {
		return &refusal{reasonProtocol, fmt.Errorf("plaintext, beginning with 0x%02x, on a port that takes TLS only: let the caller use TLS, or set AlsoPlaintext", first)}
	}
	return n.hand(n.nc, nil, first)
}

// secure makes the handshake of a connection that began one.
func (n *newcomer) secure(first byte) *refusal {
	tc := tls.Server(transport.NewAhead(n.nc, []byte{first}), n.srv.opts.tls)
	if err := tc.HandshakeContext(context.Background()); err != nil { // its deadline is the connection's
		return &refusal{reasonTLS, err}
	}
	state := tc.ConnectionState()
	if len(n.srv.opts.protocols) == 0 {
		n.take(tc, &state, nil)
		return nil
	}
	first, r := n.firstByte(tc)
	if r != nil {
		return r
	}
	return n.hand(tc, &state, first)
}

// hand gives nc, of which first was read, to our transport or to a protocol.
func (n *newcomer) hand(nc net.Conn, state *tls.ConnectionState, first byte) *refusal {
	if first == wire.Magic {
		n.take(nc, state, []byte{first})
		return nil
	}
	for i, p := range n.srv.opts.protocols {
		if p.Match(first) {
			return n.handProtocol(n.srv.foreignListeners[i], nc, state, first)
		}
	}
	return &refusal{reasonProtocol, fmt.Errorf("first byte is 0x%02x: nothing on this port speaks so", first)}
}

func (n *newcomer) handProtocol(ln *foreignListener, nc net.Conn, state *tls.ConnectionState, first byte) *refusal {
	c := n.become(nc, state, first)
	t := time.NewTimer(time.Until(n.until))
	defer t.Stop()
	select {
	case ln.conns <- c:
		return nil
	case <-ln.closed:
	case <-t.C:
	}
	_ = c.Close() // refused anyway
	return &refusal{reasonProtocol, errors.New("its protocol takes no more connections")}
}

// firstByte reads the byte that says what nc speaks.
func (n *newcomer) firstByte(nc net.Conn) (byte, *refusal) {
	n.wait()
	got, err := nc.Read(n.first[:])
	n.woken()
	switch {
	case got > 0:
		return n.first[0], nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, &refusal{reasonSilent, errors.New("it sent nothing in time: no byte, or nothing inside TLS")}
	default:
		return 0, &refusal{reasonLeft, err}
	}
}

// wait sets the deadline before a first byte.
func (n *newcomer) wait() {
	n.srv.mu.Lock()
	defer n.srv.mu.Unlock()
	n.idle = true
	n.limitLocked()
}

// woken sets the deadline of what follows the first byte.
func (n *newcomer) woken() {
	n.srv.mu.Lock()
	defer n.srv.mu.Unlock()
	n.idle = false
	n.limitLocked()
}

// limitLocked sets the deadline that is due now. A drain calls it too.
func (n *newcomer) limitLocked() {
	until := n.until
	if s := n.srv; s.state == serverDraining {
		if s.drainedBy.Before(until) {
			until = s.drainedBy
		}
		if soon := time.Now().Add(min(s.grace, sniffGrace)); n.idle && soon.Before(until) {
			until = soon
		}
	}
	_ = n.nc.SetDeadline(until) // a connection that is gone is found by reading
}

// take makes nc a connection of ours.
func (n *newcomer) take(nc net.Conn, state *tls.ConnectionState, read []byte) {
	n.srv.mu.Lock()
	n.knownLocked()
	n.srv.takeConnLocked(nc, state, read)
}

// become makes nc a connection of another protocol.
func (n *newcomer) become(nc net.Conn, state *tls.ConnectionState, first byte) net.Conn {
	c := &foreignConn{sniffed{Conn: nc, unread: []byte{first}}, n.srv}
	n.srv.mu.Lock()
	defer n.srv.mu.Unlock()
	n.knownLocked()
	n.srv.foreignConns[c] = struct{}{}
	if state == nil {
		return c
	}
	return &foreignTLSConn{c, state}
}

// knownLocked ends the deadlines: the drain must set none any more.
func (n *newcomer) knownLocked() {
	delete(n.srv.newcomers, n)
	_ = n.nc.SetDeadline(time.Time{}) // a connection that is gone is found by using it
}

// sniffed is a connection that gives back what was read of it.
type sniffed struct {
	net.Conn
	unread []byte // touched by Read only, which is not called concurrently
}

// Read reads what was read already first.
func (c *sniffed) Read(b []byte) (int, error) {
	if len(c.unread) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

// foreignConn is a connection of another protocol. It counts until it is closed.
type foreignConn struct {
	sniffed
	srv *Server
}

// foreignTLSConn is one with TLS.
type foreignTLSConn struct {
	*foreignConn
	state *tls.ConnectionState
}

// ConnectionState returns what was agreed.
func (c *foreignTLSConn) ConnectionState() tls.ConnectionState { return *c.state }

// Close closes the connection, which counts no more.
func (c *foreignConn) Close() error {
	c.srv.mu.Lock()
	delete(c.srv.foreignConns, c)
	c.srv.mu.Unlock()
	return c.Conn.Close()
}

// CloseWrite ends the sending side, so that unread input does not make the
// kernel throw away what is still to be sent.
func (c *foreignConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// foreignListener gives a protocol its connections.
type foreignListener struct {
	addr  net.Addr
	conns chan net.Conn // without a buffer: what is handed over has been taken
	// closed is closed by Close.
	closed chan struct{}
	once   sync.Once
}

func newForeignListener(addr net.Addr) *foreignListener {
	return &foreignListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept waits for the next connection.
func (l *foreignListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
	}
}

// Close ends Accept.
func (l *foreignListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns the address of the server's first listener.
func (l *foreignListener) Addr() net.Addr { return l.addr }
