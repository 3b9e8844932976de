// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crd answers one question: does the definition of a kind stand?
//
// The API server deletes all objects of a kind before it deletes the kind's
// CustomResourceDefinition. To a watch this looks as if somebody had deleted
// each object by itself. So a deletion of one of our objects is believed only
// if the definition, read from the API server at that moment and not from a
// cache, exists, is not on its way out, and is the one that was there before.
//
// It does not decide what to do about it, and starts no goroutine.
//
// Main flow: Reader.Read gives a Reading; Judge compares it with the UID of the
// definition that was read before.
//
// Concurrency: Reader may be used from any goroutine; Judge is pure.
//
// Invariants: a definition is Standing only if it was read without error.
//
// Errors: an error that says anything else than that the definition is not
// there makes the Reading Unreadable, with the error in it.
//
// Zero values: the zero Reading is Unreadable.
package crd
