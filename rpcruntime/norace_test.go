// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rpcruntime

const raceEnabled = false
