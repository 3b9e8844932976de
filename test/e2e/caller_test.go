// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// report is what a caller tells of itself, as program workload has it.
type report struct {
	Begun, Answered, Failed, Unknown, Missed, Ready int
	Pods, Texts                                     map[string]int
	Slowest                                         int64 `json:"slowestMillis"`
	LeftMost                                        int64 `json:"leftMostMillis"`
	Digest                                          string
}

// since is what has happened after an earlier report.
func (r *report) since(before *report) *report {
	d := *r
	d.Begun -= before.Begun
	d.Answered -= before.Answered
	d.Failed -= before.Failed
	d.Unknown -= before.Unknown
	d.Missed -= before.Missed
	d.Pods, d.Texts = less(r.Pods, before.Pods), less(r.Texts, before.Texts)
	return &d
}

func less(now, before map[string]int) map[string]int {
	d := map[string]int{}
	for key, n := range now {
		if n -= before[key]; n > 0 {
			d[key] = n
		}
	}
	return d
}

// errors lists why calls failed.
func (r *report) errors() string {
	var b strings.Builder
	for _, text := range slices.Sorted(maps.Keys(r.Texts)) {
		fmt.Fprintf(&b, "\n%6d  %s", r.Texts[text], text)
	}
	return b.String()
}

// spread is how many of the answers the busiest Pod gave, against the mean.
func (r *report) spread() float64 {
	most, sum := 0, 0
	for _, n := range r.Pods {
		most, sum = max(most, n), sum+n
	}
	if sum == 0 {
		return 0
	}
	return float64(most) * float64(len(r.Pods)) / float64(sum)
}

// caller is a Pod under load.
type caller struct {
	*cluster
	pod string
}

// call starts a caller of a service, and waits until it is answered.
func (c *cluster) call(service string, rate int) *caller {
	c.Helper()
	c.apply(c.injected("caller.yaml", "NAME", service, "RATE", strconv.Itoa(rate)))
	name := service + "-caller"
	c.rolledOut(space, name)
	k := &caller{c, c.pods(space, "app.kubernetes.io/name="+name)[0].Name}
	c.eventually(patience, "answers to "+name, func() error {
		r, err := k.tryReport()
		if err == nil && r.Answered == 0 {
			err = fmt.Errorf("none of %d calls: %s", r.Begun, r.errors())
		}
		return err
	})
	return k
}

// stop ends the caller.
func (k *caller) stop() {
	k.Helper()
	service, _, _ := strings.Cut(k.pod, "-caller")
	name := service + "-caller"
	k.scale(space, name, 0)
	k.rolledOut(space, name)
}

func (k *caller) tryReport() (*report, error) {
	var r report
	return &r, k.askJSON(k.pod, "/report", &r)
}

func (k *caller) report() *report {
	k.Helper()
	r, err := k.tryReport()
	if err != nil {
		k.Fatal(err)
	}
	return r
}

// made waits until so many calls have ended since before, and returns what
// became of them.
func (k *caller) made(before *report, calls int) *report {
	k.Helper()
	var d *report
	k.eventually(patience, fmt.Sprint(calls, " calls"), func() error {
		r, err := k.tryReport()
		if err != nil {
			return err
		}
		if d = r.since(before); d.Answered+d.Failed < calls {
			return fmt.Errorf("%d were answered, %d failed", d.Answered, d.Failed)
		}
		return nil
	})
	return d
}

// audit holds what the caller was told of calls that are not idempotent against
// what ran.
func (k *caller) audit() (duplicates int) {
	k.Helper()
	// First what was told: what is answered has been noted before.
	var told map[string]string
	var ran map[string]int
	if err := k.askJSON(k.pod, "/told", &told); err != nil {
		k.Fatal(err)
	}
	if err := k.askJSON("ledger", "/ran", &ran); err != nil {
		k.Fatal(err)
	}
	for _, n := range ran {
		if n > 1 {
			duplicates++
		}
	}
	lost, ghosts := 0, 0
	for id, what := range told {
		switch {
		case what == "answered" && ran[id] == 0:
			lost++
		case what == "refused" && ran[id] > 0:
			ghosts++
		}
	}
	if len(told) == 0 || lost+ghosts > 0 {
		k.Errorf("of %d calls, %d were answered that no server had noted, %d were refused that had run", len(told), lost, ghosts)
	}
	return duplicates
}
