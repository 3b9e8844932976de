// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy is the hinge between registry and runtime: plain data about a
// service (its endpoints, methods, call policies and limits), and the pure
// functions over it.
//
// It does not know of Kubernetes, connections or calls. It starts no goroutine,
// reads no clock, does no I/O and keeps no state; it decides what a policy is,
// never what to do with one.
//
// # Main flow
//
// The registry's side fills Endpoints, Methods, Layers and Limits and encodes
// them, once, into parts (EncodeEndpoints, EncodeOwner, EncodeOverlay,
// EncodeLimits). A part is a set of items, each with an id that is stable over
// updates. The runtime's side checks the parts (Part.Verify), decodes them
// (Decode) into a Snapshot, and merges the layers of owner and caller into one
// Effective policy per method (Merge). Everybody who needs the effective policy
// calls Merge: client, explain and simulator cannot disagree.
//
// # Concurrency
//
// All functions are safe for concurrent use. A Snapshot, a Part and what they
// point to are immutable once handed out, and shared.
//
// # Invariants
//
//  1. Merge does not depend on the order of its layers, and always ends in a
//     valid policy, whatever the layers hold.
//  2. The order of layers is total: by step, then the younger is weaker, then
//     the first namespace/name wins. A leaf field is set or taken whole.
//  3. Equal values encode to equal bytes. An item's digest covers id and bytes
//     as received, so two sides agree on a digest without agreeing on fields.
//  4. A part's digest is the sum of its items' digests mod 2^128: a change
//     subtracts the old item and adds the new one.
//  5. A digest says same or different; only AsOf says newer.
//  6. The memory that Decode uses is bounded by the size of its input.
//
// # Errors
//
// Decode fails with an *ItemError for a broken item, and with a
// *CriticalFieldError for what must not be ignored and is not known. It never
// gives half a snapshot. Merge does not fail: Effective.Fallbacks names the
// values that could not be used, and why.
//
// # Units and zero values
//
// Durations are time.Duration and travel as nanoseconds. In CallFields nil or
// empty means not set; in Effective everything is set but PerTryTimeout, where
// 0 means none. The zero Source is a default, the zero EndpointState is Ready,
// and the zero Digest is that of a part without items.
package policy
