// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// report is what a caller tells of itself, as program workload has it.
type report struct {
	Begun, Answered, Failed, Unknown, Missed, Ready int
	Pods, Texts                                     map[string]int
	Writes                                          writes
	Digests                                         map[string]int
	Slowest                                         int64 `json:"slowestMillis"`
	LeftMost                                        int64 `json:"leftMostMillis"`
}

// writes are the calls that are not idempotent.
type writes struct{ Answered, Failed, Unknown int }

// reads are how many idempotent calls were answered, and how many failed.
func (r *report) reads() (answered, failed int) {
	return r.Answered - r.Writes.Answered, r.Failed - r.Writes.Failed
}

// since is what has happened after an earlier report.
func (r *report) since(before *report) *report {
	d := *r
	d.Begun -= before.Begun
	d.Answered -= before.Answered
	d.Failed -= before.Failed
	d.Unknown -= before.Unknown
	d.Missed -= before.Missed
	d.Writes.Answered -= before.Writes.Answered
	d.Writes.Failed -= before.Writes.Failed
	d.Writes.Unknown -= before.Writes.Unknown
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
	k := c.calling(service, rate, 1)
	k.answered()
	return k
}

// calling starts a caller that has so many clients.
func (c *cluster) calling(service string, rate, clients int) *caller {
	c.Helper()
	c.apply(c.injected("caller.yaml", "NAME", service, "RATE", strconv.Itoa(rate), "CLIENTS", strconv.Itoa(clients)))
	name := service + "-caller"
	c.rolledOut(space, name)
	return &caller{c, c.pods(space, "app.kubernetes.io/name="+name)[0].Name}
}

// answered waits until a call was answered.
func (k *caller) answered() {
	k.Helper()
	k.eventually(patience, "answers to "+k.pod, func() error {
		r, err := k.tryReport()
		if err == nil && r.Answered == 0 {
			err = fmt.Errorf("none of %d calls: %s", r.Begun, r.errors())
		}
		return err
	})
}

// sees waits until the caller knows so many ready endpoints.
func (k *caller) sees(endpoints int) {
	k.Helper()
	k.eventually(patience, fmt.Sprint(endpoints, " ready endpoints at ", k.pod), func() error {
		r, err := k.tryReport()
		if err == nil && r.Ready != endpoints {
			err = fmt.Errorf("%d", r.Ready)
		}
		return err
	})
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

// kill sends the process in a Pod SIGKILL. Its kubelet starts it again.
func (c *cluster) kill(pod string) {
	c.Helper()
	before := c.restarts(pod)
	// The answer never comes.
	_ = c.kube.CoreV1().RESTClient().Post().Namespace(space).Resource("pods").Name(pod + ":8080").SubResource("proxy").Suffix("kill").Do(c.Context()).Error()
	c.eventually(patience, "a restart in "+pod, func() error {
		if c.restarts(pod) == before {
			return errors.New("none")
		}
		return nil
	})
}

// restarts counts how often the container of a Pod was started again after
// SIGKILL.
func (c *cluster) restarts(pod string) int32 {
	c.Helper()
	p, err := c.kube.CoreV1().Pods(space).Get(c.Context(), pod, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	if len(p.Status.ContainerStatuses) != 1 {
		c.Fatalf("%s has %d containers, want 1", pod, len(p.Status.ContainerStatuses))
	}
	s := p.Status.ContainerStatuses[0]
	if last := s.LastTerminationState.Terminated; last != nil && last.ExitCode != killed {
		c.Errorf("%s ended with code %d, want %d: was it not SIGKILL?", pod, last.ExitCode, killed)
	}
	return s.RestartCount
}

// killed is the exit code of a process that SIGKILL ended.
const killed = 128 + 9

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
