// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"sync/atomic"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// Shared bounds the bytes of requests over all connections of a server: those
// being served, decompressed payloads included, and frames half read. The latter
// have half of it at most, or who never completes them could keep everybody else
// out. All methods are safe for concurrent use.
type Shared struct {
	max int64
	// Invariant: the sum of what was reserved and not yet released; partial is the
	// part of frames half read.
	used, partial atomic.Int64
}

// defaultSharedBytes bounds the bytes of requests of one server.
const defaultSharedBytes = 256 << 20

// NewShared makes a bound of maxBytes bytes; 0 and less mean 256 MiB.
func NewShared(maxBytes int64) *Shared {
	def(&maxBytes, defaultSharedBytes)
	return &Shared{max: maxBytes}
}

// Reserve accounts n bytes, or reports false if they exceed the bound. A single
// request larger than the bound passes when it is alone.
func (s *Shared) Reserve(n int64) bool { return reserve(&s.used, n, 0, s.max) }

// Release gives back n bytes that were reserved.
func (s *Shared) Release(n int64) { s.used.Add(-n) }

// Bytes returns how many bytes are reserved.
func (s *Shared) Bytes() int64 { return s.used.Load() }

// Max returns the bound.
func (s *Shared) Max() int64 { return s.max }

// reserve adds n to used for one that holds so much of it already, unless that
// exceeds the bound and somebody else holds some, too. What is refused is not
// added for a moment either: it would make others be refused.
func reserve(used *atomic.Int64, n, holds, bound int64) bool {
	for {
		have := used.Load()
		if n > 0 && have+n > bound && have > holds {
			return false
		}
		if used.CompareAndSwap(have, have+n) {
			return true
		}
	}
}

// holdPartial accounts n more bytes of a frame half read, that holds some already.
func (s *Shared) holdPartial(n, holds int64) bool {
	if !reserve(&s.partial, n, holds, s.max/2) {
		return false
	}
	if !reserve(&s.used, n, holds, s.max) {
		s.partial.Add(-n)
		return false
	}
	return true
}

func (s *Shared) releasePartial(n int64) {
	s.partial.Add(-n)
	s.used.Add(-n)
}

// fewAnswers is how many answers may at least be on their way out beside the
// requests being served: a caller sends the next request as soon as it has read
// an answer, and whoever wrote that may need a moment to account for it.
const fewAnswers = 256

// fewAnswerBytes is the same for the bytes of their requests.
const fewAnswerBytes = 16 << 20

// track enters a request that was read. refused says why it must be refused
// unexecuted, whatever it asks for: it is entered all the same, to be ended.
// docs/wire-protocol.md §4
func (c *serverRole) track(in *Inbound) (first bool, refused *status.Error) {
	c.cfg.Counters.ServerCalls.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read++
	switch {
	case c.answers.Load() > max(c.cfg.MaxRequestBytes, fewAnswerBytes):
		refused = status.New(status.ResourceExhausted, "more bytes of answers wait on one connection than the caller reads")
		in.size = 0
	case c.serving >= c.cfg.MaxCalls || c.calls-c.serving >= c.cfg.MaxCalls+fewAnswers:
		refused = status.Errorf(status.ResourceExhausted, "more than %d calls in flight on one connection", c.cfg.MaxCalls)
		in.size = 0
	default:
		size := in.size
		in.size = 0
		refused = c.conn().reserveLocked(in, size)
	}
	c.serving++
	c.calls++
	c.running.insert(in)
	in.alone = c.calls == 1
	return c.read == 1, refused
}

// reserveLocked accounts n bytes for a request, or says what they exceed. Who
// holds all that is held on the connection, or by the server, may exceed it.
func (c *ServerConn) reserveLocked(in *Inbound, n int64) *status.Error {
	limit := c.cfg.MaxRequestBytes
	switch {
	case n > 0 && c.servingBytes+n > limit && c.servingBytes > in.size, c.bytes-c.servingBytes+n > max(limit, fewAnswerBytes) && c.bytes > in.size:
		return status.Errorf(status.ResourceExhausted, "more than %d bytes of requests in flight on one connection", limit)
	case c.cfg.Shared != nil && !reserve(&c.cfg.Shared.used, n, in.size, c.cfg.Shared.max):
		return status.Errorf(status.ResourceExhausted, "more than %d bytes of requests in flight on all connections of the server", c.cfg.Shared.max)
	}
	in.size += n
	c.servingBytes += n
	c.bytes += n
	c.cfg.Counters.RequestBytes.Add(n)
	return nil
}

// release gives back what a request held against the bounds beyond its
// connection.
func (c *ServerConn) release(n int64) {
	c.cfg.Counters.RequestBytes.Add(-n)
	if c.cfg.Shared != nil {
		c.cfg.Shared.Release(n)
	}
}

// Reserve accounts n more bytes for the request until it ends, as for a payload
// that was decompressed: against the bounds of its connection and its server.
// False: refuse it as ResourceExhausted, unexecuted. A negative n gives back what
// was reserved too much. For a request without a connection it does nothing. It
// must not be called once the request has ended.
func (in *Inbound) Reserve(n int64) bool {
	if in.Conn == nil {
		return true
	}
	in.Conn.mu.Lock()
	defer in.Conn.mu.Unlock()
	if in.Conn.reserveLocked(in, n) != nil {
		in.Conn.cfg.Counters.Refused.Add(1)
		return false
	}
	return true
}
