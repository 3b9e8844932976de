// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inject adds to manifests what a Pod needs to find the registry: two
// volumes, and where each container has them.
//
// It does not ask a cluster, and leaves everything else as it is.
//
// Main flow: Manifests takes a stream of YAML or JSON documents apart. A document
// in which something has to be added is edited as a tree, so that comments and
// order stay, and written anew; all others go through byte by byte.
//
// Concurrency: functions without state.
//
// Invariants: what is there already is not changed, so that doing it twice is
// doing it once, and a volume of the same name that somebody wrote himself stays.
//
// Errors say in which document, and at which line of it.
package inject
