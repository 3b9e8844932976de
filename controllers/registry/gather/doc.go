// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gather watches the kinds of objects that compilation reads and hands
// every change on, in order.
//
// It does not keep objects, and it decides nothing: who receives the events
// keeps what it needs.
//
// Main flow: for each kind a reflector of client-go lists, then watches, and
// lists again when the API server says that the watch cannot go on. What comes
// is trimmed and becomes an Event.
//
// Informers were rejected, because nobody can tell from outside what of an
// informer's store its handlers have already seen. Without that there is no
// honest watermark: a bookmark moves the store's revision while older events
// are still on their way. Here lists, changes and bookmarks of a kind come
// through one function, one after the other, so that a revision in an event
// covers all that came before it.
//
// Concurrency: Gatherer.Start has one goroutine per kind and waits for them.
// Emit is called by all of them, by each in order, and must not block.
//
// Invariants:
//  1. The first event of a kind is a List.
//  2. Revisions of the events of a kind never go back.
//  3. An object that was handed on is never changed here.
//
// Errors: a list or watch that fails is logged, counted and tried again with
// backoff, for ever; nothing is emitted meanwhile.
//
// Units and zero values: revisions are resourceVersions as numbers. Config needs
// all fields but Log.
package gather
