// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// TestSamples applies what a newcomer applies: callers get it, and kubectl shows
// that all is well.
func TestSamples(t *testing.T) {
	s := common.space(t)
	operator := common.run(t)
	got := watch(t, newWatch(t, s.name, operator.address), s.full("arith"))
	files, err := filepath.Glob(root("config", "samples", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	for _, file := range files {
		objects, err := read(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			s.create(o)
		}
	}
	s.create(slice("arith-1", "arith", pod(1), pod(2), conditioned(pod(3), false, false, false)))
	wantEndpoints(t, got, "0.2=ready 0.3=ready 0.4=suspect")
	eventually(t, func() error {
		if e := got.last().Effective("Arith.Mul"); e.Timeout != 300*time.Millisecond || e.Attempts != 3 {
			return fmt.Errorf("timeout %s, attempts %d", e.Timeout, e.Attempts)
		}
		return nil
	})
	for resource, want := range map[string]string{
		"rpcservices":      "NAME=arith READY=True ENDPOINTS=2/3",
		"rpccallpolicies":  "NAME=arith READY=True TARGETS=1/1",
		"rpclimitpolicies": "NAME=arith READY=True TARGETS=1/1",
	} {
		eventually(t, func() error {
			if row := columns(t, s, resource, "arith"); !strings.HasPrefix(row, want) {
				return fmt.Errorf("%s shows %q, want %q", resource, row, want)
			}
			return nil
		})
	}
	service := &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Namespace: s.name, Name: "arith"}}
	s.get(service)
	for _, spec := range v1alpha1.Catalogue() {
		if contains(spec.Kinds, v1alpha1.KindRPCService) && meta.FindStatusCondition(service.Status.Conditions, spec.Type) == nil {
			t.Errorf("condition %s is missing", spec.Type)
		}
	}
	if service.Status.ObservedGeneration != service.Generation {
		t.Errorf("observedGeneration %d, generation %d", service.Status.ObservedGeneration, service.Generation)
	}
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// columns gives what kubectl get shows of an object.
func columns(t *testing.T, s *space, resource, name string) string {
	t.Helper()
	httpClient, err := rest.HTTPClientFor(s.c.env.Config)
	if err != nil {
		t.Fatal(err)
	}
	url := fmt.Sprintf("%s/apis/%s/namespaces/%s/%s/%s", strings.TrimSuffix(s.c.env.Config.Host, "/"),
		v1alpha1.GroupVersion, s.name, resource, name)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	response, err := httpClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var table metav1.Table
	if err := json.NewDecoder(response.Body).Decode(&table); err != nil || len(table.Rows) != 1 {
		t.Fatalf("table of %s: %v, %d rows", resource, err, len(table.Rows))
	}
	var cells []string
	for i, c := range table.ColumnDefinitions {
		cells = append(cells, fmt.Sprintf("%s=%v", strings.ToUpper(c.Name), table.Rows[0].Cells[i]))
	}
	return strings.Join(cells, " ")
}

// wantCondition waits until an object's status has a condition with a reason.
func wantCondition(t *testing.T, s *space, kind, name, condition, want string) metav1.Condition {
	t.Helper()
	var found metav1.Condition
	eventually(t, func() error {
		o := &unstructured.Unstructured{}
		o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
		o.SetNamespace(s.name)
		o.SetName(name)
		s.get(o)
		text, err := json.Marshal(o.Object["status"])
		if err != nil {
			return err
		}
		var status struct{ Conditions []metav1.Condition }
		if err := json.Unmarshal(text, &status); err != nil {
			return err
		}
		c := meta.FindStatusCondition(status.Conditions, condition)
		if c == nil {
			return errors.New(condition + " is missing")
		}
		if got := string(c.Status) + "/" + c.Reason; got != want {
			return fmt.Errorf("%s is %s (%s), want %s", condition, got, c.Message, want)
		}
		if c.ObservedGeneration != o.GetGeneration() {
			return fmt.Errorf("%s is of generation %d, not %d", condition, c.ObservedGeneration, o.GetGeneration())
		}
		found = *c
		return nil
	})
	return found
}

// TestUnknownTargets names what is not there, until it is.
func TestUnknownTargets(t *testing.T) {
	s := common.space(t)
	common.run(t)
	s.create(callPolicy("lost", "cart", timeout("1s")), rpcService("shop"))
	wantCondition(t, s, v1alpha1.KindRPCCallPolicy, "lost", v1alpha1.ConditionAccepted, "False/TargetNotFound")
	wantCondition(t, s, v1alpha1.KindRPCCallPolicy, "lost", v1alpha1.ConditionReady, "False/NotAccepted")
	wantCondition(t, s, v1alpha1.KindRPCService, "shop", v1alpha1.ConditionResolvedRefs, "False/ServiceNotFound")
	wantCondition(t, s, v1alpha1.KindRPCService, "shop", v1alpha1.ConditionProgrammed, "True/Programmed")

	s.create(rpcService("cart"), kubeService("shop"), slice("shop-1", "shop", pod(1)))
	accepted := wantCondition(t, s, v1alpha1.KindRPCCallPolicy, "lost", v1alpha1.ConditionReady, "True/Ready")
	if accepted.LastTransitionTime.IsZero() {
		t.Error("a condition without a time")
	}
	wantCondition(t, s, v1alpha1.KindRPCService, "shop", v1alpha1.ConditionEndpointsAvailable, "True/EndpointsReady")
}

// TestStatusIsAProjection has somebody else write into a status: what is ours is
// put right, what is theirs stays.
func TestStatusIsAProjection(t *testing.T) {
	s := common.space(t)
	common.run(t)
	service, bad := rpcService("cart"), rpcService("bad")
	bad.Spec.Source = v1alpha1.ServiceSource{Type: v1alpha1.SourceRegistered}
	s.create(bad, kubeService("cart"), service, slice("cart-1", "cart", pod(1)))
	wantCondition(t, s, v1alpha1.KindRPCService, "cart", v1alpha1.ConditionReady, "True/Ready")
	wantCondition(t, s, v1alpha1.KindRPCService, "bad", v1alpha1.ConditionAccepted, "False/UnsupportedSource")
	eventually(t, func() error {
		s.get(service)
		for i := range service.Status.Conditions {
			if c := &service.Status.Conditions[i]; c.Type == v1alpha1.ConditionReady {
				c.Status, c.Reason = metav1.ConditionFalse, "Meddled"
			}
		}
		service.Status.Conditions = append(service.Status.Conditions, metav1.Condition{
			Type: "Audited", Status: metav1.ConditionTrue, Reason: "Fine", LastTransitionTime: metav1.Now(),
		})
		return s.c.admin.Status().Update(t.Context(), service)
	})
	wantCondition(t, s, v1alpha1.KindRPCService, "cart", v1alpha1.ConditionReady, "True/Ready")
	s.get(service)
	if meta.FindStatusCondition(service.Status.Conditions, "Audited") == nil {
		t.Error("another controller's condition is gone")
	}
}

// TestPoliciesMerge has two policies of the owner and one of a caller's
// namespace decide field by field.
func TestPoliciesMerge(t *testing.T) {
	owner, callers := common.space(t, "owner"), common.space(t, "callers")
	operator := common.run(t)
	own := watch(t, newWatch(t, owner.name, operator.address), owner.full("cart"))
	theirs := watch(t, newWatch(t, callers.name, operator.address), owner.full("cart"))

	three := int32(3)
	attempts := func(s *v1alpha1.RPCCallPolicySpec) { s.Retry = &v1alpha1.RetryPolicy{Attempts: &three} }
	first := callPolicy("older", "cart", timeout("2s"))
	owner.create(kubeService("cart"), rpcService("cart", idempotent("Cart.Get")), slice("cart-1", "cart", pod(1)), first)
	wantCondition(t, owner, v1alpha1.KindRPCCallPolicy, "older", v1alpha1.ConditionReady, "True/Ready")
	// Ages count by the second; of the same age the name decides, as here.
	owner.create(callPolicy("other", "cart", func(s *v1alpha1.RPCCallPolicySpec) { timeout("5s")(s); attempts(s) }))
	wantEffective(t, own, 2*time.Second, 3)
	wantEffective(t, theirs, 2*time.Second, 3)
	lost := wantCondition(t, owner, v1alpha1.KindRPCCallPolicy, "other", v1alpha1.ConditionProgrammed, "True/PartiallyProgrammed")
	if !strings.Contains(lost.Message, "timeout") || !strings.Contains(lost.Message, "older") {
		t.Errorf("the message names neither field nor winner: %s", lost.Message)
	}

	caller := callPolicy("ours", "cart", timeout("700ms"))
	caller.Spec.TargetRefs[0].Namespace = &owner.name
	callers.create(caller)
	wantEffective(t, theirs, 700*time.Millisecond, 3)
	wantEffective(t, own, 2*time.Second, 3)
	owner.delete(first)
	wantEffective(t, own, 5*time.Second, 3)
	wantCondition(t, owner, v1alpha1.KindRPCCallPolicy, "other", v1alpha1.ConditionProgrammed, "True/Programmed")
	callers.delete(caller)
	wantEffective(t, theirs, 5*time.Second, 3)
}

func wantEffective(t *testing.T, s *seen, timeout time.Duration, attempts int32) {
	t.Helper()
	eventually(t, func() error {
		last := s.last()
		if last == nil {
			return errors.New("no snapshot")
		}
		if e := last.Effective("Cart.Get"); e.Timeout != timeout || e.Attempts != attempts {
			return fmt.Errorf("timeout %s and %d attempts, want %s and %d", e.Timeout, e.Attempts, timeout, attempts)
		}
		return nil
	})
}

// TestNothingToWrite restarts the operator over objects that have not changed:
// no status is written, and every write that it did was needed.
func TestNothingToWrite(t *testing.T) {
	s := common.space(t)
	first := common.run(t)
	service, call := rpcService("cart"), callPolicy("cart", "cart", timeout("1s"))
	s.create(kubeService("cart"), service, call, slice("cart-1", "cart", pod(1)))
	wantCondition(t, s, v1alpha1.KindRPCCallPolicy, "cart", v1alpha1.ConditionReady, "True/Ready")
	wantCondition(t, s, v1alpha1.KindRPCService, "cart", v1alpha1.ConditionEndpointsAvailable, "True/EndpointsReady")
	wantClients(t, s, v1alpha1.KindRPCService, "cart", "0/0")
	wantClients(t, s, v1alpha1.KindRPCCallPolicy, "cart", "0/0")
	first.end(t)
	s.get(service)
	s.get(call)
	before := []string{service.ResourceVersion, call.ResourceVersion}

	second := common.run(t)
	eventually(t, func() error {
		if second.value(t, "fairlead_lease_held") != 1 {
			return errors.New("does not hold the Lease")
		}
		return nil
	})
	// What is written after this proves that whatever came before was looked at.
	marker := rpcService("marker")
	s.create(marker)
	wantCondition(t, s, v1alpha1.KindRPCService, "marker", v1alpha1.ConditionReady, "False/UnresolvedRefs")
	wantClients(t, s, v1alpha1.KindRPCService, "marker", "0/0")
	s.get(service)
	s.get(call)
	if after := []string{service.ResourceVersion, call.ResourceVersion}; fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("revisions %v have become %v", before, after)
	}
}

// TestChurn replaces a thousand endpoints, one after the other: callers follow,
// the status is written now and then.
func TestChurn(t *testing.T) {
	const pods, lost = 1000, 60
	s := common.space(t)
	operator := common.run(t)
	got := watch(t, newWatch(t, s.name, operator.address), s.full("cart"))
	var all []*discoveryv1.EndpointSlice
	for n := range pods / 100 {
		one := slice(fmt.Sprintf("cart-%d", n), "cart")
		for i := range 100 {
			one.Endpoints = append(one.Endpoints, pod(n*100+i))
		}
		all = append(all, one)
		s.create(one)
	}
	service := rpcService("cart")
	s.create(kubeService("cart"), service)
	wantReady := func(want int) {
		t.Helper()
		eventually(t, func() error {
			ready := 0
			if last := got.last(); last != nil {
				for _, e := range last.Endpoints {
					if e.State == policy.Ready {
						ready++
					}
				}
			}
			if ready != want {
				return fmt.Errorf("%d endpoints are ready, want %d", ready, want)
			}
			return nil
		})
	}
	wantReady(pods)
	wantCondition(t, s, v1alpha1.KindRPCService, "cart", v1alpha1.ConditionEndpointsAvailable, "True/EndpointsReady")
	before := operator.value(t, "fairlead_status_writes_total", "written")
	// A rolling update: in each slice one Pod after the other is told to go while
	// its successor is not there yet.
	for step := range pods/len(all) + 1 {
		for n, one := range all {
			s.update(one, func() {
				if step < len(one.Endpoints) {
					one.Endpoints[step] = conditioned(one.Endpoints[step], false, true, true)
				}
				if step > 0 {
					one.Endpoints[step-1] = pod(pods + n*100 + step - 1)
				}
			})
		}
	}
	wantReady(pods)
	if wrote := operator.value(t, "fairlead_status_writes_total", "written") - before; wrote > 10 {
		t.Errorf("%v statuses were written in a rolling update of %d endpoints, 10 are allowed", wrote, pods)
	}
	one := all[0]
	s.update(one, func() {
		for i := range lost {
			one.Endpoints[i] = conditioned(one.Endpoints[i], false, false, false)
		}
	})
	wantReady(pods - lost)
	// The last count arrives in time.
	eventually(t, func() error {
		s.get(service)
		if want := fmt.Sprintf("%d/%d", pods-lost, pods); service.Status.Summary.Endpoints != want {
			return fmt.Errorf("summary %s, want %s", service.Status.Summary.Endpoints, want)
		}
		return nil
	})
}
