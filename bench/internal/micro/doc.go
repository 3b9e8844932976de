// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package micro measures what is not calls per second: what an idle connection
// costs a server, what choosing an endpoint costs, what applying a change of the
// endpoints costs, and what a call allocates.
//
// It compares with nobody: these goals are absolute.
//
// Main flow: Measure runs every function here, each of which measures one thing
// and returns result.Values with the names that the goals know. IdleConnections
// starts this program again, as a server and as the one that dials, with Flag and
// the kind of child as its argument: a program that calls it hands such kinds, and
// its standard input and output, to Child.
//
// Concurrency: one function at a time, with nothing else running: they use all
// of the machine and look at the memory of the process.
//
// Invariants:
//
//  1. A child ends when its standard input does.
//  2. What could not be measured is an error, never a zero.
//
// Errors: what the kernel or a child said; errors.ErrUnsupported where the memory
// of a process cannot be asked for as on Linux.
//
// Units: bytes, nanoseconds, microseconds, as the Value's unit says.
package micro
