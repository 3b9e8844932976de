// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rbac reviews the rights in config/rbac: what the operator needs, and
// why, right by right; what it must never have; and what the roles for people
// allow. A right that is in no row here fails the review, so that nobody gets
// one in passing.
package rbac
