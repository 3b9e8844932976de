// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// loadInterval is the least time between two loads on one connection.
const loadInterval = 100 * time.Millisecond

// sendLoad tells a caller that understands how busy the callee is, while its
// requests come. A caller that does not read what it was told is told nothing
// more. docs/wire-protocol.md §8
func (c *serverRole) sendLoad() {
	now := c.r.lastRead.Sub(c.callee.began)
	if !c.tellsLoad || now-c.loadAt < loadInterval {
		return
	}
	c.loadAt = now
	if c.w.controlPiles() {
		return
	}
	c.w.control(controlHeader(), wire.ControlPath, wire.MethodLoad, wire.AppendLoad(nil, c.cfg.Load()))
}

// PeerLoad returns how busy the callee lastly said it is, however long ago: it says
// so only while requests come. False if it never did.
func (c *ClientConn) PeerLoad() (wire.Load, bool) {
	if l := c.load.Load(); l != nil {
		return *l, true
	}
	return wire.Load{}, false
}

// setLoad keeps the latest load.
func (c *clientRole) setLoad(payload []byte) {
	if l, ok := wire.ParseLoad(payload); ok {
		c.load.Store(&l)
	}
}
