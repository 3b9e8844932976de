// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// halfOpenConns is how many connections are opened; the dialler and the server
// need a file for each.
const halfOpenConns = 8000

func measureHalfOpen(ctx context.Context, out *report) error {
	idle, err := openMany(ctx, "idle")
	if err != nil {
		return err
	}
	half, err := openMany(ctx, "half")
	if err != nil {
		return err
	}
	out.add("halfopen_bytes_per_conn", half.live, "10240")
	if half.resident > 0 {
		out.add("halfopen_rss_bytes_per_conn", half.resident, "10240")
	}
	out.add("halfopen_timed_out", float64(half.ended), strconv.Itoa(halfOpenConns))
	out.add("halfopen_last_timeout_ms", millis(half.last), goalNone)
	out.add("idle_bytes_per_conn", idle.live, goalNone)
	if idle.resident > 0 {
		out.add("idle_rss_bytes_per_conn", idle.resident, goalNone)
	}
	return nil
}

// opened is what many connections cost and what became of them.
type opened struct {
	live, resident float64 // bytes each
	ended          int64
	last           time.Duration
}

// openMany has a child open connections, and looks at the server meanwhile.
func openMany(ctx context.Context, how string) (o opened, err error) {
	server, address, _, err := startServer(ctx)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, server.end()) }()
	if _, err := server.numbers("memory", "memory"); err != nil { // so that measuring has cost what it costs
		return o, err
	}
	before, err := server.numbers("memory", "memory")
	if err != nil {
		return o, err
	}
	dialler, err := spawn(ctx, "dialler", address, strconv.Itoa(halfOpenConns), how)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, dialler.end()) }()
	if _, err := dialler.ask("", "open"); err != nil {
		return o, err
	}
	var now []int64
	for { // until the server has read what was sent
		if now, err = server.numbers("memory", "memory"); err != nil {
			return o, err
		}
		if len(now) != 4 || len(before) != 4 {
			return o, fmt.Errorf("the server said %v", now)
		}
		if now[2] >= halfOpenConns && now[3]-before[3] >= halfOpenConns {
			break
		}
		if !wait(ctx, time.Now().Add(50*time.Millisecond)) {
			return o, fmt.Errorf("the server has %d connections and read %d bytes", now[2], now[3])
		}
	}
	o.live = float64(now[0]-before[0]) / halfOpenConns
	if before[1] > 0 {
		o.resident = float64(now[1]-before[1]) / halfOpenConns
	}
	if how == "idle" {
		return o, nil
	}
	ends, err := dialler.numbers("", "ended")
	if err != nil {
		return o, err
	}
	if len(ends) != 2 {
		return o, fmt.Errorf("the dialler said %v", ends)
	}
	o.ended, o.last = ends[0], time.Duration(ends[1])
	return o, nil
}

// beDialler opens connections, and says so; half-open ones it then waits for:
//
//	open
//	ended COUNT NANOSECONDS-OF-THE-LAST, since its byte
func beDialler(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("want an address, a number and half or idle")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	half := args[2] == "half"
	conns, err := dialMany(ctx, args[0], n, half)
	defer func() {
		for _, c := range conns {
			if c.nc != nil {
				_ = c.nc.Close()
			}
		}
	}()
	if err != nil {
		return err
	}
	fmt.Println("open")
	if half {
		ended, last := awaitEnds(conns)
		fmt.Println("ended", ended, last.Nanoseconds())
	}
	_, err = io.Copy(io.Discard, os.Stdin) // until nobody needs them any more
	return err
}

// halfConn is a connection and when its byte was sent.
type halfConn struct {
	nc   net.Conn
	sent time.Time
}

// dialMany opens connections, some at a time.
func dialMany(ctx context.Context, address string, n int, half bool) ([]halfConn, error) {
	const diallers = 16
	conns := make([]halfConn, n)
	errs := make([]error, diallers)
	var all sync.WaitGroup
	for d := range diallers {
		all.Go(func() {
			for i := d; i < n && errs[d] == nil; i += diallers {
				conns[i], errs[d] = openOne(ctx, address, half)
			}
		})
	}
	all.Wait()
	return conns, errors.Join(errs...)
}

// openOne sends a byte of a frame, or makes a whole call.
func openOne(ctx context.Context, address string, half bool) (halfConn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return halfConn{}, err
	}
	c := halfConn{nc: nc, sent: time.Now()}
	b := wire.Begin(nil, wire.RequestHeader(1, wire.SerializeRaw, false), "Bench", "Echo")
	frame := b.Payload([]byte("x"))
	if half {
		_, err = nc.Write(frame[:1])
		return c, err
	}
	if _, err = nc.Write(frame); err == nil {
		_, err = io.ReadFull(nc, make([]byte, len(frame)))
	}
	return c, err
}

// awaitEnds waits until the server has ended each connection, for half a minute.
func awaitEnds(conns []halfConn) (ended int, last time.Duration) {
	deadline := time.Now().Add(30 * time.Second)
	for _, c := range conns {
		_ = c.nc.SetReadDeadline(deadline)
		_, err := c.nc.Read(make([]byte, 1))
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			continue
		}
		ended++
		last = max(last, time.Since(c.sent))
	}
	return ended, last
}
