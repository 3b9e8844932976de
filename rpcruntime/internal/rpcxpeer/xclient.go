// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcxpeer

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"
)

// Select says how an XClient chooses among its servers.
type Select uint8

const (
	// RandomSelect is rpcx's default.
	RandomSelect Select = iota
	// RoundRobinSelect takes them in turn.
	RoundRobinSelect
)

// retries is how many attempts follow the first one.
const retries = 3

// errNoServer is the error of an XClient that knows of no server.
var errNoServer = errors.New("rpcxpeer: no server")

// XConfig sets up an XClient.
type XConfig struct {
	Client ClientConfig
	Select Select
	// Token goes out with every call, unless it is empty.
	Token string
}

// XClient calls one service at several servers, in Failover mode.
type XClient struct {
	path string
	cfg  XConfig

	mu      sync.Mutex // guards what follows; held over dials, as rpcx did
	servers []string
	next    int
	clients map[string]*Client
	closed  bool
}

// NewXClient returns a client of the service path at servers, host:port each. It
// connects when first needed.
func NewXClient(path string, servers []string, cfg XConfig) *XClient {
	return &XClient{path: path, cfg: cfg, servers: servers, clients: map[string]*Client{}}
}

// Close closes all connections.
func (x *XClient) Close() {
	x.mu.Lock()
	x.closed = true
	all := x.clients
	x.clients = map[string]*Client{}
	x.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
}

// Call calls a method: up to four attempts, each at a server that is chosen
// anew. An answer ends it, be it an error, and so does the end of ctx. What
// failed in another way is sent again, whether it ran or not.
func (x *XClient) Call(ctx context.Context, method string, args []byte) ([]byte, error) {
	ctx = x.stamp(ctx)
	var failed error
	for range 1 + retries {
		address, c, err := x.pick(ctx)
		if err != nil {
			failed = err
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			continue
		}
		reply, err := c.Call(ctx, x.path, method, args)
		var answered ServiceError
		if err == nil || errors.As(err, &answered) || ctx.Err() != nil {
			return reply, err
		}
		failed = err
		x.remove(address, c)
	}
	return nil, failed
}

// Oneway sends a call that has no answer to one server.
func (x *XClient) Oneway(ctx context.Context, method string, args []byte) error {
	ctx = x.stamp(ctx)
	_, c, err := x.pick(ctx)
	if err != nil {
		return err
	}
	return c.Oneway(ctx, x.path, method, args)
}

// stamp adds the keys that go out with every call: the deadline as it is now,
// for all attempts.
func (x *XClient) stamp(ctx context.Context) context.Context {
	if x.cfg.Token != "" {
		ctx = withKey(ctx, KeyAuth, x.cfg.Token)
	}
	if deadline, ok := ctx.Deadline(); ok {
		ctx = withKey(ctx, KeyServerTimeout, strconv.FormatInt(time.Until(deadline).Milliseconds(), 10))
	}
	return ctx
}

// pick chooses a server and connects to it if need be.
func (x *XClient) pick(ctx context.Context) (address string, c *Client, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.closed:
		return "", nil, ErrShutdown
	case len(x.servers) == 0:
		return "", nil, errNoServer
	case x.cfg.Select == RoundRobinSelect:
		address = x.servers[x.next%len(x.servers)]
		x.next++
	default:
		address = x.servers[rand.IntN(len(x.servers))]
	}
	if c = x.clients[address]; c != nil {
		select {
		case <-c.Down():
			delete(x.clients, address)
			c.Close() // it is over: this only waits
		default:
			return address, c, nil
		}
	}
	c, err = Dial(ctx, address, x.cfg.Client)
	if err != nil {
		return "", nil, err
	}
	x.clients[address] = c
	return address, c, nil
}

// remove closes a connection that failed, and with it all calls on it.
func (x *XClient) remove(address string, c *Client) {
	x.mu.Lock()
	if x.clients[address] == c {
		delete(x.clients, address)
	}
	x.mu.Unlock()
	c.Close()
}
