// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package status writes the status of policies, of both kinds.
//
// It does not decide what a policy does: compilation reports on each target, and
// the status is put together from that.
//
// Main flow: the publisher says that something about a policy is new; Reconcile
// takes the status that it should have and has it written.
//
// Concurrency: Reconcile is called by the workers of a controller, for each
// object by one at a time.
//
// Errors: those of writing, to be tried again.
package status
