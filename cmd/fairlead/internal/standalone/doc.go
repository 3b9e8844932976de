// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package standalone is the control plane without Kubernetes: it serves the
// registry from a folder of manifests, and takes instances that register
// themselves.
//
// It decides nothing about manifests, services or policies: manifest, compile and
// publish do, as they do for the operator. It offers no protection: no
// encryption, no identities. It runs once for a set of programs, not as one of
// several replicas.
//
// # Main flow
//
//	manifest.Watch --setFiles--\
//	                            loop: objects, leases -> state on disk -> compile -> publish.Store
//	registry calls --register--/         one batch: one write
//
// Run ties this to a listener, and ends it in order: the registry first, so that
// nobody is taken for lost, then its connections, then the loop.
//
// # Concurrency
//
// One goroutine, the loop, owns all state but the watermark. Everything else asks
// it by do, and waits until what follows has been saved and published.
//
// # Invariants
//
//  1. Nothing is published that a restart would not know of: revision, epoch and
//     leases are on the disk first.
//  2. Nothing is served before all files were good once. From then on a broken
//     file changes nothing.
//  3. The revision never falls in one epoch; a state that was lost or damaged
//     begins another epoch.
//  4. A lease that was read at the start runs one full lease time, during which
//     its instance is what it was.
//  5. A connection that is lost touches only leases that it still holds.
//  6. The state folder has one process at a time.
//
// # Errors
//
// What is wrong with the Config is a *UsageError, a state folder that is taken an
// *InUseError. What is wrong with manifests is written to the log, with file and
// line. Answers to instances are *status.Error.
//
// # Units and zero values
//
// Config needs Manifests, Out and Log. Revisions count accepted changes from 1;
// holders are numbers of connections, 0 for none.
package standalone
