// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// census counts connections. http.Server forgets one when it asks it to end; here
// one counts until its goroutine does.
type census struct {
	mu sync.Mutex
	n  int
	// none is closed while n is 0.
	none chan struct{}
}

func (c *census) init() {
	c.none = make(chan struct{})
	close(c.none)
}

// note is an http.Server's ConnState.
func (c *census) note(_ net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch state {
	case http.StateNew:
		if c.n == 0 {
			c.none = make(chan struct{})
		}
		c.n++
	case http.StateClosed:
		c.n--
		if c.n == 0 {
			close(c.none)
		}
	default:
	}
}

// wait waits until there are none, at most d, or until ctx ends.
func (c *census) wait(ctx context.Context, d time.Duration) {
	c.mu.Lock()
	none := c.none
	c.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-none:
	case <-t.C:
	case <-ctx.Done():
	}
}
