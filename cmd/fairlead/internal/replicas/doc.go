// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package replicas asks the operator's replicas what their clients hold.
//
// It judges nothing: package explain does. It needs the rights to list Pods and
// to forward ports in the operator's namespace, and says which of them is
// missing.
//
// Main flow: Asker.Ask lists the Pods of the operator, dials the port named admin
// of each that is ready, all at the same time, asks for /clients, and gathers the
// answers and what kept others from coming.
//
// Concurrency: Ask has one goroutine per replica and waits for them. An Asker may
// be used from any goroutine. A Forwarder.Dial that an API server leaves without
// an answer leaves a goroutine behind, until the API server says something or
// the program ends.
//
// Invariants:
//  1. A replica is asked for at most the time that Asker says.
//  2. Of a replica's answer no more than maxAnswer is read.
//  3. What is not in Held is in Failed: nobody is missing in silence.
//
// Errors: a *ForbiddenError is a missing right. ErrNoReplica says that there is
// nobody to ask. Others are the API server's. What keeps one replica from
// answering is in the answer.
//
// Zero values: an Asker needs Pods, Dialer and Namespace.
package replicas
