// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"net/netip"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// conversation is one connection: its two directions, and the requests whose
// responses have not come yet.
type conversation struct {
	rep    *reporter
	budget *budget
	// ends are the two sides; streams[i] has what ends[i] sent.
	ends    [2]netip.AddrPort
	streams [2]stream
	// client is the side that opened the connection: 0, 1, or -1 while not known.
	client int
	// talkative: say what protocol it is even if it is none of ours.
	talkative bool
	// asked is what waits for a response, by seq.
	// Invariant: askedBytes and the names in it are taken from the budget.
	asked map[uint64]asking
	said  protocol
	ours  bool // a frame was found
}

// stream is one direction; it is the sink of its scanner.
type stream struct {
	conv *conversation
	side int
	scanner
}

// asking is a request whose response has not come.
type asking struct {
	at           time.Time
	path, method string
}

const (
	// maxAsked is how many calls a connection can have in flight, by default.
	maxAsked = 16384
	// askedBytes is about what each takes, without its names.
	askedBytes = 96
)

// newConversation knows both sides; from the client's SYN, or as a proxy, it
// knows which is which.
func newConversation(rep *reporter, b *budget, from, to netip.AddrPort, client int) *conversation {
	c := &conversation{rep: rep, budget: b, ends: [2]netip.AddrPort{from, to}, client: client, asked: make(map[uint64]asking)}
	for i := range c.streams {
		s := &c.streams[i]
		s.conv, s.side = c, i
		s.scanner = scanner{out: s, budget: b}
	}
	return c
}

// close gives back what is held.
func (c *conversation) close() {
	for seq := range c.asked {
		c.answered(seq)
	}
}

func (c *conversation) answered(seq uint64) (asking, bool) {
	a, ok := c.asked[seq]
	if ok {
		delete(c.asked, seq)
		c.budget.give(askedBytes + len(a.path) + len(a.method))
	}
	return a, ok
}

func (c *conversation) ask(seq uint64, a asking) {
	c.answered(seq) // the seq is used again: whatever had it is forgotten
	if len(c.asked) < maxAsked && c.budget.take(askedBytes+len(a.path)+len(a.method)) {
		c.asked[seq] = a
	}
}

// event starts what is said about one direction.
func (s *stream) event(kind string, at time.Time) *event {
	c := s.conv
	client := c.client
	if client < 0 {
		client = c.likelyClient()
	}
	return &event{
		Time: at, Client: c.ends[client].String(), Server: c.ends[1-client].String(),
		Direction: map[bool]string{true: ">", false: "<"}[s.side == client], Kind: kind,
	}
}

func (s *stream) note(text string, at time.Time) {
	if !s.conv.ours && !s.conv.talkative {
		return // not known to be any of our business
	}
	e := s.event("note", at)
	e.Note = text
	s.conv.rep.notes++
	s.conv.rep.report(e)
}

func (s *stream) speaks(p protocol, at time.Time) {
	c := s.conv
	if p == rpcx {
		c.ours = true
	}
	if c.said != undecided {
		return
	}
	c.said = p
	c.rep.protocols[p]++
	if p == tls || c.talkative && p != rpcx {
		e := s.event("note", at)
		e.Note = p.String() + ", not decoded"
		c.rep.report(e)
	}
}

func (s *stream) frame(f head, lost uint64, at time.Time) {
	c := s.conv
	if c.client < 0 {
		c.client = s.guessClient(f)
	}
	c.rep.frames++
	e := s.event("", at)
	e.Kind = kindOf(f, s.side == c.client)
	e.fill(f, lost, c.rep.opts)
	path, method := f.names()
	switch {
	case f.Response():
		if a, ok := c.answered(f.Seq); ok {
			took := at.Sub(a.at)
			e.Took = &took
			if path == "" && method == "" {
				e.Path, e.Method = a.path, a.method // peers in other languages leave them out
			}
		}
	case f.Heartbeat() || !f.Oneway():
		c.ask(f.Seq, asking{at, path, method})
	}
	c.rep.report(e)
}

// kindOf names a frame.
func kindOf(f head, fromClient bool) string {
	switch {
	case f.Heartbeat() && f.Response():
		return "heartbeat-answer"
	case f.Heartbeat():
		return "heartbeat"
	case f.Response():
		return "response"
	case string(f.path.kept) == wire.ControlPath:
		return "control"
	case f.Oneway() && fromClient:
		return "oneway"
	case f.Oneway():
		return "push"
	default:
		return "request"
	}
}

// guessClient says by a frame who opened the connection, if its start was not
// seen.
func (s *stream) guessClient(f head) int {
	switch {
	case f.Response():
		return 1 - s.side
	case f.Heartbeat() || !f.Oneway():
		return s.side
	case string(f.path.kept) == wire.ControlPath:
		if string(f.method.kept) == wire.MethodCancel {
			return s.side
		}
		return 1 - s.side
	}
	return s.conv.likelyClient()
}

// likelyClient goes by the ports: clients' are mostly the higher.
func (c *conversation) likelyClient() int {
	if c.ends[0].Port() < c.ends[1].Port() {
		return 1
	}
	return 0
}
