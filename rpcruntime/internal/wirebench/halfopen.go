// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
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
	idle, err := openMany(ctx, howIdle)
	if err != nil {
		return err
	}
	secure, err := openMany(ctx, howIdleTLS)
	if err != nil {
		return err
	}
	half, err := openMany(ctx, howHalf)
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
		out.add("idle_rss_bytes_per_conn", idle.resident, "5120")
	}
	out.add("idle_tls_bytes_per_conn", secure.live, goalNone)
	if secure.resident > 0 {
		out.add("idle_tls_rss_bytes_per_conn", secure.resident, "16384")
	}
	return nil
}

// What the dialler's connections do.
const (
	howHalf    = "half"    // begin a frame
	howIdle    = "idle"    // announce themselves with one call, and no more
	howIdleTLS = "idletls" // the same over TLS
)

// settle is how long idle connections are left alone before they are looked at:
// longer than it takes the server to find them quiet.
const settle = 2 * time.Second

// opened is what many connections cost and what became of them.
type opened struct {
	live, resident float64 // bytes each
	ended          int64
	last           time.Duration
}

// openMany has a child open connections, and looks at the server meanwhile.
func openMany(ctx context.Context, how string) (o opened, err error) {
	var serverArgs []string
	if how == howIdleTLS {
		serverArgs = []string{serverTLS}
	}
	server, address, _, err := startServer(ctx, serverArgs...)
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
	if how != howHalf {
		if !wait(ctx, time.Now().Add(settle)) {
			return o, ctx.Err()
		}
		if now, err = server.numbers("memory", "memory"); err != nil {
			return o, err
		}
	}
	o.live = float64(now[0]-before[0]) / halfOpenConns
	if before[1] > 0 {
		o.resident = float64(now[1]-before[1]) / halfOpenConns
	}
	if how != howHalf {
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
		return errors.New("want an address, a number and half, idle or idletls")
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	half := args[2] == howHalf
	conns, err := dialMany(ctx, args[0], n, args[2])
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
func dialMany(ctx context.Context, address string, n int, how string) ([]halfConn, error) {
	const diallers = 16
	conns := make([]halfConn, n)
	errs := make([]error, diallers)
	var all sync.WaitGroup
	for d := range diallers {
		all.Go(func() {
			for i := d; i < n && errs[d] == nil; i += diallers {
				conns[i], errs[d] = openOne(ctx, address, how)
			}
		})
	}
	all.Wait()
	return conns, errors.Join(errs...)
}

// openOne sends a byte of a frame, or makes a whole call as a caller does that
// announces itself.
func openOne(ctx context.Context, address, how string) (halfConn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return halfConn{}, err
	}
	if how == howIdleTLS {
		nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the server is this program, and its certificate a minute old
	}
	c := halfConn{nc: nc, sent: time.Now()}
	b := wire.Begin(nil, wire.RequestHeader(1, wire.SerializeRaw, false), "Bench", "Echo")
	b.MetaBytes(wire.KeyAnnounce, wire.AppendAnnouncement(nil, wire.Announcement{
		Seq: 1, Features: []string{wire.FeatureDrain, wire.FeatureCancel, wire.FeatureWindow, wire.FeatureLoad},
		Caller: "default/caller", To: "default/bench", UID: "6e0bd4f2-3e1c-4d3c-9a55-0d9b1a5f7c21",
	}))
	frame := b.Payload([]byte("x"))
	if how == howHalf {
		_, err = nc.Write(frame[:1])
		return c, err
	}
	if _, err = nc.Write(frame); err == nil {
		err = readAnswer(nc)
	}
	return c, err
}

// readAnswer reads frames as far as to the first answer.
func readAnswer(nc net.Conn) error {
	for {
		prefix := make([]byte, wire.PrefixLen)
		if _, err := io.ReadFull(nc, prefix); err != nil {
			return err
		}
		header, size, err := wire.ParsePrefix(prefix)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, nc, int64(size)-wire.PrefixLen); err != nil {
			return err
		}
		if header.Response() {
			return nil
		}
	}
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
