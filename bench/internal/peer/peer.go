// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"time"

	"github.com/fairlead/fairlead/bench/internal/order"
)

// Handler is what a server does before it echoes.
type Handler uint8

// Handlers, in the order of their names.
const (
	Immediate Handler = iota // returns at once
	Yield                    // runtime.Gosched, once
	Sleep                    // sleeps 1 ms
	Block                    // sleeps 1 s
	handlers
)

var handlerNames = [handlers]string{"immediate", "yield", "sleep", "block"} // constant

func (h Handler) String() string { return handlerNames[h] }

// ParseHandler finds a handler by its name.
func ParseHandler(name string) (Handler, error) {
	for h, n := range handlerNames {
		if n == name {
			return Handler(h), nil
		}
	}
	return 0, fmt.Errorf("no handler is called %q: want one of %v", name, handlerNames)
}

func (h Handler) run() {
	switch h {
	case Immediate, handlers:
	case Yield:
		runtime.Gosched()
	case Sleep:
		time.Sleep(time.Millisecond) //nolint:forbidigo // that is the handler that is measured
	case Block:
		time.Sleep(time.Second) //nolint:forbidigo // that is the handler that is measured
	}
}

// Setup is how a client reaches its server.
type Setup struct {
	Address  string // host:port of the server
	Conns    int    // connections, for peers that share them; at least 1
	Registry string // host:port of Fairlead's registry; empty for none
}

// Client is one process's way to a server.
type Client interface {
	// Caller makes what one goroutine calls with.
	Caller() (Caller, error)
	Close() error
}

// Caller makes one call at a time.
type Caller interface {
	Order(ctx context.Context, h Handler, req *order.Order) (*order.Order, error)
	// Bytes puts the answer into reply, which it may grow, as far as the library
	// lets a caller use a slice again.
	Bytes(ctx context.Context, h Handler, req, reply []byte) ([]byte, error)
	// Close gives back what the Caller alone has; the Client goes on.
	Close() error
}

// Peer is one library, or one yardstick.
type Peer struct {
	Name   string
	Module string // of the library, whose version is reported; empty for our own
	Note   string // how it is set up
	// Shared says that callers share Setup.Conns connections.
	Shared bool
	// Serve serves until ctx ends. It closes ln.
	Serve func(ctx context.Context, ln net.Listener, registry string) error
	Dial  func(ctx context.Context, s Setup) (Client, error)
}

// All are the peers in the order in which they are listed everywhere.
func All() []Peer {
	return []Peer{
		fairleadPeer(), framedPeer(), pingpongPeer(), grpcPeer(), netrpcPeer(), drpcPeer(), connectPeer(), ttrpcPeer(),
	}
}

// Find finds a peer by its name.
func Find(name string) (Peer, error) {
	var names []string
	for _, p := range All() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Peer{}, fmt.Errorf("no peer is called %q: want one of %v", name, names)
}
