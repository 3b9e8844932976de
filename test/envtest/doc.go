// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package envtest runs the operator against a real API server, with real clients
// of the registry: what is asserted is what a caller or a server receives, and
// what kubectl would show. Nothing plays the part of the controllers that fill
// EndpointSlices, so the tests write them.
//
// The operator has the rights of config/rbac and no others.
package envtest
