// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bundle writes the ConfigMap fairlead-registry, by which Pods learn where
// the registry is and whom to believe there.
//
// It does not make certificates, and it deletes nothing.
//
// Main flow: Controller hears of namespaces and of our objects from package
// gather, and follows ConfigMaps of that one name. The
// holder of the Lease writes the ConfigMap into each namespace that is labelled or
// holds objects of ours, when it is missing or says something else. One that is
// there and ours is kept right even if its namespace does not ask for it any more:
// Pods that mount it start again some day. Whoever does not want it deletes it.
//
// Concurrency: Receive and Wake may be called from any goroutine; Start is
// called once.
//
// Invariants:
//  1. Only the holder of the Lease writes, and only what differs.
//  2. A ConfigMap is written by server-side apply, so that rights on this one name
//     are enough.
//  3. Keys that somebody else adds are left alone.
//
// Errors: what cannot be written is logged, counted and tried again, a namespace
// at most once a second.
package bundle
