// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"math"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// ServerStats are a server's bounds, and how far they are used now.
type ServerStats struct {
	// Connections are those open: ours, those of other protocols, and those of
	// which it is not known yet what they speak.
	Connections, MaxConnections int
	// Calls are those whose handlers have not returned.
	Calls, MaxCalls int
	// RequestBytes are those of requests being served.
	RequestBytes, MaxRequestBytes int64
}

// Stats returns the server's figures. They need not be of the same instant.
func (s *Server) Stats() ServerStats {
	s.mu.Lock()
	connections := s.countConnsLocked()
	s.mu.Unlock()
	return ServerStats{
		Connections: connections, MaxConnections: s.opts.maxConns,
		Calls: int(s.running.Load()), MaxCalls: int(s.opts.maxCalls),
		RequestBytes: s.shared.Bytes(), MaxRequestBytes: s.opts.maxRequestBytes,
	}
}

// Limits returns what the server lets peers send, defaults filled in, for
// protocols that keep to the same.
func (s *Server) Limits() wire.Limits { return s.opts.transport.Limits.WithDefaults() }

// delayWeight is how much of the smoothed queue delay each new one makes up: one
// part in so many.
const delayWeight = 8

// noteDelay takes the time that a request waited for its handler into the
// smoothed one. Of two at the same time one may be lost, which does not matter.
func (s *Server) noteDelay(d time.Duration) {
	old := s.delay.Load()
	s.delay.Store(old + (int64(max(d, 0))-old)/delayWeight)
}

// load is what callers are told, at most every 100 ms. docs/wire-protocol.md §8
func (s *Server) load() wire.Load {
	running := max(s.running.Load(), 0)
	return wire.Load{
		InFlight: uint32(min(running, math.MaxUint32)), QueueDelay: time.Duration(s.delay.Load()),
		Utilisation: uint32(min(1000*running/s.opts.maxCalls, 1000)),
	}
}
