// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// Observer is told of calls and decisions. Its methods are called on the path of
// calls, by any number of goroutines, and must not block.
type Observer interface {
	// Called: a call of this process ended.
	Called(CalledEvent)
	// Attempted: an attempt failed, and what was decided then.
	Attempted(AttemptedEvent)
	// Served: a handler or interceptor of this process ended a call, or its
	// argument did not decode.
	Served(ServedEvent)
	// Refused: a call never reached a handler of this process.
	Refused(RefusedEvent)
	// RegistryChanged: the state of a service, as this process knows it, changed.
	RegistryChanged(RegistryEvent)
}

// CalledEvent is the end of an outgoing call.
type CalledEvent struct {
	Service, Method string
	Code            status.Code
	// Attempts is the number made; 0 for a call that found no endpoint.
	Attempts int
	Duration time.Duration
}

// AttemptedEvent is a failed attempt of an outgoing call.
type AttemptedEvent struct {
	Service, Method, Address string
	Code                     status.Code
	Fate                     status.Fate
	// Retry: another attempt follows, after Delay; Free ones are not paid from
	// the retry budget.
	Retry, Free bool
	Delay       time.Duration
	// Reason is one of the strings of package retry.
	Reason string
}

// ServedEvent is the end of a call's handler.
type ServedEvent struct {
	Method string
	// Caller is the caller's name, which may be merely declared; empty if unknown.
	Caller string
	// Code is Canceled for a call that its caller gave up, whatever its handler
	// made of it.
	Code status.Code
	// Duration counts from when the request was read.
	Duration time.Duration
}

// RefusedEvent is a call, or with an empty Path a connection, that was refused.
type RefusedEvent struct {
	// Path and Method are as the peer sent them: of any value.
	Path, Method string
	Code         status.Code
	// Reason of a call is limit, wrong-endpoint, auth, deadline (it passed before a
	// handler could start), cancel (nobody waited any more before a handler could
	// start), or empty for unknown methods and compressors. Of a connection it is
	// connections (too many), protocol (nothing here speaks what it sent, or it was
	// plaintext where TLS is wanted), tls (the handshake failed) or silent (it sent
	// nothing in time).
	Reason string
}

// RegistryEvent is a change of what is known of a service.
type RegistryEvent struct {
	Service string
	// Role is Caller or Server.
	Role string
	// Kind is live, cached, invalid or stale.
	Kind string
	// Digest is short, as people see it; empty when there is none.
	Digest string
}

type noObserver struct{}

func (noObserver) Called(CalledEvent)            {}
func (noObserver) Attempted(AttemptedEvent)      {}
func (noObserver) Served(ServedEvent)            {}
func (noObserver) Refused(RefusedEvent)          {}
func (noObserver) RegistryChanged(RegistryEvent) {}
