// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Config sets up a connection. A zero field means its default.
type Config struct {
	// Limits bound what the peer may send.
	Limits wire.Limits
	// MaxCalls bounds the calls in flight, either way. Default 16,384.
	MaxCalls int
	// MaxRequestBytes bounds the bytes of requests being served. Default 64 MiB.
	MaxRequestBytes int64
	// WriteBuffer bounds the bytes that wait to be written; callers beyond it
	// wait until their deadline. Default 1 MiB.
	WriteBuffer int
	// FrameTimeout bounds the time from a frame's first byte to its last. Default 10 s.
	FrameTimeout time.Duration
	// WriteTimeout bounds one write. Default 10 s.
	WriteTimeout time.Duration
	// IdleTimeout ends a connection without calls. Default 5 min.
	IdleTimeout time.Duration
	// HeartbeatInterval is how long a connection with calls may be silent before
	// a heartbeat is sent, and how long that may stay unanswered. Default 15 s.
	HeartbeatInterval time.Duration
	// Wheel keeps deadlines. Required on the calling side.
	Wheel *wheel.Wheel
	// Log gets what happens to connections. The zero Logger discards.
	Log logr.Logger
	// Counters are added to. Nil means counters of its own.
	Counters *Counters
	// Shared bounds the callee's connections together. Nil: each has only its own
	// bounds.
	Shared *Shared
	// DrainTimeout bounds the end of a connection whose peer sent a frame too large
	// to be thrown away: what else runs on it may finish. Default 25 s.
	DrainTimeout time.Duration
	// Load tells callers how busy the callee is, at most every 100 ms. It is
	// called by readers and must not block. Nil: they are told nothing.
	Load func() wire.Load
}

func (c Config) withDefaults() Config {
	c.Limits = c.Limits.WithDefaults()
	def(&c.MaxCalls, 16384)
	def(&c.MaxRequestBytes, 64<<20)
	def(&c.WriteBuffer, 1<<20)
	def(&c.FrameTimeout, 10*time.Second)
	def(&c.WriteTimeout, 10*time.Second)
	def(&c.IdleTimeout, 5*time.Minute)
	def(&c.DrainTimeout, 25*time.Second)
	def(&c.HeartbeatInterval, 15*time.Second)
	if c.Counters == nil {
		c.Counters = new(Counters)
	}
	return c
}

func def[T int | int64 | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Counters count what connections do: levels, which are 0 again once all is
// over, and totals since the start. Safe for concurrent use.
type Counters struct {
	// Connections is the number of open connections. A level.
	Connections atomic.Int64
	// ClientCalls is the number of calls in flight at the calling side, those
	// included that wait for the window. A level.
	ClientCalls atomic.Int64
	// ServerCalls is the number of requests being served. A level.
	ServerCalls atomic.Int64
	// RequestBytes is what the requests being served hold: metadata, payload, and
	// what was reserved for them. A level.
	RequestBytes atomic.Int64
	// WriteBuffered is the number of bytes that were appended, and that Write has
	// not accepted yet. A level.
	WriteBuffered atomic.Int64

	// FramesRead and BytesRead count what came in.
	FramesRead, BytesRead atomic.Int64
	// Writes and BytesWritten count write calls and what they took.
	Writes, BytesWritten atomic.Int64
	// WriteWaits counts the times that a caller waited for room in the buffer.
	WriteWaits atomic.Int64
	// WindowWaits counts the calls that waited for room in the peer's window.
	WindowWaits atomic.Int64
	// Malformed counts connections ended by frames that cannot be right.
	Malformed atomic.Int64
	// OverLimit counts frames over a limit.
	OverLimit atomic.Int64
	// UnknownResponses counts responses that no call waited for.
	UnknownResponses atomic.Int64
	// Heartbeats counts those sent; SlowHeartbeats those that an old peer did
	// not answer within an interval.
	Heartbeats, SlowHeartbeats atomic.Int64
	// WrongEndpoint counts requests refused because they were meant for another.
	WrongEndpoint atomic.Int64
	// Refused counts requests refused because of the bounds.
	Refused atomic.Int64
	// Cancels counts the cancels sent; Withdrawn the requests that were taken back
	// before they left; Cancelled the requests being served that a cancel ended.
	Cancels, Withdrawn, Cancelled atomic.Int64
	// UnknownPushes counts pushes that nobody takes; PushesDropped those for which
	// their queue had no room.
	UnknownPushes, PushesDropped atomic.Int64
}
