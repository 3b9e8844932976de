// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/fairlead/fairlead/bench/internal/result"
)

// IdleConns is how many connections are opened: the server and the one that
// dials need a file for each.
const IdleConns = 8000

// IdleRest is how long connections are idle before they are looked at: a server
// does not give up everything at once.
const IdleRest = 20 * time.Second

// IdleConnections is what an idle connection costs a server, of conns that are
// open at once, over TLS or not: the growth of the anonymous resident memory of a
// process that serves, after collections and after what is free was given back,
// divided by the number of connections. Each has made one call that announced its
// caller, as a client of ours does, and then been idle for rest. What the kernel
// keeps for a socket is not in it.
func IdleConnections(ctx context.Context, conns, rounds int, overTLS bool, rest time.Duration) (result.Value, error) {
	name := result.IdlePlain
	if overTLS {
		name = result.IdleTLS
	}
	var each []float64
	for range rounds {
		bytes, err := idleOnce(ctx, conns, overTLS, rest)
		if err != nil {
			return result.Value{}, fmt.Errorf("%s: %w", name, err)
		}
		each = append(each, bytes)
	}
	return result.NewValue(name, result.UnitBytes, each...), nil
}

// idleOnce has a child dial another one.
func idleOnce(ctx context.Context, conns int, overTLS bool, rest time.Duration) (bytes float64, err error) {
	server, err := spawn(ctx, kindServer, strconv.FormatBool(overTLS))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, server.end()) }()
	ready, err := server.words("", "ready", 2)
	if err != nil {
		return 0, err
	}
	// A few come and go first, so that what the first ones cost is not counted.
	if err := dialAndLeave(ctx, ready, overTLS); err != nil {
		return 0, err
	}
	before, err := server.settled(ctx, 0)
	if err != nil {
		return 0, err
	}
	dialler, err := spawn(ctx, kindDialler, ready[0], ready[1], strconv.FormatBool(overTLS), strconv.Itoa(conns))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, dialler.end()) }()
	if _, err := dialler.words("", "open", 0); err != nil {
		return 0, err
	}
	if _, err := server.settled(ctx, int64(conns)); err != nil {
		return 0, err
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	after, err := server.settled(ctx, int64(conns))
	if err != nil {
		return 0, err
	}
	return float64(after-before) / float64(conns), nil
}

func dialAndLeave(ctx context.Context, ready []string, overTLS bool) error {
	const few = 64
	d, err := spawn(ctx, kindDialler, ready[0], ready[1], strconv.FormatBool(overTLS), strconv.Itoa(few))
	if err != nil {
		return err
	}
	_, err = d.words("", "open", 0)
	return errors.Join(err, d.end())
}

// settled waits until the server has so many connections, and says what memory it
// has then.
func (c *child) settled(ctx context.Context, conns int64) (resident int64, err error) {
	const patience = 30 * time.Second
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); ; {
		now, err := c.numbers("memory", "memory", 2)
		if err != nil {
			return 0, err
		}
		if now[1] == conns {
			return now[0], nil
		}
		if time.Since(began) > patience {
			return 0, fmt.Errorf("the server has %d connections, not %d", now[1], conns)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
