// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rpcruntime

const raceEnabled = false

// hostileRounds is how often an attack is repeated to see whether memory grows.
const hostileRounds = 100
