// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"sync"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Inbound is a request being served.
type Inbound struct {
	// Conn is where it came from.
	Conn *ServerConn
	// Header is the request's.
	Header wire.Header
	// Path, Method, Meta and Payload point into memory that is the reader's
	// until Keep, and the request's until it ends.
	Path, Method []byte
	Meta         wire.Meta
	Payload      []byte
	// Received is when the frame was read; Timeout counts from then. 0 is none.
	Received time.Time
	Timeout  time.Duration

	// answered takes the answer of a request without a connection; else nil.
	answered func(Answer)
	buf      *buffer.Buffer
	here     bool // the reader runs it, and writes its answer
	alone    bool // see Alone

	// The rest is guarded by Conn.mu.

	// size is what the request counts against the bounds of bytes.
	size  int64
	ender Ender
	// cancelled: the caller gave the call up, and sees no answer.
	cancelled bool
	// linked: the request is in Conn.running, by next, prev and hash.
	linked     bool
	next, prev *Inbound
	hash       uint64
}

// Ender is told that nobody waits for a running request any more: its connection
// was lost, or its caller gave up. It is called without locks held, perhaps more
// than once, and must not block.
type Ender interface {
	// ConnEnded: the connection is over.
	ConnEnded(reason error)
	// Cancelled: the caller gave the call up, and will see no answer.
	Cancelled()
}

// Answer is how a request that came by another way than a connection ended.
type Answer struct {
	// Err is nil for a success; Mark is as for Inbound.Fail.
	Err  *status.Error
	Mark wire.Retry
	// Meta and Payload may be read while the answer is being taken, and no longer.
	Meta     map[string]string
	Payload  []byte
	Compress wire.Compress
}

// NewInbound makes a request that came by another way than a connection, which
// is Handler.Request's to end like any other; answered is called then, once, also
// for oneway requests. Its Conn is nil.
func NewInbound(h wire.Header, path, method string, payload []byte, answered func(Answer)) *Inbound {
	return &Inbound{
		Header: h, Path: []byte(path), Method: []byte(method), Payload: payload, Received: time.Now(), answered: answered,
	}
}

var inboundPool = sync.Pool{New: func() any { return new(Inbound) }} // our own objects, never a user's

// Keep makes what the request holds outlive the reader's call: by a copy, or if
// it is large by taking over the reader's buffer. To be called once, by
// Handler.Request itself.
func (in *Inbound) Keep() {
	if in.Conn == nil {
		return // it was made to last
	}
	if in.buf = in.Conn.r.takeOver(); in.buf != nil {
		return
	}
	n := len(in.Path) + len(in.Method) + len(in.Meta) + len(in.Payload)
	in.buf = buffer.Get(n)
	keep := func(b []byte) []byte {
		at := len(in.buf.B)
		in.buf.B = append(in.buf.B, b...)
		return in.buf.B[at:len(in.buf.B):len(in.buf.B)]
	}
	in.Path, in.Method, in.Meta, in.Payload = keep(in.Path), keep(in.Method), keep(in.Meta), keep(in.Payload)
}

// OnEnd asks for e to be told when the connection is lost, or the caller gives
// up, before the request ends. If that has happened already it returns the
// reason instead: ErrCancelled, or why the connection ended.
func (in *Inbound) OnEnd(e Ender) error {
	if in.Conn == nil {
		return nil // whoever made it ends its context
	}
	in.Conn.mu.Lock()
	defer in.Conn.mu.Unlock()
	switch {
	case in.cancelled:
		return ErrCancelled
	case in.Conn.gone != nil:
		return in.Conn.gone
	}
	in.ender = e
	return nil
}

// Respond ends the request with a success. Payload follows the rule of
// Request.Payload. It writes nothing for a oneway request.
// compress says how payload is compressed already; an old caller understands
// only what its own request used.
func (in *Inbound) Respond(meta map[string]string, payload []byte, compress wire.Compress) {
	if in.answered != nil {
		in.answered(Answer{Meta: meta, Payload: payload, Compress: compress})
		return
	}
	f := outFrame{header: in.Header.Reply(wire.StatusNormal).WithCompress(compress), pathBytes: in.Path, methodBytes: in.Method, user: meta, payload: payload}
	in.end(&f, true)
}

// Fail ends the request with an error. mark is what the callee knows of its
// execution: RetryExecuted, with nothing else, puts no mark on the wire. Only
// the dispatcher may say unexecuted.
func (in *Inbound) Fail(e *status.Error, mark wire.Retry, meta map[string]string, payload []byte) {
	if in.answered != nil {
		in.answered(Answer{Err: e, Mark: mark, Meta: meta, Payload: payload})
		return
	}
	f := in.failure(e, mark)
	f.user, f.payload = meta, payload
	in.end(&f, true)
}

// Refuse is Fail for the reader: it does not write, it only appends.
func (in *Inbound) Refuse(e *status.Error, mark wire.Retry) {
	if in.answered != nil {
		in.answered(Answer{Err: e, Mark: mark})
		return
	}
	c := in.Conn // end gives in back
	f := in.failure(e, mark)
	in.end(&f, false)
	c.r.letGo()
	c.w.room()
}

func (in *Inbound) failure(e *status.Error, mark wire.Retry) outFrame {
	f := outFrame{header: in.Header.Reply(wire.StatusError), pathBytes: in.Path, methodBytes: in.Method}
	f.add(wire.KeyError, []byte(e.Message()))
	if in.Conn.Peer() == nil {
		return f // an old peer would only pass the rest on
	}
	f.addInt(wire.KeyCode, int64(e.Code()))
	if mark.Word != wire.RetryExecuted || mark.After > 0 || mark.Reason != "" {
		f.add(wire.KeyRetry, wire.AppendRetry(nil, mark))
	}
	if d := e.Details(); len(d) > 0 {
		f.add(wire.KeyDetails, d)
	}
	return f
}

func (in *Inbound) end(f *outFrame, write bool) {
	c := in.Conn
	others, wanted := c.forget(in)
	if wanted && !in.Header.Oneway() {
		switch {
		case !write:
			_ = c.w.post(f) // the connection's end is told to Ender
		case in.here && c.w.put(f):
		default:
			n := int64(len(f.payload))
			c.answers.Add(n)
			_ = c.w.send(context.Background(), time.Time{}, f, nil, others) // as above
			c.answers.Add(-n)
		}
	}
	c.account(in)
}

// forget unlinks a request whose answer is about to be appended, so that
// nobody tells it of its caller's or the connection's end any more. wanted is
// false if its caller has given it up.
func (c *ServerConn) forget(in *Inbound) (others, wanted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running.remove(in)
	in.ender = nil
	c.serving--
	c.servingBytes -= in.size
	return c.calls > 1, !in.cancelled
}

// account accounts for a request whose answer has been appended. Only now may a
// drain say bye: answers come before it.
func (c *ServerConn) account(in *Inbound) {
	c.mu.Lock()
	c.calls--
	c.bytes -= in.size
	c.release(in.size) // before anybody may see that the last request is over
	c.cfg.Counters.ServerCalls.Add(-1)
	if c.calls == 0 && c.settled != nil {
		close(c.settled)
		c.settled = nil
	}
	c.mu.Unlock()
	in.buf.Free()
	*in = Inbound{}
	inboundPool.Put(in)
}
