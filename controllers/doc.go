// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers is the operator. Here it is put together; each of its
// parts has a package of its own, by object and concern:
//
//	registry/gather       watches everything that compilation reads
//	registry/publish      compiles what changed and publishes it
//	registry/serve        the endpoint at which clients subscribe
//	registry/count        counts clients over all replicas
//	registry/admin        the port at which administrators ask what clients hold
//	rpcservice/status     writes the status of RPCServices
//	policy/status         writes the status of policies, of both kinds
//	projection            how statuses are written, and when
//	lease                 says which replica writes them
//	crd                   says whether a deletion can be believed
//	trust                 gives the registry's certificates, and replaces authorities
//	bundle                writes where the registry is, and whom to believe there, for Pods
//	identity              says who the bearer of a token is
//	observe               follows the objects of one kind, for these three
//
// # Main flow
//
// Run makes every part and runs them until its context ends. Every replica
// gathers, publishes and serves; the holder of the Lease writes statuses and
// ConfigMaps, and decides about the authority, too.
// Losing the Lease, or the API server, ends nothing else: what was published
// goes on being served.
//
// # Concurrency
//
// Each part has its own goroutines and waits for them; Run waits for the parts.
//
// # Errors
//
// Run fails on what cannot get better: options that make no sense, an address
// that cannot be opened. An API server that is away is waited for.
package controllers
