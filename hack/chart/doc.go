// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart tests what installs the operator: the charts in charts/, with
// every switch both ways, and the kustomization config/default, which makes
// the same objects.
//
// Run it with hack/helm-lint.sh, or with -count=1: the cache of go test does not
// see the charts, which are outside of this module.
//
// It has no program of its own. Without the build constraint envtest it renders
// and compares; with it, an API server judges what was rendered. What nothing
// here enforces or serves is named at the end of a run as "rendered, not run".
package chart
