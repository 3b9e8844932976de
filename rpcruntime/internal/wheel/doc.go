// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wheel keeps deadlines: many, of which few are ever reached, since
// most calls are answered before.
//
// It does not run anything of its users but their Expire methods, and it keeps
// no wall-clock times: a deadline is a moment of the monotonic clock.
//
// Main flow: New starts the wheel's one goroutine. Owners embed a Timer, Init
// it once, then Schedule and Stop it for each call. The goroutine sleeps until
// the earliest deadline, or until somebody schedules an earlier one; without
// timers it sleeps for good. Close ends it and waits.
//
// Any number of goroutines may use a Wheel. The methods for one Timer are
// called by one goroutine at a time; its owner's Expire may run beside them. Expire
// methods run one after the other on the wheel's goroutine, with no lock
// held: they may call Schedule and Stop, must not block, and must not call
// Close.
//
// Invariants:
//  1. A timer never fires before its deadline, nor more than once per Schedule.
//  2. Stop returns true exactly if it kept the timer from firing.
//  3. Schedule and Stop allocate nothing, and take the lock of one shard only.
//  4. The goroutine has a time to wake that is no later than the earliest
//     deadline, or a wake-up is on its way to it.
//
// There are no errors. Deadlines are rounded up to whole milliseconds since the
// wheel's start; with the runtime's own timers Expire runs at most two
// milliseconds late on a machine that is not overloaded. A zero Timer is ready
// for Init; there is no zero Wheel.
package wheel
