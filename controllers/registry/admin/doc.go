// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package admin is the replica's admin port: what its clients hold, for
// administrators who come by port-forward.
//
// It changes nothing, and it is not part of the registry: programs never ask
// here. It has no authentication of its own, and so listens on loopback only,
// where the API server's right to forward ports into the Pod is what lets people
// in. It tells no secrets, but names the services and clients of all namespaces.
//
// Main flow: Listener.Start opens the address and answers GET /clients, as JSON,
// until its context ends:
//
//	/clients                         every client and all that it subscribes to
//	/clients?service=shop/arith      of these services only; may stand repeatedly
//	/clients?namespace=shop          of the services of a namespace only
//
// The answer is a publish.Held.
//
// Concurrency: Start is called once, has the goroutines of an HTTP server, and
// waits for them. Answers are made by at most maxAtOnce goroutines at a time.
//
// Invariants:
//  1. Nothing is listened to that is not loopback.
//  2. A request that names another host than loopback is refused: a browser on
//     the same machine may be made to send it.
//  3. Every request is bounded, in bytes and in time, and so is every answer.
//
// Errors: an address that is not loopback is an error of New, one that cannot be
// opened of Start. Requests get 400, 403, 404, 405 or 503 with {"error": "..."}.
//
// Zero values: Config needs all fields but Listening and Log.
package admin
