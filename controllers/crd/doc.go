// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crd answers two questions about the definitions of our kinds: does
// one stand, and do they have the fields that this operator compiles?
//
// The API server deletes all objects of a kind before it deletes the kind's
// CustomResourceDefinition. To a watch this looks as if somebody had deleted
// each object by itself. So a deletion of one of our objects is believed only
// if the definition, read from the API server at that moment and not from a
// cache, exists, is not on its way out, and is the one that was there before.
//
// A field that a definition does not have is dropped from objects in silence.
// So nothing is gathered before every field is served, and what is missing is
// said with the chart that is too old.
//
// It does not decide what to do about deletions, does not look at definitions
// again once they suited, and starts no goroutine.
//
// Main flow: Reader.Read gives a Reading; Judge compares it with the UID of the
// definition that was read before. Served.Await reads each definition, has
// Lacking compare it with the one that was generated with the operator, and
// tries again until nothing is lacking.
//
// Concurrency: Reader may be used from any goroutine; Judge and Lacking are
// pure. Await runs in its caller's goroutine, once; Problem may be asked
// meanwhile.
//
// Invariants:
//  1. A definition is Standing only if it was read without error.
//  2. Await returns nil only if nothing is lacking; from then on Problem is nil.
//
// Errors: an error that says anything else than that the definition is not
// there makes the Reading Unreadable, with the error in it. Await fails only by
// its context.
//
// Zero values: the zero Reading is Unreadable; Served needs Live.
package crd
