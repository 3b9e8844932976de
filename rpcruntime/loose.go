// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"sync"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// looseCalls are the calls of a server that no connection of ours carries: those
// that came by another way, and oneway calls whose caller has hung up. A drain
// waits for them, and its cut ends them.
type looseCalls struct {
	mu    sync.Mutex // guards what follows
	calls map[looseCall]struct{}
	// open: calls are taken from other ways, from the first Serve to the end of
	// the drain.
	open bool
	// wasCut: the drain was cut, or is over. What still comes loose is cut at once.
	wasCut bool
	// settled is closed when calls becomes empty; nil while nobody waits.
	settled chan struct{}
}

// looseCall is a call that can be ended. cut is called with the lock held, and
// must not block.
type looseCall interface{ cut() }

func (c *looseCalls) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = true
}

// errNotServing is a foreign call before Serve or after the drain.
var errNotServing = status.New(status.Unavailable, "the server does not serve: it has not begun to, or has been drained")

func (c *looseCalls) add(f *foreignCall) *status.Error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.open {
		return errNotServing
	}
	c.addLocked(f)
	return nil
}

func (c *looseCalls) addLocked(call looseCall) {
	if c.calls == nil {
		c.calls = make(map[looseCall]struct{})
	}
	c.calls[call] = struct{}{}
}

func (c *looseCalls) remove(call looseCall) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeLocked(call)
}

func (c *looseCalls) removeLocked(call looseCall) {
	delete(c.calls, call)
	if len(c.calls) == 0 && c.settled != nil {
		close(c.settled)
		c.settled = nil
	}
}

// drain waits until there are none, or ctx ends and with it what is left. No
// more are taken then.
func (c *looseCalls) drain(ctx context.Context) {
	c.mu.Lock()
	for len(c.calls) > 0 && ctx.Err() == nil { // others may be taken while we wait
		settled := make(chan struct{})
		c.settled = settled
		c.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
		}
		c.mu.Lock()
	}
	c.open = false
	c.mu.Unlock()
	c.cut()
}

// cut ends all.
func (c *looseCalls) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wasCut = true
	for call := range c.calls {
		call.cut()
	}
}

// onewayCall is a task whose caller does not wait for it. That the caller hangs
// up, as one may that has sent what it had to say, does not end it: a request
// that was read is carried out.
type onewayCall task

// ConnEnded makes the call a loose one, unless it is over.
func (o *onewayCall) ConnEnded(error) {
	c := &o.srv.loose
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case o.over:
	case c.wasCut:
		o.cut()
	default:
		c.addLocked(o)
	}
}

// Cancelled ends the call.
func (o *onewayCall) Cancelled() { o.ctx.Cancelled() }

func (o *onewayCall) cut() { o.ctx.end(context.Canceled) }

// end is told that the call is over.
func (o *onewayCall) end() {
	c := &o.srv.loose
	c.mu.Lock()
	defer c.mu.Unlock()
	o.over = true
	c.removeLocked(o)
}
