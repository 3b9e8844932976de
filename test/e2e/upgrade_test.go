// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// absent is how many calls are made at least while there is no operator.
	absent = 8000
	// noticed is how soon a policy is in force after a step: a caller whose replica
	// went away tries others with pauses of up to 5 s.
	noticed = 10 * time.Second
	// tooOld is what the chart of the definitions, and the cluster, say of older ones.
	tooOld = "older than those in the cluster"
)

// upgrades takes the operator through its life: an earlier commit's, this one,
// back, away, and here again. Whatever users wrote stays as it is, callers do not
// notice, and those who knew the registry's authority need no other.
func (c *cluster) upgrades() {
	k := c.work()
	c.keepsakes()
	c.frozenTrust()
	u := &upgrade{caller: k, begun: k.report(), timeout: 10 * time.Second}
	u.authority = c.kept()
	u.before = c.stored()

	u.step("earlier", "earlier", func() {
		c.helm("uninstall", "fairlead", "--namespace", operatorSpace, "--wait")
		c.helm("install", "fairlead", filepath.Join(c.bin, "earlier/charts/fairlead"), "--namespace", operatorSpace,
			"--set", "image.repository="+operatorImage+",image.tag=earlier", "--wait", "--timeout", "3m")
	})
	u.step("upgraded", "e2e", c.install)
	u.step("rolled back", "earlier", func() {
		c.helm("rollback", "fairlead", "--namespace", operatorSpace, "--wait", "--timeout", "3m")
	})
	u.away()
	u.step("reinstalled", "e2e", c.install)
	c.oldTrust()

	d := k.report().since(u.begun)
	duplicates := k.audit()
	c.figures("upgrade: %d custom resources and definitions, %d times byte for byte as before; %d calls, %d failed, %d unknown, %d missed, %d duplicates, slowest %d ms",
		len(u.before), u.compared, d.Begun, d.Failed, d.Unknown, d.Missed, duplicates, d.Slowest)
	if d.Failed+duplicates+d.Missed > 0 {
		c.Errorf("%d calls failed, %d ran more than once, for %d the caller was too late: %s", d.Failed, duplicates, d.Missed, d.errors())
	}
}

// upgrade is what the steps of the scenario have in common.
type upgrade struct {
	*caller
	// begun is the caller's report before the first step.
	begun *report
	// timeout is that of the policy for work.
	timeout time.Duration
	// before is what users wrote, authority what the operator had made, as found at
	// the beginning.
	before, authority map[string]string
	// compared counts how often they were compared.
	compared int
}

// step brings another operator, and looks whether it left everything alone, and
// works: a policy that is changed is in force, and its status says so.
func (u *upgrade) step(name, tag string, do func()) {
	u.Helper()
	began, before := time.Now(), u.report()
	do()
	u.rolledOut(operatorSpace, "fairlead-manager")
	took := time.Since(began)
	for _, pod := range u.pods(operatorSpace, "app.kubernetes.io/component=manager") {
		if image := pod.Spec.Containers[0].Image; image != operatorImage+":"+tag {
			u.Errorf("%s: replica %s runs %s", name, pod.Name, image)
		}
	}
	u.unchanged(name)
	u.timeout += time.Second
	force := u.change(u.timeout)
	u.before = u.stored() // but for the policy that was just changed
	u.settled()
	u.unchanged(name + ", statuses written")
	d := u.report().since(before)
	u.figures("upgrade: %s: %.1f s, a policy in force after %d ms, %d calls, %d failed", name, took.Seconds(), force.Milliseconds(), d.Begun, d.Failed)
	if force > noticed {
		u.Errorf("%s: a policy was in force after %s, want within %s", name, force, noticed)
	}
}

// away uninstalls both charts, one after the other, while calls are made.
func (u *upgrade) away() {
	before := u.report()
	u.helm("uninstall", "fairlead", "--namespace", operatorSpace, "--wait")
	u.eventually(patience, "the end of what the release had made", u.leftovers)
	gone, begun := time.Now(), u.report()
	u.unchanged("uninstalled")
	u.definitions()
	u.made(begun, absent)
	u.unchanged("uninstalled, definitions too")
	d := u.report().since(before)
	u.figures("upgrade: uninstalled for %.1f s, %d calls, %d failed", time.Since(gone).Seconds(), d.Begun, d.Failed)
}

// definitions uninstalls the chart of the definitions, which stay, tries to bring
// older ones, and to roll back to them.
func (u *upgrade) definitions() {
	helm := func(args ...string) (string, error) {
		return u.try("", filepath.Join(u.bin, "helm"), append(args, "--namespace", operatorSpace)...)
	}
	number := u.number()
	older, chart := filepath.Join(u.TempDir(), "fairlead-crds-0.0.1.tgz"), filepath.Join(u.root, "charts/fairlead-crds")
	u.helm("package", chart, "--version", "0.0.1", "--destination", filepath.Dir(older))
	u.helm("uninstall", "fairlead-crds", "--namespace", operatorSpace, "--wait")
	u.unchanged("definitions uninstalled")
	u.eventually(patience, "the end of the guard", func() error { return u.guard(false) })
	if _, err := helm("install", "fairlead-crds", older); err == nil || !strings.Contains(err.Error(), tooOld) {
		u.Errorf("installing an older chart over definitions that were kept: %v, want a refusal", err)
	}
	if now := u.number(); now != number {
		u.Errorf("the definitions' number is %d after a refusal, want %d", now, number)
	}
	// By force, so that there is something to roll back to.
	u.helm("install", "fairlead-crds", older, "--namespace", operatorSpace, "--set", "forwardOnly=false")
	if now := u.number(); now >= number {
		u.Errorf("the definitions' number is %d, want less than %d: nothing that follows says anything", now, number)
	}
	// Helm would take forwardOnly=false along, here and after the failed rollback.
	forward := func() { u.helm("upgrade", "fairlead-crds", chart, "--namespace", operatorSpace, "--reset-values") }
	forward()
	u.eventually(patience, "the guard of the definitions", func() error { return u.guard(true) })
	if _, err := helm("rollback", "fairlead-crds"); err == nil || !strings.Contains(err.Error(), tooOld) {
		u.Errorf("rolling the definitions back: %v, want a refusal", err)
	}
	if now := u.number(); now != number {
		u.Errorf("the definitions' number is %d after a rollback, want %d", now, number)
	}
	forward()
}

// unchanged compares with what was before.
func (u *upgrade) unchanged(when string) {
	u.Helper()
	u.compared++
	for _, pair := range [][2]map[string]string{{u.before, u.stored()}, {u.authority, u.kept()}} {
		was, is := pair[0], pair[1]
		for _, name := range slices.Sorted(maps.Keys(was)) {
			if is[name] != was[name] {
				u.Errorf("%s: %s is\n%s\nwant, as before,\n%s", when, name, is[name], was[name])
			}
		}
		if len(is) != len(was) {
			u.Errorf("%s: there are %d, want %d: %v", when, len(is), len(was), slices.Sorted(maps.Keys(is)))
		}
	}
}

// leftovers looks for what uninstalling the operator's chart has left. That is the
// Pod of helm test alone: Helm leaves hooks to who wants to read their logs.
func (u *upgrade) leftovers() error {
	lists, err := u.kube.Discovery().ServerPreferredResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return err
	}
	for _, list := range lists {
		for _, resource := range list.APIResources {
			if !slices.Contains(resource.Verbs, "list") {
				continue
			}
			var found metav1.PartialObjectMetadataList
			found.SetGroupVersionKind(schema.FromAPIVersionAndKind(list.GroupVersion, resource.Kind+"List"))
			if err := u.objects.List(u.Context(), &found, client.MatchingLabels{"app.kubernetes.io/instance": "fairlead"}); err != nil {
				return fmt.Errorf("%s in %s: %w", resource.Name, list.GroupVersion, err)
			}
			for _, item := range found.Items {
				if item.Annotations["helm.sh/hook"] == "" {
					return fmt.Errorf("%s %s is still there", resource.Name, item.Name)
				}
			}
		}
	}
	return nil
}

// number is the lowest that the definitions have: it is never to fall.
func (c *cluster) number() int {
	c.Helper()
	lowest := math.MaxInt
	for _, resource := range resources {
		definition := c.definition(resource)
		n, err := strconv.Atoi(definition.GetAnnotations()["rpc.fairlead.dev/definitions"])
		if err != nil {
			c.Fatalf("definition of %s: %v", resource, err)
		}
		lowest = min(lowest, n)
	}
	return lowest
}

// guard tries to take the number off a definition, which the admission policy does
// not let happen: it is obeyed, and forgotten, a moment after it was made, or
// removed.
func (c *cluster) guard(want bool) error {
	definition := c.definition(resources[0])
	definition.SetAnnotations(nil)
	err := c.objects.Update(c.Context(), definition, client.DryRunAll)
	switch {
	case apierrors.IsConflict(err):
		return err
	case want && err == nil:
		return errors.New("the number may be taken off a definition")
	case !want && err != nil:
		return fmt.Errorf("the number may not be taken off a definition yet: %w", err)
	case err != nil && !strings.Contains(err.Error(), tooOld):
		return err
	}
	return nil
}

func (c *cluster) definition(resource string) *unstructured.Unstructured {
	c.Helper()
	var definition unstructured.Unstructured
	definition.SetAPIVersion("apiextensions.k8s.io/v1")
	definition.SetKind("CustomResourceDefinition")
	if err := c.objects.Get(c.Context(), client.ObjectKey{Name: resource + "." + group}, &definition); err != nil {
		c.Fatal(err)
	}
	return &definition
}

// frozenTrust keeps what callers are told of the registry now where nobody brings
// it up to date.
func (c *cluster) frozenTrust() {
	told, err := json.Marshal(c.told().Data)
	if err != nil {
		c.Fatal(err)
	}
	c.apply(fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "frozen-trust"}, "data": %s}`, told))
}

// oldTrust starts a caller that knows of the registry only what was kept then: no
// state, and no other authority.
func (c *cluster) oldTrust() {
	c.apply(c.manifest("trust.yaml"))
	const pod = "probe-old-trust"
	c.eventually(patience, pod, func() error {
		var r report
		if err := c.askJSON(pod, "/report", &r); err != nil {
			return err
		}
		if r.Answered == 0 {
			return fmt.Errorf("of %d calls none was answered: %s", r.Begun, r.errors())
		}
		return nil
	})
	c.figures("upgrade: a caller that knows only the authority of before has its calls answered")
	grace := int64(1)
	if err := c.kube.CoreV1().Pods(space).Delete(c.Context(), pod, metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		c.Fatal(err)
	}
}
