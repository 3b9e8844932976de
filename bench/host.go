// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead/fairlead/bench/internal/result"
)

// host says what this machine is, as far as /proc tells.
func host() result.Host {
	return result.Host{
		CPU: field("/proc/cpuinfo", "model name"), CPUs: runtime.NumCPU(), MemoryMiB: memoryMiB(),
		OS: runtime.GOOS, Kernel: firstLine("/proc/sys/kernel/osrelease"), Go: runtime.Version(),
		GOMAXPROCS: runtime.GOMAXPROCS(0), StealShare: -1,
	}
}

// field is the value of the first line NAME: VALUE of a file; empty if there is none.
func field(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func memoryMiB() int64 {
	kib, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return kib / 1024
}

// ticks are what all CPUs did since the machine was started, in hundredths of a
// second.
type ticks struct {
	all, busy, steal int64
	ok               bool
}

func cpuTicks() ticks { return parseTicks(firstLine("/proc/stat")) }

// parseTicks reads a line "cpu user nice system idle iowait irq softirq steal ...".
func parseTicks(line string) ticks {
	words := strings.Fields(line)
	if len(words) < 9 || words[0] != "cpu" {
		return ticks{}
	}
	t := ticks{ok: true}
	for i, word := range words[1:9] {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return ticks{}
		}
		t.all += n
		switch i {
		case 3, 4: // idle, and waiting for disks
		case 7:
			t.steal = n
		default:
			t.busy += n
		}
	}
	return t
}

// stolen is the share of all CPU time since before that the host kept for others;
// negative if it is not known.
func (t ticks) stolen(before ticks) float64 {
	if !t.ok || !before.ok || t.all <= before.all {
		return -1
	}
	return float64(t.steal-before.steal) / float64(t.all-before.all)
}

// tick is how long a tick is on Linux, whatever the kernel's own is.
const tick = 10 * time.Millisecond

// strangers adds up what other programs of this machine did while calls were
// measured: their CPU time is missing to those who are measured.
type strangers struct {
	before ticks
	// Of all measurements until now.
	theirs, all time.Duration
}

func (s *strangers) begin() { s.before = cpuTicks() }

// end takes what the processes that are measured used meanwhile.
func (s *strangers) end(ours time.Duration) {
	now := cpuTicks()
	if !now.ok || !s.before.ok {
		return
	}
	s.theirs += max(0, time.Duration(now.busy-s.before.busy)*tick-ours)
	s.all += time.Duration(now.all-s.before.all) * tick
}

// share is the share of all CPU time that others used; negative if it is not known.
func (s *strangers) share() float64 {
	if s.all == 0 {
		return -1
	}
	return float64(s.theirs) / float64(s.all)
}
