// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// gentle is the load on each of several services, in calls per second.
	gentle = 100
	// atOnce is how soon calls no longer go where they should not.
	atOnce = 2 * time.Second
	// doubt is how long a service's endpoints are all said to be not ready.
	doubt = 15 * time.Second
)

// sources has RPCServices for Services of all kinds, each with a caller of its
// own, and changes what is behind them.
func (c *cluster) sources() {
	c.serve("blue", "sources", 8972, 2)
	c.serve("green", "sources", 8973, 2)
	c.apply(c.manifest("sources.yaml"))
	c.slices("doubted", "blue", true)
	callers := map[string]*caller{}
	for service, port := range map[string]string{
		"named": "calls", "headless": "rpc", "sliced": "rpc", "vacant": "rpc", "switched": "rpc", "renewed": "", "doubted": "rpc",
	} {
		c.apply(rpcService(service, port))
		callers[service] = c.calling(service, gentle, 1)
	}
	wanted := map[string]string{
		"named": "blue blue", "headless": "blue blue", "sliced": "blue blue green green", "switched": "blue blue", "renewed": "blue blue", "doubted": "blue blue",
	}
	before := map[string]*report{}
	for service := range wanted {
		callers[service].answered()
		before[service] = callers[service].report()
	}
	for service, want := range wanted {
		d := callers[service].made(before[service], 500)
		c.figures("sources: %s: %d calls, %d failed, over %s", service, d.Begun, d.Failed, d.colours())
		if d.Failed > 0 || d.colours() != want {
			c.Errorf("%s: %d calls failed, answers come from %s, want %s: %s", service, d.Failed, d.colours(), want, d.errors())
		}
	}
	c.twoSlices("sliced")
	callers["vacant"].vacant()
	callers["switched"].switched()
	callers["renewed"].renewed()
	callers["doubted"].doubted()
	for service := range callers {
		c.scale(space, service+"-caller", 0)
	}
	for _, colour := range []string{"blue", "green"} {
		c.scale(space, colour, 0)
		c.rolledOut(space, colour)
	}
}

func rpcService(name, port string) string {
	if port != "" {
		port = ", port: " + port
	}
	return fmt.Sprintf(`{apiVersion: rpc.fairlead.dev/v1alpha1, kind: RPCService, metadata: {name: %s}, spec: {
  source: {type: Service, service: {name: %s%s}}, methods: [{name: Arith.Mul, idempotency: Idempotent}]}}`, name, name, port)
}

// colours are the sets of the Pods that answered, one word for each Pod.
func (r *report) colours() string {
	var colours []string
	for _, pod := range slices.Sorted(maps.Keys(r.Pods)) {
		colour, _, _ := strings.Cut(pod, "-")
		colours = append(colours, colour)
	}
	return strings.Join(colours, " ")
}

// by is how many answers came from a set of Pods.
func (r *report) by(colour string) (n int) {
	for pod, answers := range r.Pods {
		if strings.HasPrefix(pod, colour+"-") {
			n += answers
		}
	}
	return n
}

// twoSlices looks whether a service has as many slices as it is to have.
func (c *cluster) twoSlices(service string) {
	c.Helper()
	list, err := c.kube.DiscoveryV1().EndpointSlices(space).List(c.Context(), metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service})
	if err != nil {
		c.Fatal(err)
	}
	if len(list.Items) != 2 {
		c.Errorf("%s has %d slices, want 2", service, len(list.Items))
	}
}

// vacant has a service without endpoints: calls are refused, and none is said to
// have run. Then it gets some.
func (k *caller) vacant() {
	k.Helper()
	k.eventually(patience, "the verdict on a service without endpoints", func() error {
		return condition(k.get("RPCService", "vacant"), "EndpointsAvailable", "False", "NoEndpoints", "no endpoint")
	})
	d := k.made(k.report(), 500)
	if d.Answered > 0 || d.Unknown > 0 {
		k.Errorf("vacant: %d calls were answered, of %d it is not known: %s", d.Answered, d.Unknown, d.errors())
	}
	began := time.Now()
	k.selects("vacant", "blue")
	k.sees(2)
	took := time.Since(began)
	after := k.made(k.report(), 500)
	k.figures("sources: vacant: %d calls refused unexecuted, none answered; %d ms after it got endpoints %d calls, %d failed",
		d.Failed, took.Milliseconds(), after.Begun, after.Failed)
	if after.Failed > 0 {
		k.Errorf("vacant: %d calls failed: %s", after.Failed, after.errors())
	}
	k.eventually(patience, "the verdict on a service that got endpoints", func() error {
		return condition(k.get("RPCService", "vacant"), "EndpointsAvailable", "True", "EndpointsReady", "2 of 2")
	})
}

// switched changes a selector from blue to green, whose Pods all stay.
func (k *caller) switched() {
	k.Helper()
	before := k.report()
	took := k.leaves("blue", func() { k.selects("switched", "green") })
	d := k.made(before, 500)
	k.figures("sources: switched: no answer from blue after %d ms; %d calls, %d failed", took.Milliseconds(), d.Begun, d.Failed)
	if d.Failed > 0 || d.by("green") == 0 {
		k.Errorf("switched: %d calls failed, green answered %d: %s", d.Failed, d.by("green"), d.errors())
	}
}

// renewed deletes a Service and makes it again with another port. In between
// there is nobody to call, which is believed.
func (k *caller) renewed() {
	k.Helper()
	before := k.report()
	took := k.leaves("blue", func() {
		old := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: "renewed"}}
		if err := k.objects.Delete(k.Context(), old); err != nil {
			k.Fatal(err)
		}
		k.apply(k.manifest("renewed.yaml"))
	})
	k.sees(2)
	between := k.report().since(before)
	d := k.made(k.report(), 500)
	k.figures("sources: renewed: no answer from the old port after %d ms; %d calls refused in between, %d of unknown fate; then %d calls, %d failed",
		took.Milliseconds(), between.Failed, between.Unknown, d.Begun, d.Failed)
	if between.Unknown+d.Failed > 0 || d.by("green") == 0 {
		k.Errorf("renewed: %d calls of unknown fate, then %d failed, green answered %d: %s%s", between.Unknown, d.Failed, d.by("green"), between.errors(), d.errors())
	}
	k.eventually(patience, "the verdict on a service that was made again", func() error {
		return condition(k.get("RPCService", "renewed"), "ResolvedRefs", "True", "ResolvedRefs", "only TCP port")
	})
}

// doubted has all endpoints of a service said to be not ready, while they answer
// as before. Callers go on, and the status says that something is wrong.
func (k *caller) doubted() {
	k.Helper()
	before, began := k.report(), time.Now()
	k.slices("doubted", "blue", false)
	k.sees(0)
	k.eventually(patience, "condition Degraded", func() error {
		return condition(k.get("RPCService", "doubted"), "Degraded", "True", "MassEndpointLoss", "2 of 2")
	})
	took := time.Since(began)
	k.eventually(2*doubt, "the end of the doubt", func() error {
		if time.Since(began) < doubt {
			return errors.New("not yet")
		}
		return nil
	})
	d := k.report().since(before)
	k.figures("sources: doubted: all endpoints suspect for %.0f s, %d calls, %d failed, over %s; Degraded after %.1f s",
		time.Since(began).Seconds(), d.Begun, d.Failed, d.colours(), took.Seconds())
	if d.Failed > 0 || d.Answered == 0 {
		k.Errorf("doubted: %d calls failed, %d were answered: %s", d.Failed, d.Answered, d.errors())
	}
	k.slices("doubted", "blue", true)
	k.eventually(patience, "the end of Degraded", func() error {
		return condition(k.get("RPCService", "doubted"), "Degraded", "False", "AsExpected", "")
	})
}

// leaves does something, and says how long it took until the last answer from
// Pods of a colour that the caller reports.
func (k *caller) leaves(colour string, do func()) (took time.Duration) {
	k.Helper()
	began := time.Now()
	do()
	last, answers := began, k.report().by(colour)
	k.eventually(patience, "no more answers from "+colour, func() error {
		r, err := k.tryReport()
		if err != nil {
			return err
		}
		if n := r.by(colour); n > answers {
			last, answers = time.Now(), n
		}
		if time.Since(last) < atOnce {
			return fmt.Errorf("it has given %d", answers)
		}
		return nil
	})
	if took = last.Sub(began); took > atOnce {
		k.Errorf("%s: answers from %s until %s after the change, want none after %s", k.pod, colour, took, atOnce)
	}
	return took
}

// selects changes what a Service selects.
func (c *cluster) selects(service, name string) {
	c.Helper()
	object := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: space, Name: service}}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"selector":{"app.kubernetes.io/name":"%s"}}}`, name))
	if err := c.objects.Patch(c.Context(), object, patch); err != nil {
		c.Fatal(err)
	}
}

// slices makes two slices for a service without a selector, each with one Pod of
// a colour, and says how they are.
func (c *cluster) slices(service, colour string, ready bool) {
	c.Helper()
	for i, pod := range c.pods(space, "app.kubernetes.io/name="+colour) {
		c.apply(fmt.Sprintf(`{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice,
  metadata: {name: %s-%d, labels: {kubernetes.io/service-name: %s}},
  addressType: IPv4, ports: [{name: rpc, protocol: TCP, port: 8972}],
  endpoints: [{addresses: [%s], conditions: {ready: %v, serving: %v, terminating: false}}]}`,
			service, i, service, pod.Status.PodIP, ready, ready))
	}
}
