// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package compile turns API objects into what the registry serves: RPCServices,
// policies, Services and EndpointSlices go in, the parts of each service and
// the facts of every status come out.
//
// It fetches nothing, watches nothing and writes nothing. It has no clock: ages
// are those in the objects, and revisions are given. What a call policy means
// is decided by the package policy, so that clients and this package cannot
// disagree; the table of defaults is there too.
//
// # Main flow
//
// Objects holds what was fetched. Each Set or Delete says which services it
// concerns; for each of these Input gathers the service's own objects, and
// Service compiles them: endpoints out of slices, layers and limits out of
// policies, encoded into parts, and reports. A policy may target several
// services, or a namespace and with it any number of them, so its status is put
// together from their reports (Book, CallPolicyStatus, LimitPolicyStatus). A
// Census says which clients there are, and what statuses say of them. Self
// answers which services a subscriber is an instance of.
//
// # Concurrency
//
// Functions are pure and safe for concurrent use. Objects and Book are not: each
// has one owner. The API objects handed in are shared and never changed; the results
// are the caller's own.
//
// # Invariants
//
//  1. A result depends on the objects, and never on the order in which they
//     came or are listed.
//  2. A service's output depends only on its own objects: a broken object harms
//     no other service, and a broken policy no other policy.
//  3. Terminating is looked at first: an endpoint that was told to go is never
//     ready and never suspect.
//  4. A policy for a namespace has lost a field only if it is in force for no
//     service of it.
//  5. The parts hold what the objects say; losses of whole nodes are not held
//     back here. Clients decide what to do with suspects.
//
// # Errors
//
// There are none: what is wrong with an object is in its report, as a condition
// that names the value and the reason. Conditions have no LastTransitionTime;
// whoever writes them sets it.
//
// # Units and zero values
//
// Revisions are Kubernetes' resourceVersions as numbers, or a counter of the
// standalone control plane; 0 means unknown. The zero Mode is the operator's.
package compile
