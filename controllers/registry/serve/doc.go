// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package serve is the registry's endpoint: the listener at which clients
// subscribe.
//
// It does not know Kubernetes, and what is served is the store's.
//
// Main flow: Endpoint.Serve opens the address, mounts the registry service on a
// server of the runtime, and serves until its context ends. Then it drains:
// every connection is told to go, so that clients move on to another replica
// before this one is away.
//
// What clients do there is counted: how many there are, what they subscribe to,
// and, as in any program of the runtime, calls, refusals and connections.
//
// Concurrency: Serve is called once. Moved may be called from any
// goroutine, before Serve, too.
//
// Invariants: without TLS an address that is not loopback is refused unless it is
// asked for in so many words. With TLS nothing is listened to before there is a
// certificate.
//
// Errors: an address that is refused or cannot be opened is an error of Check or
// Serve.
//
// Zero values: Config needs an Address and Metrics.
package serve
