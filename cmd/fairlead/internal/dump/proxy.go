// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// maxProxied is how many connections a proxy passes on at a time. More are
	// refused, as by a server that has enough.
	maxProxied = 4096
	// dialTimeout bounds the time to reach the other side.
	dialTimeout = 10 * time.Second
	// copyBytes is what is passed on in one go.
	copyBytes = 32 << 10
)

// Proxy listens at one address and passes every connection on to another,
// unchanged, while it decodes what passes. It ends in order when ctx does, and
// then returns nil. The error is that of the listener.
func Proxy(ctx context.Context, listen, to string, opts Options) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	p := &proxy{to: to, ears: newEars(&opts)}
	_, _ = fmt.Fprintf(opts.Log, "listening at %s, passing on to %s\n", ln.Addr(), to) // the traffic is what counts
	err = p.accept(ctx, ln)
	p.links.Wait()
	p.ears.close()
	_, _ = fmt.Fprintln(opts.Log, p.ears.summary())
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// proxy passes connections on. links counts the goroutines that do.
type proxy struct {
	to    string // host:port
	ears  *ears
	links sync.WaitGroup
}

// accept takes connections until the listener is closed.
func (p *proxy) accept(ctx context.Context, ln net.Listener) error {
	slots := make(chan struct{}, maxProxied)
	for {
		conn, err := ln.Accept()
		var temporary interface{ Temporary() bool }
		switch {
		case err == nil:
		case errors.As(err, &temporary) && temporary.Temporary() && ctx.Err() == nil:
			pause(ctx, 50*time.Millisecond) // too many open files, mostly
			continue
		default:
			_ = ln.Close() // it is of no use any more
			return err
		}
		client, ok := conn.(*net.TCPConn)
		if !ok {
			_ = conn.Close() // it cannot be: the listener is TCP
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			p.ears.log("%s: refused, for %d connections are open", client.RemoteAddr(), maxProxied)
			reset(client)
			continue
		}
		p.links.Go(func() {
			p.link(ctx, client)
			<-slots
		})
	}
}

// pause waits, unless ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// link connects one client to the server, until both directions have ended.
func (p *proxy) link(ctx context.Context, client *net.TCPConn) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "tcp", p.to)
	server, ok := conn.(*net.TCPConn)
	if err != nil || !ok {
		p.ears.log("%s: cannot be passed on: %v", client.RemoteAddr(), err)
		reset(client)
		return
	}
	stop := context.AfterFunc(ctx, func() {
		reset(client)
		reset(server)
	})
	defer stop()
	heard := p.ears.meet(address(client.RemoteAddr()), address(server.RemoteAddr()))
	var both sync.WaitGroup
	both.Go(func() { pass(client, server, heard, 0) })
	pass(server, client, heard, 1)
	both.Wait()
	_ = client.Close() // both directions have ended
	_ = server.Close()
	heard.over()
}

func address(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// pass copies one direction to its end and passes on how it ended: a half-close
// as such, a reset as a reset.
func pass(from, to *net.TCPConn, heard *hearing, side int) {
	defer heard.end(side)
	buf := make([]byte, copyBytes)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			at := time.Now()
			if _, failed := to.Write(buf[:n]); failed != nil {
				return // the other direction hears of it, too
			}
			heard.hear(side, buf[:n], at)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite() // if it is gone already, the other direction ends too
			return
		default:
			reset(to)
			reset(from)
			return
		}
	}
}

// reset ends a connection at once, and lets its peer know.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0) // it may be closed already
	_ = c.Close()
}
