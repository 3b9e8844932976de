// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"runtime"
	"syscall"
	"time"
)

// Usage is what a process has used since its start, or between two looks.
type Usage struct {
	CPU     time.Duration // user and system time
	Mallocs int64         // objects allocated
	Bytes   int64         // allocated
}

// Used looks at this process. It stops the world for a moment.
func Used() (Usage, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return Usage{}, err
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return Usage{
		CPU:     time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		Mallocs: int64(m.Mallocs),
		Bytes:   int64(m.TotalAlloc),
	}, nil
}

// Since is what was used after an earlier look.
func (u Usage) Since(before Usage) Usage {
	return Usage{CPU: u.CPU - before.CPU, Mallocs: u.Mallocs - before.Mallocs, Bytes: u.Bytes - before.Bytes}
}
