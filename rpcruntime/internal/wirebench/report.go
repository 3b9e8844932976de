// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report prints figures as they are known.
type report struct{}

// goalNone stands for the goal of what is only good to know.
const goalNone = "none"

func (*report) add(name string, value float64, goal string) {
	text := strconv.FormatFloat(value, 'f', 3, 64)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	fmt.Printf("wire: %s=%s goal=%s\n", name, text, goal)
}

// percentile returns the value that a share p of all do not exceed; 0 of none.
func percentile(all []time.Duration, p float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Clone(all)
	slices.Sort(sorted)
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

func median(all []time.Duration) time.Duration { return percentile(all, 0.5) }

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// memory is what a process holds, in bytes.
type memory struct {
	// live is the heap in use and the stacks, after a collection.
	live int64
	// resident is what the system counts; 0 where it does not tell.
	resident int64
}

func memoryNow() memory {
	runtime.GC()
	runtime.GC() // the first one only moves pools aside
	debug.FreeOSMemory()
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	return memory{live: int64(samples[0].Value.Uint64() + samples[1].Value.Uint64()), resident: resident()}
}

// resident reads the process's resident memory where there is a /proc.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
