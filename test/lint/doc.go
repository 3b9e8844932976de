// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lint holds lint and the real API server to the same table of broken manifests: what one refuses the other
// refuses, and lint says where. It has tests only; those against the API server are built with the tag envtest.
package lint
