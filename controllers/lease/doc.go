// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lease finds out whether this replica is the one that writes statuses.
//
// It does not own the process, as elections often do: losing the Lease turns an
// answer from true to false, and nothing else. The replica goes on watching and
// serving, and goes on trying to get the Lease.
//
// Main flow: Elector.Start runs client-go's elector, again and again until its
// context ends. Held answers from what the elector last saw, so that a Lease
// that somebody else took counts as lost when this is seen, and not when it
// could not be renewed for long enough.
//
// Concurrency: Held may be called from any goroutine. Start is called once.
//
// Invariants: Held is false before the Lease was got, and after it was lost.
//
// Errors: trouble with the API server is logged and tried again; without it the
// Lease is lost in time.
//
// Units and zero values: durations of 0 mean 15 s, 10 s and 2 s.
package lease
