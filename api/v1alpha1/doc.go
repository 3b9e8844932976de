// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API that people write: RPCService, RPCCallPolicy and RPCLimitPolicy in the group
// rpc.fairlead.dev.
//
// It holds the types, the validation that the API server itself can do (schema and CEL, as markers), and the catalogue of
// conditions in conditions.go. It holds no defaults, no merging and no decisions: those belong to the code that compiles
// these objects. The schema has no default for any field, because a stored default would look as if the user had set it,
// and would then win over a policy that really was set.
//
// The flow: a manifest is checked against the generated CRD, decoded into these types, and compiled. Status is written by
// the holder of the Lease only.
//
// The types are plain data. Reading one from many goroutines is safe, changing one is not; use DeepCopy.
//
// Invariants:
//
//  1. Every optional field of a spec is a pointer, a slice or a struct pointer; nil means that the user did not set it.
//  2. Every list and every string has a bound in the schema, so that the API server accepts the cost of the CEL rules.
//  3. Numbers are int32, except observedGeneration, which is int64 as in all of Kubernetes.
//
// Errors: only Duration.Parse returns one. A Duration that came through the API server parses.
//
// Units: durations are strings with their unit (Duration), rates are a count per interval, shares are percent from 0 to
// 100. The zero value of each type is an object on which nothing is set.
//
// +kubebuilder:object:generate=true
// +groupName=rpc.fairlead.dev
package v1alpha1
