// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// spread is a Client whose callers take turns at choosing one of a few
// connections, which they then keep.
type spread struct {
	callers []Caller // one for each connection
	next    atomic.Uint32
	close   func() error
}

func (s *spread) Caller() (Caller, error) {
	return s.callers[int(s.next.Add(1)-1)%len(s.callers)], nil
}

func (s *spread) Close() error { return s.close() }

// dialled dials as many connections as the setup wants, closing all if one fails.
func dialled(ctx context.Context, s Setup) ([]net.Conn, error) {
	conns := make([]net.Conn, 0, s.Conns)
	for range max(1, s.Conns) {
		c, err := dialTCP(ctx, s.Address)
		if err != nil {
			return nil, errors.Join(err, closeAll(conns))
		}
		conns = append(conns, c)
	}
	return conns, nil
}

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

func closeAll(conns []net.Conn) error {
	var errs []error
	for _, c := range conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// serveConns accepts until ctx ends and serves each connection on a goroutine of
// its own; then it closes them and waits.
func serveConns(ctx context.Context, ln net.Listener, serve func(net.Conn)) error {
	var all sync.WaitGroup
	defer all.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() }) // a listener that is closed already is what we want
	defer stop()
	for {
		c, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		all.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = c.Close() }) // ends the reads in serve
			defer stop()
			defer c.Close()
			serve(c)
		})
	}
}
