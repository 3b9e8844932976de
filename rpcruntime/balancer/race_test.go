// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build race

package balancer

// The race detector allocates, and slows atomics down beyond measure.
const raceEnabled = true
