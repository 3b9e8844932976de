// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Push is a message that a callee sent without being asked, as rpcx's servers do
// with SendMessage. docs/wire-protocol.md §1
type Push struct {
	// Service is the client's, Address the peer's, host:port.
	Service, Address string
	// Path and Method are what the callee says the message is.
	Path, Method string
	// Metadata came with it, without the protocol's own keys; nil if there was none.
	Metadata Metadata
	// Codec and Compress say what Payload is, which is as it came.
	Codec    codec.Type
	Compress codec.CompressType
	Payload  []byte

	rt *Runtime
}

// Decode decompresses and decodes the payload into v, a pointer.
func (p *Push) Decode(v any) error {
	if p.rt == nil {
		return errors.New("a Push that was not received cannot be decoded")
	}
	if err := p.rt.decode(p.Codec, p.Compress, p.Payload, v); err != nil {
		return fmt.Errorf("push %s.%s: %w", p.Path, p.Method, err)
	}
	return nil
}

// PushPolicy says what becomes of a push for which there is no room.
type PushPolicy uint8

const (
	// PushDropNewest drops the push that finds no room.
	PushDropNewest PushPolicy = iota
	// PushDropOldest drops the one that has waited longest. It is for OnPush only.
	PushDropOldest
	// PushWait drops nothing: the connection's reader waits for room, and with it
	// every answer on that connection, those of other clients included, and in the
	// end the callee's writes. It is for a handler that does not wait for calls.
	PushWait
)

// PushQueue says where pushes wait for their handler. Zero fields mean the defaults.
type PushQueue struct {
	// Size is how many pushes wait at most. Default 128. All together they take
	// no more than 16 MiB, or are a single one.
	Size int
	// Full says what becomes of a push that finds no room. Default PushDropNewest.
	Full PushPolicy
}

const (
	pushQueueSize  = 128
	pushQueueBytes = 16 << 20
)

// pushWishes are a client's wishes; the zero value takes no pushes.
type pushWishes struct {
	handler func(context.Context, *Push)
	queue   PushQueue
	ch      chan<- *Push
	// wanted: there is an option, right or wrong.
	wanted, both bool
}

// OnPush makes the client take pushes, on every connection that it calls its
// service on, and hand them to the handler, one at a time and in the order in
// which they came on each connection. The handler's context ends when the client
// is closed, which waits for the handler. Pushes come only while a connection
// stands, which the first call makes. Those dropped are counted.
func OnPush(handler func(ctx context.Context, p *Push), queue PushQueue) ClientOption {
	return clientOption(func(o *clientOptions) {
		o.push = pushWishes{handler: handler, queue: queue, wanted: true, both: o.push.wanted}
	})
}

// PushTo is OnPush into a channel. full is PushDropNewest or PushWait. The channel
// is never closed; nothing is sent to it once the client's Close has returned.
func PushTo(ch chan<- *Push, full PushPolicy) ClientOption {
	return clientOption(func(o *clientOptions) {
		o.push = pushWishes{ch: ch, queue: PushQueue{Full: full}, wanted: true, both: o.push.wanted}
	})
}

// check says what is wrong with the options.
func (o *pushWishes) check() error {
	switch {
	case !o.wanted:
		return nil
	case o.both:
		return errors.New("OnPush and PushTo: a client takes one of them, once")
	case o.handler == nil && o.ch == nil:
		return errors.New("OnPush needs a handler, PushTo a channel; it is nil")
	case o.queue.Full > PushWait:
		return fmt.Errorf("push policy %d does not exist", o.queue.Full)
	case o.ch != nil && o.queue.Full == PushDropOldest:
		return errors.New("PushTo cannot take what is in the channel out again: choose PushDropNewest or PushWait, or OnPush")
	case o.queue.Size < 0:
		return fmt.Errorf("push queue of %d: want 0 for the default, or more", o.queue.Size)
	default:
		return nil
	}
}

// pushReceiver takes a client's pushes. It has a goroutine if there is a handler.
type pushReceiver struct {
	client *Client
	opts   pushWishes
	size   int

	// closing ends when the client closes.
	closing context.Context // it bounds the goroutine and its waiters, not a call
	cancel  context.CancelFunc

	mu sync.Mutex // guards what follows
	// Invariant: len(queue) <= size, and their payloads take at most
	// pushQueueBytes, or there is one.
	queue []*Push
	bytes int
	more  chan struct{} // capacity 1: the queue is no longer empty
	room  chan struct{} // closed when something was taken; nil while nobody waits
	ended bool
	// senders are readers under way with a push for the channel.
	senders sync.WaitGroup
}

// openPushes starts to take pushes, if the client wants them.
func (c *Client) openPushes() error {
	if err := c.opts.push.check(); err != nil {
		return fmt.Errorf("client of %s: %w", c.service, err)
	}
	if !c.opts.push.wanted {
		return nil
	}
	r := &pushReceiver{client: c, opts: c.opts.push, size: c.opts.push.queue.Size, more: make(chan struct{}, 1)}
	if r.size == 0 {
		r.size = pushQueueSize
	}
	r.closing, r.cancel = context.WithCancel(context.Background())
	c.pushes = r
	if r.opts.handler != nil && !c.spawn(r.run) {
		r.close()
	}
	return nil
}

// close ends the taking of pushes; those that wait are dropped. The client waits
// for the handler.
func (r *pushReceiver) close() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.cancel()
	r.senders.Wait()
}

// take is called by a connection's reader.
func (r *pushReceiver) take(conn *transport.ClientConn, p *Push) {
	var taken bool
	if r.opts.ch != nil {
		taken = r.send(conn, p)
	} else {
		taken = r.enqueue(conn, p)
	}
	if !taken {
		r.client.rt.counters.PushesDropped.Add(1)
	}
}

func (r *pushReceiver) send(conn *transport.ClientConn, p *Push) bool {
	r.mu.Lock()
	if r.ended {
		r.mu.Unlock()
		return false
	}
	r.senders.Add(1)
	r.mu.Unlock()
	defer r.senders.Done()
	select {
	case r.opts.ch <- p:
		return true
	default:
	}
	if r.opts.queue.Full != PushWait {
		return false
	}
	select {
	case r.opts.ch <- p:
		return true
	case <-r.closing.Done():
	case <-conn.Ended():
	}
	return false
}

// enqueue puts p into the handler's queue, and makes room by the policy.
func (r *pushReceiver) enqueue(conn *transport.ClientConn, p *Push) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.ended && !r.fitsLocked(p) {
		switch r.opts.queue.Full {
		case PushDropOldest:
			r.shiftLocked()
			r.client.rt.counters.PushesDropped.Add(1)
		case PushWait:
			if !r.waitLocked(conn) {
				return false
			}
		default:
			return false
		}
	}
	if r.ended {
		return false
	}
	r.queue = append(r.queue, p)
	r.bytes += len(p.Payload)
	select {
	case r.more <- struct{}{}:
	default:
	}
	return true
}

func (r *pushReceiver) fitsLocked(p *Push) bool {
	return len(r.queue) == 0 || len(r.queue) < r.size && r.bytes+len(p.Payload) <= pushQueueBytes
}

// waitLocked waits until something was taken; false when nothing will be, or the
// connection has ended. mu is given up meanwhile.
func (r *pushReceiver) waitLocked(conn *transport.ClientConn) bool {
	if r.room == nil {
		r.room = make(chan struct{})
	}
	room := r.room
	r.mu.Unlock()
	defer r.mu.Lock()
	select {
	case <-room:
		return true
	case <-r.closing.Done():
	case <-conn.Ended():
	}
	return false
}

// shiftLocked takes the oldest push out. REQUIRES: there is one.
func (r *pushReceiver) shiftLocked() *Push {
	p := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	r.bytes -= len(p.Payload)
	if r.room != nil {
		close(r.room)
		r.room = nil
	}
	return p
}

// run hands pushes to the handler until the client closes.
func (r *pushReceiver) run() {
	for {
		select {
		case <-r.more:
		case <-r.closing.Done():
			return
		}
		for r.closing.Err() == nil {
			r.mu.Lock()
			if len(r.queue) == 0 {
				r.mu.Unlock()
				break
			}
			p := r.shiftLocked()
			r.mu.Unlock()
			r.handle(p)
		}
	}
}

// handle runs the user's handler, whose panic costs that push and no more.
func (r *pushReceiver) handle(p *Push) {
	defer func() {
		if v := recover(); v != nil {
			r.client.rt.log.Error(fmt.Errorf("panic: %v", v), "push handler", "service", r.client.service, "push", loggable(p.Path+"."+p.Method), "stack", string(debug.Stack()))
		}
	}()
	r.opts.handler(r.closing, p)
}

// Push gives a frame to every client of the link that takes pushes. It is called
// by the connection's reader.
func (l *link) Push(conn *transport.ClientConn, f wire.Frame) {
	receivers := l.receivers()
	if len(receivers) == 0 || strings.HasPrefix(string(f.Path), wire.HopPrefix) {
		l.rt.counters.UnknownPushes.Add(1)
		return
	}
	for _, r := range receivers {
		r.take(conn, &Push{
			Service: r.client.service, Address: conn.RemoteAddr().String(), Path: string(f.Path), Method: string(f.Method),
			Metadata: userMetadata(f.Meta), Codec: codec.Type(f.Serialize()), Compress: codec.CompressType(f.Compress()),
			Payload: append([]byte(nil), f.Payload...), rt: l.rt,
		})
	}
}

// receivers returns who takes pushes, each client once.
func (l *link) receivers() []*pushReceiver {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.receiversLocked()
}

func (l *link) receiversLocked() []*pushReceiver {
	var receivers []*pushReceiver
	for e := range l.users {
		if r := e.client.pushes; r != nil && !slices.Contains(receivers, r) {
			receivers = append(receivers, r)
		}
	}
	return receivers
}

// subscribeLocked keeps connections from being idle while somebody takes pushes.
func (l *link) subscribeLocked(conns ...*transport.ClientConn) {
	wanted := false
	for e := range l.users {
		wanted = wanted || e.client.pushes != nil
	}
	for _, c := range conns {
		if c != nil {
			c.SetSubscribed(wanted)
		}
	}
}
