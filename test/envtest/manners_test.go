// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// requests counts what an operator asks of the API server.
type requests struct {
	mu  sync.Mutex
	all map[string]int
}

// counting has an operator's requests counted.
func counting(c *cluster) (*requests, func(*controllers.Options)) {
	r := &requests{all: map[string]int{}}
	return r, func(o *controllers.Options) {
		o.Config = rest.CopyConfig(c.operator)
		o.Config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(request *http.Request) (*http.Response, error) {
				r.count(request)
				return next.RoundTrip(request)
			})
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// count notes a request as VERB and what it is about: the resource for reads, the
// path below it, too, for writes. Renewals of Leases are left out.
func (r *requests) count(request *http.Request) {
	path := request.URL.Path
	if strings.Contains(path, "/coordination.k8s.io/") {
		return
	}
	before := 2 // group and version
	if strings.HasPrefix(path, "/api/") {
		before = 1 // the core group has a version only
	}
	parts := strings.Split(strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/"), "/")
	if len(parts) <= before || !strings.HasPrefix(path, "/api") {
		return // discovery, and the cluster's keys
	}
	parts = parts[before:]
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	verb, about := request.Method, strings.Join(parts, "/")
	if verb == http.MethodGet {
		switch query := request.URL.Query(); {
		case query.Get("watch") != "":
			verb = "WATCH"
		case len(parts) == 1:
			verb = "LIST"
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all[verb+" "+about]++
}

// of gives the requests with a verb, sorted: what each is about, and how often.
func (r *requests) of(verbs ...string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []string
	for _, what := range slices.Sorted(maps.Keys(r.all)) {
		if verb, about, _ := strings.Cut(what, " "); slices.Contains(verbs, verb) {
			found = append(found, fmt.Sprintf("%s x%d", about, r.all[what]))
		}
	}
	return strings.Join(found, ", ")
}

func (r *requests) writes() string {
	return r.of(http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete)
}

// compiles is how many services were compiled.
func (r *replica) compiles(t *testing.T) (n uint64) {
	t.Helper()
	families, err := r.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "fairlead_compile_duration_seconds" {
			n = f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	return n
}

// wantCompiles has something changed, and that compile as many services as it
// concerns and no more. What marks the end is one change more, of marker's slice.
func (s *space) wantCompiles(operator *replica, marker *marker, what string, want uint64, change func()) {
	s.t.Helper()
	before := operator.compiles(s.t)
	change()
	marker.move()
	if got := operator.compiles(s.t) - before; got != want+1 {
		s.t.Errorf("%s: %d services were compiled, want %d", what, got-1, want)
	}
}

// marker is a service whose subscriber sees that all before it was taken up.
type marker struct {
	s    *space
	got  *seen
	name string
	n    int
}

// move gives the marker another endpoint, and waits until that has come.
func (m *marker) move() {
	m.s.t.Helper()
	m.n++
	one := slice(m.name+"-1", m.name)
	one.Namespace = m.s.name
	m.s.update(one, func() { one.Endpoints = slice("", "", pod(m.n)).Endpoints })
	wantEndpoints(m.s.t, m.got, fmt.Sprintf("%d.%d=ready", m.n/250, m.n%250+1))
}

// TestManners counts what the operator does to the API server: over objects that
// are all in order, it watches each kind once, lists none and writes nothing; a
// change compiles the services that it concerns.
func TestManners(t *testing.T) {
	const services = 20
	c := ownCluster(t)
	s := c.space(t)
	told := func(o *controllers.Options) { o.RegistryAdvertise = []string{advertised} }
	first := c.run(t, told)
	for n := range services {
		name := fmt.Sprintf("svc-%d", n)
		s.create(kubeService(name), rpcService(name), slice(name+"-1", name, pod(n)), callPolicy(name, name, timeout("1s")))
	}
	for n := range services {
		name := fmt.Sprintf("svc-%d", n)
		wantCondition(t, s, v1alpha1.KindRPCCallPolicy, name, v1alpha1.ConditionReady, "True/Ready")
		wantCondition(t, s, v1alpha1.KindRPCService, name, v1alpha1.ConditionEndpointsAvailable, "True/EndpointsReady")
		wantClients(t, s, v1alpha1.KindRPCService, name, "0/0")
		wantClients(t, s, v1alpha1.KindRPCCallPolicy, name, "0/0")
	}
	eventually(t, func() error {
		return c.admin.Get(t.Context(), client.ObjectKey{Namespace: s.name, Name: "fairlead-registry"}, &corev1.ConfigMap{})
	})
	first.end(t)

	asked, counted := counting(c)
	second := c.run(t, told, counted)
	eventually(t, func() error {
		if second.value(t, "fairlead_lease_held") != 1 {
			return errors.New("does not hold the Lease")
		}
		return nil
	})
	// Its own status is the last to be written, and is written with a count of
	// clients, which comes after all others were looked at.
	s.create(kubeService("marker"), rpcService("marker"), slice("marker-1", "marker", pod(0)))
	wantCondition(t, s, v1alpha1.KindRPCService, "marker", v1alpha1.ConditionEndpointsAvailable, "True/EndpointsReady")
	wantClients(t, s, v1alpha1.KindRPCService, "marker", "0/0")
	for _, write := range strings.Split(asked.writes(), ", ") {
		if !strings.HasPrefix(write, "rpcservices/marker/status x") {
			t.Errorf("written although nothing had changed: %s", write)
		}
	}
	want := "configmaps x1, endpointslices x1, namespaces x1, rpccallpolicies x1, rpclimitpolicies x1, rpcservices x1, services x1"
	if got := asked.of("WATCH"); got != want {
		t.Errorf("watches: %s\nwant: %s", got, want)
	}
	if got := asked.of("LIST"); got != "" {
		t.Errorf("lists, where watches can bring all: %s", got)
	}
	if n := second.compiles(t); n < services || n > 2*services+4 {
		t.Errorf("%d services were compiled at the start, want %d and a few for the marker", n, services)
	}
	s.changeAll(t, second)
	if got := asked.of("WATCH") + asked.of("LIST"); got != want {
		t.Errorf("changes have led to more watches or lists: %s", got)
	}
}

// changeAll changes one thing after the other, and counts.
func (s *space) changeAll(t *testing.T, operator *replica) {
	t.Helper()
	caller := newWatch(t, s.name, operator.address)
	m := &marker{s: s, name: "marker", got: watch(t, caller, s.full("marker"))}
	// The subscriber is a client to be counted, in statuses.
	m.move()
	one, service, call := slice("svc-7-1", "svc-7"), rpcService("svc-7"), callPolicy("svc-7", "svc-7", timeout("1s"))
	for _, o := range []client.Object{one, service, call} {
		o.SetNamespace(s.name)
	}
	s.wantCompiles(operator, m, "nothing", 0, func() {})
	s.wantCompiles(operator, m, "a slice", 1, func() {
		s.update(one, func() { one.Endpoints[0].Addresses[0] = "10.9.9.9" })
	})
	s.wantCompiles(operator, m, "an annotation of a namespace", 0, func() {
		namespace := &corev1.Namespace{}
		namespace.Name = s.name
		s.update(namespace, func() { namespace.Annotations = map[string]string{"a": "b"} })
	})
	s.wantCompiles(operator, m, "a status", 0, func() {
		s.get(service)
		service.Status.Conditions[0].Message = "meddled with"
		if err := s.c.admin.Status().Update(t.Context(), service); err != nil {
			t.Fatal(err)
		}
	})
	s.wantCompiles(operator, m, "a policy", 1, func() { s.update(call, func() { timeout("2s")(&call.Spec) }) })
	s.wantCompiles(operator, m, "a slice of a Service that nobody names", 0, func() {
		s.create(slice("other-1", "other", pod(1)))
	})
}

// TestWatchesWithTLS names all that an operator with TLS follows: Pods are one
// watch more, and clients, however many, are none.
func TestWatchesWithTLS(t *testing.T) {
	s := common.space(t)
	asked, counted := counting(common)
	operator := common.run(t, secured, counted)
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)))
	m := s.mount("caller")
	m.configMap()
	m.write("token", m.token("fairlead"))
	for range 20 {
		got := &seen{}
		t.Cleanup(m.client(t.TempDir(), operator.address).Watch(s.full("cart"), policy.Caller, got))
		wantEndpoints(t, got, "0.2=ready")
	}
	// An API server may end the watches of kinds whose definitions are new to it.
	got := regexp.MustCompile(`(rpc\w+) x\d+`).ReplaceAllString(asked.of("WATCH"), "$1")
	want := "configmaps x1, endpointslices x1, namespaces x1, pods x1, rpccallpolicies, rpclimitpolicies, rpcservices, secrets x1, services x1"
	if got != want {
		t.Errorf("watches: %s\nwant: %s", got, want)
	}
	if got := asked.of("LIST"); got != "" {
		t.Errorf("lists: %s", got)
	}
}
