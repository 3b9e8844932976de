// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"container/list"
	"net/netip"
	"slices"
	"time"
)

// maxConnections is how many connections of a file are followed at a time. Of
// more, the one that was quiet longest is taken to be over.
const maxConnections = 16384

// table holds the connections of a capture.
type table struct {
	opts   *Options
	rep    *reporter
	budget *budget
	byEnds map[ends]*list.Element
	// recent has the *capturedConn, the one with the latest packet first.
	recent list.List
	count  int
}

// ends are both sides of a connection, the lesser first.
type ends [2]netip.AddrPort

// capturedConn is a connection made of packets. halves[i] has what
// conv.ends[i] sent.
type capturedConn struct {
	key    ends
	conv   *conversation
	halves [2]half
	at     time.Time
	over   bool
}

func newTable(opts *Options, rep *reporter) *table {
	return &table{opts: opts, rep: rep, budget: &budget{left: heldBytes}, byEnds: make(map[ends]*list.Element)}
}

// segment takes the next segment of the capture.
func (t *table) segment(s segment, at time.Time) {
	if len(t.opts.Ports) > 0 && !slices.Contains(t.opts.Ports, s.from.Port()) && !slices.Contains(t.opts.Ports, s.to.Port()) {
		return
	}
	c := t.find(s)
	if c == nil {
		return
	}
	c.at = at
	side := 0
	if s.from != c.conv.ends[0] {
		side = 1
	}
	mine, other := &c.halves[side], &c.halves[1-side]
	switch {
	case c.over:
		return
	case s.rst:
		c.close()
		return
	case s.syn:
		mine.begin(s.seq)
		c.conv.streams[side].midway = false
	}
	mine.segment(s.piece, s.fin, at)
	if s.acks {
		other.acked(s.ack, at)
	}
	if mine.ended && other.ended {
		c.close()
	}
}

// find returns the connection of a segment; nil if there is nothing to follow.
func (t *table) find(s segment) *capturedConn {
	key := ends{s.from, s.to}
	if s.to.Compare(s.from) < 0 {
		key = ends{s.to, s.from}
	}
	at := t.byEnds[key]
	if at != nil {
		c, _ := at.Value.(*capturedConn)
		if !s.syn || s.acks || !c.replacedBy(s) {
			t.recent.MoveToFront(at)
			return c
		}
		t.remove(at)
	}
	if s.rst || !s.syn && s.len() == 0 {
		return nil
	}
	if len(t.byEnds) == maxConnections {
		t.remove(t.recent.Back())
	}
	c := t.open(s)
	c.key = key
	t.byEnds[key] = t.recent.PushFront(c)
	return c
}

// replacedBy tells a new connection between the same ends from a SYN that was
// sent again.
func (c *capturedConn) replacedBy(syn segment) bool {
	h := &c.halves[0]
	if syn.from != c.conv.ends[0] {
		h = &c.halves[1]
	}
	return c.over || !h.known || h.origin != syn.seq
}

// open begins to follow a connection at its first segment.
func (t *table) open(s segment) *capturedConn {
	t.count++
	from, to, client := s.from, s.to, -1
	switch {
	case s.syn && !s.acks, len(t.opts.Ports) > 0 && slices.Contains(t.opts.Ports, s.to.Port()) && !s.syn:
		client = 0
	case s.syn, slices.Contains(t.opts.Ports, s.from.Port()):
		client = 1
	}
	c := &capturedConn{conv: newConversation(t.rep, t.budget, from, to, client)}
	c.conv.talkative = len(t.opts.Ports) > 0
	for i := range c.halves {
		c.halves[i] = half{out: &c.conv.streams[i], budget: t.budget}
		c.conv.streams[i].midway = true // until a SYN is seen
	}
	return c
}

func (c *capturedConn) close() {
	if c.over {
		return
	}
	c.over = true
	for i := range c.halves {
		c.halves[i].close(c.at)
	}
	c.conv.close()
	// What still comes is known to belong to nothing; no more is needed.
	c.conv.asked = nil
}

func (t *table) remove(at *list.Element) {
	c, _ := t.recent.Remove(at).(*capturedConn)
	delete(t.byEnds, c.key)
	c.close()
}

// close ends all connections, in the order of their latest packets.
func (t *table) close() {
	for t.recent.Len() > 0 {
		t.remove(t.recent.Back())
	}
}
