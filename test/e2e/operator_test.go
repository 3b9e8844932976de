// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// away is how long the operator is away, converged how soon everybody has what
// changed meanwhile once it is back.
const (
	away      = time.Minute
	converged = 5 * time.Second
)

// operatorAway ends all replicas of the operator for a minute, under load, and
// restarts a caller meanwhile: it goes on from its cache.
func (c *cluster) operatorAway() {
	k := c.call("work", rate)
	before := k.report()
	c.scale(operatorSpace, "fairlead-manager", 0)
	c.rolledOut(operatorSpace, "fairlead-manager")
	gone := time.Now()
	old := k.made(before, 3000)
	k.exit()
	c.eventually(patience, "answers after the caller's restart", func() error {
		r, err := k.tryReport()
		if err == nil && (r.Answered == 0 || r.Begun >= old.Begun) {
			err = fmt.Errorf("of %d calls, %d were answered: %s", r.Begun, r.Answered, r.errors())
		}
		return err
	})
	patch := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"timeout":"7s"}}`))
	if err := c.objects.Patch(c.Context(), c.get("RPCCallPolicy", "work"), patch); err != nil {
		c.Fatal(err)
	}
	c.eventually(2*away, "the end of a minute", func() error {
		if time.Since(gone) < away {
			return errors.New("not yet")
		}
		return nil
	})
	c.scale(operatorSpace, "fairlead-manager", 2)
	var ready time.Time
	c.eventually(patience, "a ready replica", func() error {
		for _, pod := range c.pods(operatorSpace, "app.kubernetes.io/component=manager") {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == "Ready" && condition.Status == "True" {
					ready = time.Now()
					return nil
				}
			}
		}
		return errors.New("none")
	})
	k.bound(7 * time.Second)
	took := time.Since(ready)
	c.rolledOut(operatorSpace, "fairlead-manager")
	d := k.report()
	c.figures("operator away for %.0f s: before the caller's restart %d calls, %d failed; after it %d calls, %d failed; converged %.1f s after the first ready replica",
		ready.Sub(gone).Seconds(), old.Begun, old.Failed, d.Begun, d.Failed, took.Seconds())
	if old.Failed+d.Failed > 0 {
		c.Errorf("calls failed: %s%s", old.errors(), d.errors())
	}
	if took > converged {
		c.Errorf("converged after %s, want within %s", took, converged)
	}
}

// exit ends the caller's process, which its kubelet starts again in the same Pod.
func (k *caller) exit() {
	k.Helper()
	// The answer never comes.
	_ = k.kube.CoreV1().RESTClient().Post().Namespace(space).Resource("pods").Name(k.pod + ":8080").SubResource("proxy").Suffix("exit").Do(k.Context()).Error()
}
