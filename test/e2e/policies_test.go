// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// changes is how often the policy changes, inForce how soon it is to bind calls.
// After one of so many as counted says, the status is awaited: numbers take up to
// ten seconds.
const (
	changes = 20
	inForce = time.Second
	counted = 5
)

// policies changes a policy under load, and looks when calls go by it; then it
// adds one that loses, one that is refused, and takes all away.
func (c *cluster) policies() {
	k := c.work()
	before := k.report()
	var slowest, slowestStatus time.Duration
	for i := range changes {
		timeout := time.Duration(4+i*7%changes) * time.Second
		began := time.Now()
		took := k.change(timeout)
		slowest = max(slowest, took)
		if i%counted == counted-1 {
			k.settled()
			slowestStatus = max(slowestStatus, time.Since(began))
		}
		if took > inForce {
			c.Errorf("change %d: in force after %s, want within %s", i+1, took, inForce)
		}
	}
	c.figures("policies: %d changes, in force after %d ms at most, all clients counted after %.1f s at most",
		changes, slowest.Milliseconds(), slowestStatus.Seconds())

	k.explained()

	c.apply(policy("work-late", "2s"))
	c.eventually(patience, "the verdict on a policy that lost", func() error {
		return condition(c.get("RPCCallPolicy", "work-late"), "Programmed", "False", "Overridden", "work")
	})
	err := c.tryApply(policy("work-wrong", "soon"))
	if err == nil || !strings.Contains(err.Error(), "spec.timeout") {
		c.Errorf("a timeout of \"soon\": %v, want a refusal that names spec.timeout", err)
	}
	c.figures("policies: refused: %v", err)

	for _, name := range []string{"work-late", "work"} {
		if err := c.objects.Delete(c.Context(), c.get("RPCCallPolicy", name)); err != nil {
			c.Fatal(err)
		}
	}
	began := time.Now()
	k.bound(10 * time.Second) // the default
	c.figures("policies: deleted, out of force after %d ms", time.Since(began).Milliseconds())
	if d := k.report().since(before); d.Failed > 0 {
		c.Errorf("%d calls failed: %s", d.Failed, d.errors())
	}
	c.apply(c.manifest("work.yaml"))
}

func policy(name, timeout string) string {
	return fmt.Sprintf(`{apiVersion: rpc.fairlead.dev/v1alpha1, kind: RPCCallPolicy, metadata: {name: %s}, spec: {
  targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: work}], timeout: %s}}`, name, timeout)
}

// change changes the timeout, and says how long it took until calls had it.
func (k *caller) change(timeout time.Duration) time.Duration {
	k.Helper()
	object := k.get("RPCCallPolicy", "work")
	began := time.Now()
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"timeout":"%s"}}`, timeout))
	if err := k.objects.Patch(k.Context(), object, patch); err != nil {
		k.Fatal(err)
	}
	k.bound(timeout)
	return time.Since(began)
}

// settled waits until the status says that the policy is programmed, and that all
// clients have it.
func (k *caller) settled() {
	k.Helper()
	k.eventually(patience, "the status of the policy", func() error {
		now := k.get("RPCCallPolicy", "work")
		if err := condition(now, "Programmed", "True", "Programmed", ""); err != nil {
			return err
		}
		current, _, _ := unstructured.NestedInt64(now.Object, "status", "clients", "current")
		total, _, _ := unstructured.NestedInt64(now.Object, "status", "clients", "total")
		if total == 0 || current != total {
			return fmt.Errorf("%d of %d clients", current, total)
		}
		return nil
	})
}

// bound waits until calls are made with that timeout: what a server sees left of
// a call's deadline is a little less.
func (k *caller) bound(timeout time.Duration) {
	k.Helper()
	k.eventually(patience, fmt.Sprint("a timeout of ", timeout), func() error {
		r, err := k.tryReport()
		left := time.Duration(r.LeftMost) * time.Millisecond
		if err == nil && (left > timeout || left < timeout-900*time.Millisecond) {
			err = fmt.Errorf("servers see %s left", left)
		}
		return err
	})
}

// condition looks for a condition that speaks about the newest generation.
func condition(object *unstructured.Unstructured, kind, status, reason, text string) error {
	list, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range list {
		found, _ := entry.(map[string]any)
		if found["type"] != kind {
			continue
		}
		message, _ := found["message"].(string)
		if found["status"] == status && found["reason"] == reason && found["observedGeneration"] == object.GetGeneration() && strings.Contains(message, text) {
			return nil
		}
		return fmt.Errorf("generation %d: %v", object.GetGeneration(), found)
	}
	return fmt.Errorf("no condition %s in %v", kind, list)
}
