// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package replicas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/controllers/registry/admin"
	"github.com/fairlead/fairlead/internal/publish"
)

// patience bounds every wait; nothing waits for as long when all is well.
const patience = 10 * time.Second

// pods is an API server that has Pods, or refuses to list them.
type pods struct {
	client.Reader
	all []corev1.Pod
	err error
	// asked is how Pods were asked for.
	asked client.ListOptions
}

func (p *pods) List(_ context.Context, into client.ObjectList, options ...client.ListOption) error {
	for _, o := range options {
		o.ApplyToList(&p.asked)
	}
	into.(*corev1.PodList).Items = slices.Clone(p.all)
	return p.err
}

// pod makes a replica that is ready.
func pod(name string, change ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "fairlead-system"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "mesh"}, {Name: "manager", Ports: []corev1.ContainerPort{{Name: "registry", ContainerPort: 7443}, {Name: "admin", ContainerPort: 9082}}},
		}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	for _, f := range change {
		f(&p)
	}
	return p
}

// dialer is a kubelet: by the name of a Pod, what answers there.
type dialer struct {
	t  *testing.T
	at map[string]http.Handler
	// err, by the name of a Pod, is why it cannot be reached.
	err map[string]error

	mu    sync.Mutex // guards ports
	ports []string
}

func (d *dialer) Dial(ctx context.Context, namespace, pod string, port int32) (io.ReadWriteCloser, error) {
	d.mu.Lock()
	d.ports = append(d.ports, fmt.Sprintf("%s/%s:%d", namespace, pod, port))
	d.mu.Unlock()
	if err := d.err[pod]; err != nil {
		return nil, err
	}
	if d.at[pod] == nil { // it takes the connection and says nothing
		here, there := net.Pipe()
		d.t.Cleanup(func() { _ = there.Close() })
		go func() { _, _ = io.Copy(io.Discard, there) }()
		return here, nil
	}
	server := httptest.NewServer(d.at[pod])
	d.t.Cleanup(server.Close)
	var nd net.Dialer
	return nd.DialContext(ctx, "tcp", server.Listener.Addr().String())
}

// replica answers as one does.
func replica(t *testing.T, name string, asked *publish.HeldQuery) http.Handler {
	t.Helper()
	l, err := admin.New(admin.Config{Address: "127.0.0.1:0", Metrics: prometheus.NewRegistry(), Held: func(q publish.HeldQuery) publish.Held {
		if asked != nil {
			*asked = q
		}
		return publish.Held{Replica: name, Clients: []publish.HeldClient{{Namespace: "web", Pod: "checkout-1"}}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (d *dialer) asker(all ...corev1.Pod) *Asker {
	return &Asker{Pods: &pods{all: all}, Dialer: d, Namespace: "fairlead-system"}
}

func why(a *Answer) string {
	var all []string
	for _, f := range a.Failed {
		all = append(all, f.Pod+" "+f.Why)
	}
	return strings.Join(all, "\n")
}

func TestAsk(t *testing.T) {
	asked := publish.HeldQuery{}
	d := &dialer{t: t, at: map[string]http.Handler{"b": replica(t, "two", nil), "a": replica(t, "one", &asked)}}
	list := &pods{all: []corev1.Pod{pod("b"), pod("a"), pod("pending", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending })}}
	got, err := (&Asker{Pods: list, Dialer: d, Namespace: "fairlead-system"}).Ask(t.Context(), publish.HeldQuery{Services: []string{"shop/arith", "shop/b"}, Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Held) != 2 || got.Held[0].Replica != "one" || got.Held[1].Replica != "two" || len(got.Failed) != 0 || got.Held[0].Clients[0].Pod != "checkout-1" {
		t.Errorf("got %+v", got)
	}
	if !slices.Equal(asked.Services, []string{"shop/arith", "shop/b"}) || asked.Namespace != "shop" {
		t.Errorf("asked for %+v", asked)
	}
	slices.Sort(d.ports)
	if !slices.Equal(d.ports, []string{"fairlead-system/a:9082", "fairlead-system/b:9082"}) {
		t.Errorf("dialled %v", d.ports)
	}
	if s := list.asked.LabelSelector.String(); list.asked.Namespace != "fairlead-system" || s != "app.kubernetes.io/component=manager,app.kubernetes.io/name=fairlead" {
		t.Errorf("listed %q in %q", s, list.asked.Namespace)
	}
}

// TestEachFailureIsNamed: replicas that cannot be asked, in each way, and one
// that can.
func TestEachFailureIsNamed(t *testing.T) {
	says := func(code int, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body) // the test sees what came
		})
	}
	now := metav1.Now()
	d := &dialer{
		t: t,
		at: map[string]http.Handler{
			"fine": replica(t, "fine", nil), "busy": says(http.StatusServiceUnavailable, `{"error": "try again"}`), "garbled": says(http.StatusOK, "{"),
			"cut": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "10") }),
		},
		err: map[string]error{"closed": errors.New("connection refused"), "locked": &ForbiddenError{"create", "pods/portforward", "fairlead-system"}},
	}
	a := d.asker(pod("fine"), pod("busy"), pod("garbled"), pod("cut"), pod("closed"), pod("locked"), pod("silent"),
		pod("unready", func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }),
		pod("ending", func(p *corev1.Pod) { p.DeletionTimestamp = &now }),
		pod("old", func(p *corev1.Pod) { p.Spec.Containers[1].Ports = nil }))
	a.Timeout = 500 * time.Millisecond
	got, err := a.Ask(t.Context(), publish.HeldQuery{})
	if err != nil || len(got.Held) != 1 || got.Held[0].Replica != "fine" {
		t.Fatalf("%+v, %v", got, err)
	}
	for i, want := range []string{
		"busy answers 503 Service Unavailable: try again", "closed connection refused", "cut breaks off in the middle", "ending is ending",
		"garbled answers what is not understood", "locked you may not create pods/portforward", "old has no port named admin",
		"silent did not answer in time", "unready is not ready",
	} {
		if i >= len(got.Failed) || !strings.HasPrefix(got.Failed[i].Pod+" "+got.Failed[i].Why, want) {
			t.Fatalf("failure %d is not %q:\n%s", i, want, why(got))
		}
	}
}

// TestAtMostAsLongAsOne: replicas are asked at the same time.
func TestAtMostAsLongAsOne(t *testing.T) {
	d := &dialer{t: t}
	var all []corev1.Pod
	for i := range maxReplicas + 1 {
		all = append(all, pod(fmt.Sprintf("silent-%02d", i)))
	}
	a := d.asker(all...)
	a.Timeout = time.Second
	began := time.Now()
	got, err := a.Ask(t.Context(), publish.HeldQuery{})
	if err != nil || len(got.Failed) != maxReplicas+1 || len(d.ports) != maxReplicas {
		t.Fatalf("%d failed, %d asked, %v", len(got.Failed), len(d.ports), err)
	}
	if last := got.Failed[maxReplicas].Why; !strings.Contains(last, "more than 64") {
		t.Errorf("the last one %s", last)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("%s for replicas that get %s each", took, a.Timeout)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := a.Ask(ended, publish.HeldQuery{}); err != nil || len(got.Held) != 0 || !strings.Contains(why(got), "in time") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNobodyToAsk(t *testing.T) {
	d := &dialer{t: t, err: map[string]error{"a": &ForbiddenError{"create", "pods/portforward", "fairlead-system"}}}
	var forbidden *ForbiddenError
	if _, err := d.asker(pod("a")).Ask(t.Context(), publish.HeldQuery{}); !errors.As(err, &forbidden) || forbidden.Resource != "pods/portforward" {
		t.Errorf("without the right to forward: %v", err)
	}
	a := d.asker()
	if _, err := a.Ask(t.Context(), publish.HeldQuery{}); !errors.Is(err, ErrNoReplica) || !strings.Contains(err.Error(), "fairlead-system") {
		t.Errorf("without a Pod: %v", err)
	}
	a.Pods = &pods{err: apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))}
	if _, err := a.Ask(t.Context(), publish.HeldQuery{}); !errors.As(err, &forbidden) || forbidden.Verb != "list" {
		t.Errorf("without the right to list: %v", err)
	}
	a.Pods = &pods{err: errors.New("away")}
	if _, err := a.Ask(t.Context(), publish.HeldQuery{}); err == nil || !strings.Contains(err.Error(), "away") {
		t.Errorf("without an API server: %v", err)
	}
}

// TestAnswersAreBounded: what is too much is not read.
func TestAnswersAreBounded(t *testing.T) {
	d := &dialer{t: t, at: map[string]http.Handler{"a": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		block := []byte(strings.Repeat(" ", 1<<20))
		for range maxAnswer>>20 + 8 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
		_ = json.NewEncoder(w).Encode(publish.Held{}) // nobody reads it
	})}}
	a := d.asker(pod("a"))
	a.Timeout = patience
	if got, err := a.Ask(t.Context(), publish.HeldQuery{}); err != nil || len(got.Held) != 0 || !strings.Contains(why(got), "more than") {
		t.Errorf("%+v, %v", got, err)
	}
}
