// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// away is how long the operator is away, converged how soon everybody has what
	// changed meanwhile once it is back.
	away      = time.Minute
	converged = 5 * time.Second
	// crowd is how many clients the caller has. All come to the first replica that
	// is back; balanced is how soon after the second one both have their share, even
	// how many times the mean one may have then, and steady how long that has to
	// last.
	crowd    = 24
	balanced = 2 * time.Minute
	steady   = 10 * time.Second
	even     = 1.3
)

// operatorAway ends all replicas of the operator for a minute, under load, and
// restarts a caller meanwhile: it goes on from its cache. Then one replica comes
// back, and another.
func (c *cluster) operatorAway() {
	c.work()
	k := c.calling("work", rate, crowd)
	k.answered()
	defer c.scale(operatorSpace, "fairlead-manager", 2)
	before := k.report()
	c.scale(operatorSpace, "fairlead-manager", 0)
	c.rolledOut(operatorSpace, "fairlead-manager")
	gone := time.Now()
	old := k.made(before, 3000)
	k.kill(k.pod)
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
	stale := k.report().Digests
	c.scale(operatorSpace, "fairlead-manager", 1)
	var back time.Time
	c.eventually(patience, "a ready replica", func() error {
		for _, pod := range c.pods(operatorSpace, "app.kubernetes.io/component=manager") {
			if ready(&pod) {
				back = time.Now()
				return nil
			}
		}
		return errors.New("none")
	})
	k.bound(7 * time.Second)
	k.follow(stale)
	took := time.Since(back)
	d := k.report()
	c.figures("operator away for %.0f s: before the caller's restart %d calls, %d failed; after it %d calls, %d failed; %d clients converged %.1f s after the first ready replica",
		back.Sub(gone).Seconds(), old.Begun, old.Failed, d.Begun, d.Failed, crowd, took.Seconds())
	if old.Failed+d.Failed > 0 {
		c.Errorf("calls failed: %s%s", old.errors(), d.errors())
	}
	if took > converged {
		c.Errorf("converged after %s, want within %s", took, converged)
	}
	k.evened()
}

// follow waits until all clients have the same, and none what it had before.
func (k *caller) follow(stale map[string]int) {
	k.Helper()
	k.eventually(patience, "all clients' new state", func() error {
		r, err := k.tryReport()
		if err != nil {
			return err
		}
		for digest := range r.Digests {
			if stale[digest] > 0 || len(r.Digests) > 1 {
				return fmt.Errorf("clients have %v, before they had %v", r.Digests, stale)
			}
		}
		return nil
	})
}

// evened brings back the second replica, and waits until each has its share of
// the clients.
func (k *caller) evened() {
	k.Helper()
	before, sent := k.report(), k.counted("fairlead_registry_clients_sent_away_total", "")
	first := k.perReplica()
	k.scale(operatorSpace, "fairlead-manager", 2)
	k.rolledOut(operatorSpace, "fairlead-manager")
	both := time.Now()
	var clients []float64
	var busiest float64
	since := time.Now() // it has been so
	k.eventually(balanced+steady, "a fair share of clients for each replica", func() error {
		clients = k.perReplica()
		total := 0.0
		for _, n := range clients {
			total += n
		}
		if busiest = slices.Max(clients) * float64(len(clients)) / total; len(clients) != 2 || total < crowd || busiest > even {
			since = time.Now()
		}
		if time.Since(since) < steady {
			return fmt.Errorf("replicas have %v clients, max/mean %.2f", clients, busiest)
		}
		return nil
	})
	d := k.report().since(before)
	k.figures("operator: of %v clients, replicas have %v, max/mean %.2f, which was fair %.1f s after the second was ready; %.0f were sent away; %d calls, %d failed",
		first, clients, busiest, since.Sub(both).Seconds(), k.counted("fairlead_registry_clients_sent_away_total", "")-sent, d.Begun, d.Failed)
	if d.Failed > 0 {
		k.Errorf("%d calls failed: %s", d.Failed, d.errors())
	}
}

// perReplica is how many clients each replica of the operator has.
func (c *cluster) perReplica() (clients []float64) {
	c.Helper()
	for _, pod := range c.pods(operatorSpace, "app.kubernetes.io/component=manager") {
		n, err := c.metric(pod.Name, "fairlead_registry_clients", "")
		if err != nil {
			c.Fatal(err)
		}
		clients = append(clients, n)
	}
	return clients
}
