// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package explain says what is in force, out of API objects: the policy that
// calls of one method from one namespace are made with, where each value of it
// came from, how a service stands, and which endpoints of it are used.
//
// It decides nothing. What objects mean is compiled by internal/compile, as in
// the operator, and merged by rpcruntime/policy, as in every client: the parts
// that a caller would be sent are made here, and read as the caller reads them.
// It writes nothing, and asks nobody but the API server, so it works while the
// operator is down. It does not ask clients, nor the operator: what its replicas
// know of clients is put beside it by Count, and without that counts are what the
// operator wrote into statuses.
//
// # Main flow
//
// A Source reads what a question needs into a World: a Cluster with the rights of
// whoever asks, a Folder from manifests. The World answers: Call, Endpoints,
// Status. Each answer is a struct with the JSON of docs/cli.md, and writes itself
// as text.
//
// # Concurrency
//
// Nothing here starts a goroutine. A World has one user at a time; answers are
// plain data.
//
// # Invariants
//
//  1. What may not be read is named in the answer, with what cannot be said
//     without it. What is said in spite of it is true, or marked as not known.
//  2. Explanations of equal objects are equal.
//
// # Errors
//
// A *NotFoundError names a service or a method that is not there, and what is near. A
// *UnservedError is a service that the control plane does not take up. Others are the
// API server's.
//
// # Units and zero values
//
// Durations are as people write them in manifests. Digests are the first 8
// hexadecimal digits; empty means not known. A nil Clients means not counted.
package explain
