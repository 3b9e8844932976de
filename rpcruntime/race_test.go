// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build race

package rpcruntime

const raceEnabled = true

// hostileRounds is how often an attack is repeated to see whether memory grows, fewer under the race
// detector, which makes each several times as slow.
const hostileRounds = 32
