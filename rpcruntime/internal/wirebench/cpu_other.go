// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package main

import (
	"errors"
	"time"
)

// cpuUsed is not known here, so that a stream cannot be paced.
func cpuUsed() (time.Duration, error) {
	return 0, errors.New("the CPU time of a process is not known on this system")
}
