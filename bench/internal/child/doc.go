// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package child runs servers and clients as processes of their own: the program
// starts itself again, tells its children what to do in lines of JSON, and is
// answered in lines.
//
// It does not know what is measured or compared.
//
// Main flow: the driver calls Start, Hello says that the child is ready, Ask has
// it do something, End ends it. In the child, Serve or Call reads asks until its
// standard input ends.
//
// Concurrency: a Process is for one goroutine at a time.
//
// Invariants:
//  1. A child ends when its standard input does, so it never outlives the driver,
//     however that ended.
//  2. A child that is not asked does nothing but what its library does when idle.
//
// Errors: what went wrong in a child is an error of Ask, with the child's name.
//
// Units and zero values: times in lines are nanoseconds.
package child
