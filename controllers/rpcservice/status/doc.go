// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status writes the status of RPCServices: what compilation reports,
// and Degraded, which takes time to tell.
//
// It does not compile, and decides nothing about endpoints.
//
// Main flow: the publisher says that something about an RPCService is new;
// Reconcile takes its report, adds Degraded, and has it written.
//
// Concurrency: Reconcile is called by the workers of a controller, for each
// object by one at a time.
//
// Invariants: Degraded is True only after most endpoints have been suspect for
// 5 s without a break; it turns False at once.
//
// Errors: those of writing, to be tried again.
package status
