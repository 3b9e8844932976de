// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Handler takes what arrives at the callee's side of connections. The reader of
// each connection calls it: Announced and Request must not block.
type Handler interface {
	// Announced is told, before the connection's first request, who calls and
	// whom the caller believes to be calling. If that is not us, Request refuses.
	Announced(c *ServerConn, a *wire.Announcement)
	// Request takes an ordinary request, which must be ended by exactly one of
	// its Respond, Fail and Refuse. What in holds is the reader's until Keep.
	Request(in *Inbound)
	// Closed is told that a connection is over.
	Closed(c *ServerConn, reason error)
}

// ServerConn is the callee's side of a connection.
type ServerConn struct {
	*Conn
	// Attachment is the Handler's own; only its Announced and Request, which the
	// reader calls one at a time, may touch it.
	Attachment any

	callee *Callee
	// answers are the bytes of payloads of answers that wait to be appended.
	answers atomic.Int64

	mu sync.Mutex // guards what follows
	// running are the requests that can still be cancelled.
	running running
	// serving and servingBytes are the number and size of the requests whose
	// answers were not begun; calls and bytes also count those whose answers were
	// not yet appended to the writer.
	// Invariant: serving <= calls, servingBytes <= bytes.
	serving, calls      int
	servingBytes, bytes int64
	// gone is why the connection is over; nil until then.
	gone error
	// settled is closed when calls falls to 0; nil while nobody waits.
	settled chan struct{}
	// grace is what to tell callers in a drain; 0 while there is none.
	grace time.Duration
	// read counts the ordinary requests read. docs/wire-protocol.md §8
	read uint64
	// drained: a drain was started.
	drained bool

	// tellsLoad: the caller wants to be told the load; loadAt is when it last was, as
	// a time since Callee.began. The reader's.
	tellsLoad bool
	loadAt    time.Duration
	here      *here

	// first is fired once the first ordinary request was read.
	first latch
	// readEnded is fired when the reader stopped at a frame boundary or failed.
	readEnded latch
	// mayEnd is fired when a drain has said all it has to.
	mayEnd latch
}

// Callee is what the callee's sides of many connections have in common.
type Callee struct {
	cfg     Config
	handler Handler
	// latest is what was announced on some connection.
	latest atomic.Pointer[wire.Announcement]
	// began is loadInterval before it was made: 0 since then is long ago.
	began time.Time
}

// NewCallee makes connections that take what arrives to h.
func NewCallee(cfg Config, h Handler) *Callee {
	return &Callee{cfg: cfg.withDefaults(), handler: h, began: time.Now().Add(-loadInterval)}
}

// share returns what to keep of an announcement: that of another connection, if it
// says the same, as those of one caller do. Else a with the words of another's where
// they are the same: whom it is meant for at least is us. Its Seq may be another's.
func (e *Callee) share(a *wire.Announcement) *wire.Announcement {
	if l := e.latest.Load(); l != nil {
		same := slices.Equal(a.Features, l.Features)
		if same {
			a.Features = l.Features
		}
		for _, word := range [...]struct{ mine, other *string }{{&a.Caller, &l.Caller}, {&a.To, &l.To}, {&a.UID, &l.UID}} {
			if *word.mine == *word.other {
				*word.mine = *word.other
			} else {
				same = false
			}
		}
		if same {
			return l
		}
	}
	e.latest.Store(a) // from now on it does not change
	return a
}

// NewServer is Callee.Serve for a single connection.
func NewServer(nc net.Conn, cfg Config, h Handler, read []byte) *ServerConn {
	return NewCallee(cfg, h).Serve(nc, read)
}

// Serve makes nc the callee's side of a connection and starts its reader.
// read are bytes of nc that were read already, to learn what it speaks; mostly
// none. They are copied. Safe for concurrent use.
func (e *Callee) Serve(nc net.Conn, read []byte) *ServerConn {
	c := &ServerConn{Conn: sharing(nc, &e.cfg), callee: e}
	c.role = (*serverRole)(c)
	c.r.preload(read)
	go c.run()
	return c
}

// InFlight counts the requests being served on the connection.
func (c *ServerConn) InFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.calls
}

// Push sends a message that nobody asked for, as rpcx's SendMessage does; s says
// how payload is encoded, which is SerializeRaw for rpcx. It waits for room until
// ctx ends. Payload follows the rule of Request.Payload.
func (c *ServerConn) Push(ctx context.Context, s wire.Serialize, path, method string, payload []byte) error {
	f := outFrame{header: wire.RequestHeader(0, s, true), path: path, method: method, payload: payload}
	return c.w.send(ctx, time.Time{}, &f, nil, false)
}
