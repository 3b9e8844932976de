// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package projection

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

var (
	start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	then  = metav1.NewTime(start)
	now   = metav1.NewTime(start.Add(time.Hour))
)

func condition(kind string, status metav1.ConditionStatus, reason, message string, at metav1.Time) metav1.Condition {
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: 1, LastTransitionTime: at}
}

func TestConditions(t *testing.T) {
	foreign := condition("Audited", metav1.ConditionTrue, "Fine", "", then)
	observed := []metav1.Condition{
		condition("Ready", metav1.ConditionTrue, "Ready", "old", then), foreign,
		condition("Accepted", metav1.ConditionFalse, "Invalid", "", then),
	}
	got := Conditions(observed, []metav1.Condition{
		condition("Accepted", metav1.ConditionTrue, "Accepted", "", metav1.Time{}),
		condition("Ready", metav1.ConditionTrue, "Ready", "new", metav1.Time{}),
		condition("Programmed", metav1.ConditionTrue, "Programmed", "", metav1.Time{}),
	}, now)
	want := []metav1.Condition{
		condition("Ready", metav1.ConditionTrue, "Ready", "new", then), foreign,
		condition("Accepted", metav1.ConditionTrue, "Accepted", "", now),
		condition("Programmed", metav1.ConditionTrue, "Programmed", "", now),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if observed[0].Message != "old" {
		t.Error("what was observed is shared, and was changed")
	}
}

func TestServiceChange(t *testing.T) {
	base := v1alpha1.RPCServiceStatus{
		ObservedGeneration: 1, Summary: &v1alpha1.RPCServiceSummary{Endpoints: "2/3"},
		Conditions: []metav1.Condition{
			condition(v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready", "", then),
			condition(v1alpha1.ConditionEndpointsAvailable, metav1.ConditionTrue, "EndpointsReady", "2 of 3", then),
		},
	}
	tests := []struct {
		name   string
		change func(*v1alpha1.RPCServiceStatus)
		want   Change
	}{
		{"nothing", func(*v1alpha1.RPCServiceStatus) {}, None},
		{"another count", func(s *v1alpha1.RPCServiceStatus) { s.Summary.Endpoints = "1/3" }, Numbers},
		{"another count in words", func(s *v1alpha1.RPCServiceStatus) { s.Conditions[1].Message = "1 of 3" }, Numbers},
		{"other words", func(s *v1alpha1.RPCServiceStatus) { s.Conditions[0].Message = "because" }, Verdict},
		{"another status", func(s *v1alpha1.RPCServiceStatus) { s.Conditions[1].Status = metav1.ConditionFalse }, Verdict},
		{"another reason", func(s *v1alpha1.RPCServiceStatus) { s.Conditions[1].Reason = "Other" }, Verdict},
		{"a new generation", func(s *v1alpha1.RPCServiceStatus) { s.Conditions[0].ObservedGeneration = 2 }, Verdict},
		{"a new generation of all", func(s *v1alpha1.RPCServiceStatus) { s.ObservedGeneration = 2 }, Verdict},
		{"one more condition", func(s *v1alpha1.RPCServiceStatus) {
			s.Conditions = append(s.Conditions, condition(v1alpha1.ConditionDegraded, metav1.ConditionFalse, "AsExpected", "", then))
		}, Verdict},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			desired := base.DeepCopy()
			for i := range desired.Conditions {
				desired.Conditions[i].LastTransitionTime = metav1.Time{}
			}
			test.change(desired)
			if _, got := Service(&base, desired, now); got != test.want {
				t.Errorf("change %d, want %d", got, test.want)
			}
		})
	}
}

func TestPolicyKeepsOthersAncestors(t *testing.T) {
	ancestor := func(controller, name string, at metav1.Time) v1alpha1.PolicyAncestorStatus {
		return v1alpha1.PolicyAncestorStatus{
			AncestorRef:    v1alpha1.AncestorReference{Kind: v1alpha1.KindRPCService, Name: name},
			ControllerName: controller,
			Conditions:     []metav1.Condition{condition("Accepted", metav1.ConditionTrue, "Accepted", "", at)},
		}
	}
	observed := v1alpha1.PolicyStatus{Ancestors: []v1alpha1.PolicyAncestorStatus{
		ancestor(v1alpha1.ControllerName, "cart", then), ancestor("other.example.com/x", "cart", then),
		ancestor(v1alpha1.ControllerName, "left", then),
	}}
	desired := v1alpha1.PolicyStatus{Ancestors: []v1alpha1.PolicyAncestorStatus{
		ancestor(v1alpha1.ControllerName, "cart", metav1.Time{}), ancestor(v1alpha1.ControllerName, "desk", metav1.Time{}),
	}}
	next, change := Policy(&observed, &desired, now)
	want := []v1alpha1.PolicyAncestorStatus{
		ancestor("other.example.com/x", "cart", then), ancestor(v1alpha1.ControllerName, "cart", then),
		ancestor(v1alpha1.ControllerName, "desk", now),
	}
	if !reflect.DeepEqual(next.Ancestors, want) || change != Verdict {
		t.Errorf("change %d, ancestors %+v\nwant %+v", change, next.Ancestors, want)
	}
	if again, change := Policy(&next, &desired, now); change != None || !reflect.DeepEqual(again.Ancestors, want) {
		t.Errorf("the same again is a change: %d", change)
	}
}

// patches counts writes, and fails them if it is told to.
type patches struct {
	client.SubResourceWriter
	n   int
	err error
}

func (p *patches) Status() client.SubResourceWriter { return p }

// Patch takes a write.
func (p *patches) Patch(_ context.Context, o client.Object, patch client.Patch, _ ...client.SubResourcePatchOption) error {
	if data, err := patch.Data(o); err != nil || len(data) < 3 {
		return errors.Join(err, errors.New("the patch is empty"))
	}
	if p.err == nil {
		p.n++
	}
	return p.err
}

type desk struct {
	*Writer
	patches *patches
	now     time.Time
	may     bool
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{patches: &patches{}, now: start, may: true}
	w, err := NewWriter(Config{Client: d.patches, May: func() bool { return d.may }, Metrics: prometheus.NewRegistry(), Now: func() time.Time { return d.now }})
	if err != nil {
		t.Fatal(err)
	}
	d.Writer = w
	return d
}

// write writes a change of one object and gives when to look again.
func (d *desk) write(t *testing.T, name string, change Change) time.Duration {
	t.Helper()
	o := &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"}}
	next := o.DeepCopy()
	next.Status.ObservedGeneration = 7
	result, err := d.Write(t.Context(), "RPCService", o, next, change)
	if err != nil {
		t.Fatal(err)
	}
	return result.RequeueAfter
}

func TestNumbersWait(t *testing.T) {
	d := newDesk(t)
	if wait := d.write(t, "cart", None); wait != 0 || d.patches.n != 0 {
		t.Fatal("wrote what has not changed")
	}
	d.write(t, "cart", Verdict)
	d.now = d.now.Add(time.Second)
	// What a verdict brings about may be told at once, and then not for a while.
	if wait := d.write(t, "cart", Numbers); wait != 0 || d.patches.n != 2 {
		t.Fatalf("waits %s after %d writes, want none and 2", wait, d.patches.n)
	}
	d.now = d.now.Add(time.Second)
	if wait := d.write(t, "cart", Numbers); wait != 9*time.Second || d.patches.n != 2 {
		t.Fatalf("waits %s after %d writes, want 9s and 2", wait, d.patches.n)
	}
	if d.write(t, "cart", Verdict); d.patches.n != 3 {
		t.Fatal("a verdict has to wait")
	}
	if wait := d.write(t, "cart", Numbers); wait != 9*time.Second || d.patches.n != 3 {
		t.Fatalf("a verdict lets numbers be written %s from now, after %d writes; want 9s and 3", wait, d.patches.n)
	}
	d.now = d.now.Add(10 * time.Second)
	if wait := d.write(t, "cart", Numbers); wait != 0 || d.patches.n != 4 {
		t.Fatalf("waits %s after %d writes, want none and 4", wait, d.patches.n)
	}
}

func TestNumbersOfManyAreSpread(t *testing.T) {
	const objects, seconds = 400, 10
	d := newDesk(t)
	due := map[string]time.Time{}
	for i := range objects {
		due[string(rune('a'+i%26))+time.Duration(i).String()] = start
	}
	for tick := 0; tick < seconds*1000; tick += 5 {
		d.now = start.Add(time.Duration(tick) * time.Millisecond)
		for name, at := range due {
			if at.After(d.now) {
				continue
			}
			if wait := d.write(t, name, Numbers); wait > 0 {
				due[name] = d.now.Add(wait)
			} else {
				due[name] = d.now.Add(time.Hour)
			}
		}
	}
	if got, want := d.patches.n, numbersPerSecond*seconds; got < want-numbersPerSecond || got > want+1 {
		t.Errorf("%d writes in %d s, want about %d", got, seconds, want)
	}
}

func TestWhoMayNotDoesNot(t *testing.T) {
	d := newDesk(t)
	d.may = false
	if wait := d.write(t, "cart", Verdict); wait != 0 || d.patches.n != 0 {
		t.Error("wrote without the Lease")
	}
}

func TestWriteErrors(t *testing.T) {
	d := newDesk(t)
	resource := schema.GroupResource{Resource: "rpcservices"}
	d.patches.err = apierrors.NewNotFound(resource, "cart")
	if wait := d.write(t, "cart", Verdict); wait != 0 {
		t.Errorf("waits %s for an object that has gone", wait)
	}
	d.patches.err = apierrors.NewConflict(resource, "cart", nil)
	if wait := d.write(t, "cart", Verdict); wait <= 0 {
		t.Error("does not look again after a conflict")
	}
	d.patches.err = &apierrors.StatusError{ErrStatus: metav1.Status{Code: http.StatusInternalServerError}}
	o := &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Name: "cart", ResourceVersion: "1"}}
	next := o.DeepCopy()
	next.Status.ObservedGeneration = 7
	if _, err := d.Write(t.Context(), "RPCService", o, next, Verdict); !apierrors.IsInternalError(err) && err == nil {
		t.Error("an error was swallowed")
	}
}

func TestPaceForgets(t *testing.T) {
	p := NewPace()
	for i := range 10_000 {
		p.wrote(item{"RPCService", types.NamespacedName{Name: time.Duration(i).String()}}, start.Add(time.Duration(i)*time.Second))
	}
	if len(p.last) > 2*1024 {
		t.Errorf("%d objects are remembered that were written long ago", len(p.last))
	}
}
