// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package publish serves what was compiled: a store of the services' parts, and
// the registry service that streams them to subscribers.
//
// It does not watch, compile or decide what a service is made of, and it keeps
// nothing over a restart.
//
// Main flow: Store.Publish takes the complete parts of a service. They go out at
// once when the service was quiet, else merged with what follows within 10 to
// 50 ms. Each part is encoded once, when the first subscriber needs it, and each
// change once per role and overlay. A subscriber is a cursor per service: when
// its connection is writable, transport asks it for frames, and it gives those by
// which the newest state differs from what it sent last. What subscribers hold is
// counted, and told to other replicas by Summary; a replica that has more than its
// share of all sends some away.
//
// Concurrency: all exported methods may be called from any goroutine. Store and
// Service have one goroutine each, and Service one per connection that waits for
// its end. Close ends and waits for them. Locks are taken in the order
// subscriber.calls, subscriber.mu, state.mu, Store.mu; none is held while a
// connection is woken.
//
// Invariants:
//  1. All parts of a service move together: a change names the parts of one
//     state, and they stand before it.
//  2. Frames are never changed once encoded; they are shared by reference.
//  3. A subscriber keeps at most one state alive, the one it is in the middle of.
//  4. Nothing is served before SetReady.
//  5. A subscriber that a change makes an instance of a service is woken with its
//     new self before callers are woken with the change. One that subscribes
//     meanwhile may learn of it by the next refresh only.
//  6. Callers get a service only while their namespace is among its consumers;
//     who is taken out of them is told by a connection that drains.
//  7. A state never claims to be newer than what was published when it was read.
//
// Errors that go to peers are *status.Error; Publish returns plain errors, which
// are mistakes of the caller.
//
// Zero values: StoreConfig needs an Epoch, ServiceConfig a Store and SelfOf.
package publish
