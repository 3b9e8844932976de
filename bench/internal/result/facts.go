// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// facts says what was measured where, a sentence per line.
func (r *Report) facts() []string {
	h := r.Host
	lines := []string{
		fmt.Sprintf("%s, %d CPUs, %d MiB, %s %s, %s, GOMAXPROCS=%d in each process", h.CPU, h.CPUs, h.MemoryMiB, h.OS, h.Kernel, h.Go, h.GOMAXPROCS),
		fmt.Sprintf("begun %s, took %s, seed %d, %s", r.Started.UTC().Format("2006-01-02 15:04 UTC"), r.Took.Round(time.Second), r.Seed, stolen(h.StealShare)),
	}
	if r.Quick {
		lines = append(lines, "a quick run: its figures show that everything works, and prove nothing")
	}
	return append(lines, r.Notes...)
}

// versions names the peers in a line; empty without any.
func (r *Report) versions() string {
	var all []string
	for _, v := range r.Versions {
		all = append(all, strings.TrimSpace(v.Name+" "+v.Version))
	}
	return strings.Join(all, ", ")
}

func stolen(share float64) string {
	if share < 0 {
		return "steal time not known"
	}
	return fmt.Sprintf("steal time %.1f %%", share*100)
}

// goalColumns are the heads of the table of goals.
var goalColumns = []string{"goal", "at", "aim", "got", "worst round", "state"}

// row is a goal as text, in the order of goalColumns.
func (o *Outcome) row() []string {
	sign := ">="
	if o.AtMost {
		sign = "<="
	}
	value, worst := none, none
	if o.State != NotMeasured {
		value = o.text(o.Got)
		if o.Worst > 0 {
			worst = o.text(o.Worst)
		}
	}
	state := string(o.State)
	if o.AimedAt {
		state += ", and the aim"
	}
	aim := none
	if o.Aim != o.Goal {
		aim = o.text(o.Aim)
	}
	return []string{o.Name, sign + " " + o.text(o.Goal), aim, value, worst, state}
}

func (o *Outcome) text(v float64) string {
	switch o.Unit {
	case UnitTimes:
		return strconv.FormatFloat(v, 'f', 2, 64) + UnitTimes
	case UnitBytes:
		return strconv.FormatFloat(v/1024, 'f', 2, 64) + " KiB"
	}
	return amount(v) + " " + o.Unit
}

// amount writes a figure with about three digits that count.
func amount(v float64) string {
	digits := 2
	switch {
	case v == math.Trunc(v) || v >= 1000:
		digits = 0
	case v >= 10:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// reasons says why goals were not counted, each reason once.
func (r *Report) reasons() (lines []string) {
	seen := map[string]bool{}
	for _, o := range r.Goals {
		if o.Why != "" && !seen[o.Why] {
			seen[o.Why] = true
			lines = append(lines, "not counted: "+o.Why)
		}
	}
	return lines
}
