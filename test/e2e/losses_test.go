// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// losses scales a service up and down, kills its containers with SIGKILL, and
// deletes its Pods with no time to end, under load. Idempotent calls do not fail,
// and calls that are not never run twice; those that were running on what was
// killed may fail.
func (c *cluster) losses() {
	k := c.work()
	all := k.report()
	for _, step := range []struct {
		name string
		run  func()
	}{
		{"3 to 6", func() { c.scale(space, "work", 6); c.rolledOut(space, "work") }},
		{"6 to 2", func() { c.scale(space, "work", 2); c.rolledOut(space, "work") }},
		{"2 to 3", func() { c.scale(space, "work", 3); c.rolledOut(space, "work") }},
		{"SIGKILL", func() { c.eachServer(c.kill) }},
		{"grace 0", func() { c.eachServer(c.evaporate) }},
	} {
		began, before := time.Now(), k.report()
		step.run()
		took := time.Since(began)
		d := k.made(before, 3000)
		answered, failed := d.reads()
		c.figures("losses: %s: %.1f s; idempotent: %d answered, %d failed; others: %d answered, %d failed, of which %d unknown; %d missed; over %d pods, slowest %d ms",
			step.name, took.Seconds(), answered, failed, d.Writes.Answered, d.Writes.Failed, d.Writes.Unknown, d.Missed, len(d.Pods), d.Slowest)
		if failed > 0 {
			c.Errorf("%s: %d idempotent calls failed: %s", step.name, failed, d.errors())
		}
		if d.Writes.Failed > d.Writes.Unknown {
			c.Errorf("%s: %d calls failed that had not run, want another attempt: %s", step.name, d.Writes.Failed-d.Writes.Unknown, d.errors())
		}
		if d.Writes.Answered == 0 || d.Missed > 0 {
			c.Errorf("%s: %d calls that are not idempotent were answered, for %d calls the caller was too late", step.name, d.Writes.Answered, d.Missed)
		}
	}
	d := k.report().since(all)
	answered, failed := d.reads()
	duplicates := k.audit()
	c.figures("losses: idempotent: %d answered, %d failed; others: %d answered, %d failed, %d duplicates", answered, failed, d.Writes.Answered, d.Writes.Failed, duplicates)
	if duplicates > 0 {
		c.Errorf("%d calls ran more than once", duplicates)
	}
}

// eachServer does something to one server after the other, and waits in between
// until all are there.
func (c *cluster) eachServer(do func(pod string)) {
	c.Helper()
	for _, pod := range c.pods(space, "app.kubernetes.io/name=work") {
		do(pod.Name)
		c.rolledOut(space, "work")
	}
}

// evaporate deletes a Pod that gets no time to end.
func (c *cluster) evaporate(pod string) {
	c.Helper()
	var none int64
	if err := c.kube.CoreV1().Pods(space).Delete(c.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		c.Fatal(err)
	}
}
