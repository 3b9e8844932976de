// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"errors"
	"fmt"
	"testing"

	"github.com/fairlead/fairlead/bench/internal/load"
)

// cost is what one operation takes.
type cost struct {
	nanos  float64 // of CPU time
	allocs float64
}

// costOf runs a benchmark. It takes the CPU time of the whole process, the
// collection of garbage with it, and not the time that passes: what else runs on
// the machine then hardly matters.
func costOf(run func(*testing.B)) (cost, error) {
	var before, after load.Usage
	var errs [2]error
	res := testing.Benchmark(func(b *testing.B) { // perhaps several times: the last one counts
		before, errs[0] = load.Used()
		run(b)
		after, errs[1] = load.Used()
	})
	if err := errors.Join(errs[:]...); err != nil {
		return cost{}, fmt.Errorf("use of the CPU: %w", err)
	}
	if res.N == 0 {
		return cost{}, errors.New("a benchmark did not run")
	}
	spent := after.Since(before)
	return cost{nanos: float64(spent.CPU.Nanoseconds()) / float64(res.N), allocs: float64(spent.Mallocs) / float64(res.N)}, nil
}
