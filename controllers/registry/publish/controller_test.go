// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/crd"
	"github.com/fairlead/fairlead/controllers/registry/gather"
	"github.com/fairlead/fairlead/internal/compile"
	store "github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// ledger is a store that writes down what it is told.
type ledger struct {
	t    *testing.T
	c    *Controller
	mu   sync.Mutex
	said []string
	last map[string]store.Change
}

func (l *ledger) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, fmt.Sprintf(format, args...))
}

// Publish also checks that the watermark does not run ahead.
func (l *ledger) Publish(c store.Change) error {
	for _, r := range c.AsOf {
		if r.Changed > r.Seen {
			l.t.Errorf("%s: %s changed at %d, seen %d", c.Service, r.Kind, r.Changed, r.Seen)
		}
	}
	for _, r := range l.c.Seen() {
		if r.Seen > c.AsOf.Get(r.Kind).Seen {
			l.t.Errorf("the watermark %v is ahead of %v, which is only being published", l.c.Seen(), c.AsOf)
		}
	}
	l.say("publish %s", c.Service)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil {
		l.last = map[string]store.Change{}
	}
	l.last[c.Service] = c
	return nil
}

func (l *ledger) Remove(service string, asOf policy.AsOf) {
	l.say("remove %s at %d", service, asOf.Get(compile.KindRPCService).Changed)
}

func (l *ledger) SetReady() { l.say("ready") }

// take gives what was said since the last time.
func (l *ledger) take() []string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	said := l.said
	l.said = nil
	return said
}

// definitions answers what it was last told to.
type definitions struct {
	mu    sync.Mutex
	now   crd.Reading
	reads int
}

func (d *definitions) Read(context.Context, string) crd.Reading {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reads++
	return d.now
}

func (d *definitions) become(r crd.Reading) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = r
}

// stage runs a controller in a bubble of time.
type stage struct {
	*ledger
	*definitions
	revision uint64
}

func play(t *testing.T, script func(*stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{ledger: &ledger{t: t}, definitions: &definitions{now: crd.Reading{State: crd.Standing, UID: "one"}}}
		c, err := New(Config{Definitions: s.definitions, Metrics: prometheus.NewRegistry(), Moved: func() {}})
		if err != nil {
			t.Fatal(err)
		}
		s.c = c
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.Run(ctx, s.ledger); close(done) }()
		script(s)
		cancel()
		<-done
	})
}

// event sends one with the next revision.
func (s *stage) event(kind string, op gather.Op, objects ...client.Object) {
	s.revision++
	e := gather.Event{Kind: kind, Op: op, Revision: s.revision, Objects: objects}
	for _, o := range objects {
		o.SetResourceVersion(strconv.FormatUint(s.revision, 10))
	}
	if op == gather.Set || op == gather.Delete {
		e.Object, e.Objects = objects[0], nil
	}
	s.c.Receive(e)
}

// lists sends an empty list of each kind, or what is given of RPCServices.
func (s *stage) lists(services ...client.Object) {
	for _, kind := range gather.Kinds() {
		if kind == compile.KindRPCService {
			s.event(kind, gather.List, services...)
		} else {
			s.event(kind, gather.List)
		}
	}
}

// want says what the store was told since the last time, sorted.
func (s *stage) want(said ...string) {
	s.t.Helper()
	if got := slices.Sorted(slices.Values(s.take())); !slices.Equal(got, said) {
		s.t.Errorf("the store was told %q, want %q", got, said)
	}
}

func rpc(name string) *v1alpha1.RPCService {
	return &v1alpha1.RPCService{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Generation: 1},
		Spec: v1alpha1.RPCServiceSpec{Source: v1alpha1.ServiceSource{
			Type: v1alpha1.SourceService, Service: &v1alpha1.ServiceReference{Name: name},
		}},
	}
}

func TestNothingBeforeEverything(t *testing.T) {
	play(t, func(s *stage) {
		s.event(compile.KindRPCService, gather.List, rpc("cart"))
		for _, kind := range gather.Kinds()[1:] {
			s.want()
			if s.c.Ready() {
				t.Fatalf("ready before %s was listed", kind)
			}
			s.event(kind, gather.List)
		}
		s.want("publish shop/cart", "ready")
		s.event(compile.KindRPCService, gather.Set, rpc("desk"))
		s.want("publish shop/desk")
		s.event(compile.KindEndpointSlice, gather.Mark)
		s.want()
		if seen := s.c.Seen().Get(compile.KindEndpointSlice).Seen; seen != s.revision {
			t.Errorf("seen %d after a mark at %d", seen, s.revision)
		}
	})
}

func TestOnlyWhatIsConcerned(t *testing.T) {
	play(t, func(s *stage) {
		s.lists(rpc("cart"), rpc("desk"))
		s.take()
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "desk-1", UID: "x", Labels: map[string]string{discoveryv1.LabelServiceName: "desk"},
		}}
		s.event(compile.KindEndpointSlice, gather.Set, slice)
		s.want("publish shop/desk")
		s.event(compile.KindService, gather.Set, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "stranger"}})
		s.want()

		written := rpc("cart")
		written.Status.ObservedGeneration = 1
		s.event(compile.KindRPCService, gather.Set, written)
		s.want() // only its status has changed
		if state, _ := s.c.Service(compile.KeyOf(written)); state.Object != written {
			t.Error("the new state of the object is not known")
		}
	})
}

func TestDeletionThatIsMeant(t *testing.T) {
	play(t, func(s *stage) {
		s.lists(rpc("cart"))
		s.take()
		s.event(compile.KindRPCService, gather.Delete, rpc("cart"))
		s.want(fmt.Sprintf("remove shop/cart at %d", s.revision))
		if _, found := s.c.Service(types.NamespacedName{Namespace: "shop", Name: "cart"}); found {
			t.Error("it is still known")
		}
		s.event(compile.KindRPCService, gather.Set, rpc("cart"))
		s.want("publish shop/cart")
		// A list in which it is missing means the same.
		s.event(compile.KindRPCService, gather.List)
		s.want(fmt.Sprintf("remove shop/cart at %d", s.revision))
	})
}

func TestDeletionWithTheDefinition(t *testing.T) {
	for _, now := range []crd.Reading{{State: crd.Terminating}, {State: crd.Missing}, {State: crd.Standing, UID: "two"}} {
		t.Run(now.State.String(), func(t *testing.T) {
			play(t, func(s *stage) {
				s.lists(rpc("cart"))
				s.take()
				s.become(now)
				s.event(compile.KindRPCService, gather.Delete, rpc("cart"))
				s.want()
				time.Sleep(time.Hour)
				s.want()
				// Frozen, it follows its endpoints.
				s.event(compile.KindService, gather.Set, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}})
				s.want("publish shop/cart")
				// The definition is back, and the list is empty: still nobody has meant it.
				s.become(crd.Reading{State: crd.Standing, UID: "two"})
				s.event(compile.KindRPCService, gather.List)
				s.want()
				// What is made under the new definition can be deleted.
				s.event(compile.KindRPCService, gather.Set, rpc("cart"))
				s.want("publish shop/cart")
				s.event(compile.KindRPCService, gather.Delete, rpc("cart"))
				s.want(fmt.Sprintf("remove shop/cart at %d", s.revision))
			})
		})
	}
}

// TestDeletionsThatComeLate has the definition go and come back before the
// deletions of its objects are heard of.
func TestDeletionsThatComeLate(t *testing.T) {
	play(t, func(s *stage) {
		s.lists(rpc("cart"), rpc("desk"))
		s.take()
		time.Sleep(time.Hour)
		s.become(crd.Reading{State: crd.Standing, UID: "two", Created: time.Now()})
		s.event(compile.KindRPCService, gather.Delete, rpc("cart"))
		s.want() // it is another definition
		s.event(compile.KindRPCService, gather.Delete, rpc("desk"))
		s.want() // it is the same as before, but the object is older
		// What was made under it goes when it is deleted, in the same second, too.
		made := rpc("cart")
		made.UID, made.CreationTimestamp = "again", metav1.Now()
		s.event(compile.KindRPCService, gather.Set, made)
		s.want("publish shop/cart")
		s.event(compile.KindRPCService, gather.Delete, made)
		s.want(fmt.Sprintf("remove shop/cart at %d", s.revision))
	})
}

func TestDeletionThatCannotBeTold(t *testing.T) {
	play(t, func(s *stage) {
		s.lists(rpc("cart"))
		s.take()
		s.become(crd.Reading{Err: errors.New("no answer")})
		s.event(compile.KindRPCService, gather.Delete, rpc("cart"))
		at := s.revision
		time.Sleep(time.Hour)
		s.want()
		if s.reads < 60 || s.reads > 200 {
			t.Errorf("asked %d times in an hour", s.reads)
		}
		if seen := s.c.Seen().Get(compile.KindRPCService).Seen; seen != at {
			t.Errorf("the watermark is held back at %d: clients would refuse all that follows", seen)
		}
		s.become(crd.Reading{State: crd.Standing, UID: "one"})
		time.Sleep(time.Minute)
		s.want(fmt.Sprintf("remove shop/cart at %d", at))
	})
}

func TestRecreatedWhileItCannotBeTold(t *testing.T) {
	play(t, func(s *stage) {
		s.lists(rpc("cart"))
		s.take()
		s.become(crd.Reading{Err: errors.New("no answer")})
		s.event(compile.KindRPCService, gather.Delete, rpc("cart"))
		again := rpc("cart")
		again.UID = "another"
		s.event(compile.KindRPCService, gather.Set, again)
		s.want("publish shop/cart")
		s.become(crd.Reading{State: crd.Standing, UID: "one"})
		time.Sleep(time.Minute)
		s.want()
	})
}

func TestNotAcceptedIsNotGone(t *testing.T) {
	play(t, func(s *stage) {
		s.lists(rpc("cart"))
		s.take()
		registered := rpc("cart")
		registered.Generation, registered.Spec.Source = 2, v1alpha1.ServiceSource{Type: v1alpha1.SourceRegistered}
		s.event(compile.KindRPCService, gather.Set, registered)
		s.want()
		state, found := s.c.Service(compile.KeyOf(registered))
		if !found || state.Report.Conditions[0].Status != metav1.ConditionFalse {
			t.Errorf("it is reported as %+v", state.Report)
		}
	})
}

func TestWatch(t *testing.T) {
	play(t, func(s *stage) {
		lost := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", UID: "p", Generation: 1}}
		lost.Spec.TargetRefs = []v1alpha1.CallTargetRef{{TargetRef: v1alpha1.TargetRef{Group: v1alpha1.GroupName, Kind: v1alpha1.KindRPCService, Name: "cart"}}}
		for _, kind := range []string{compile.KindRPCService, compile.KindRPCCallPolicy} {
			s.c.Watch(kind, func(k compile.Key, statusOnly bool) { s.say("%s %s %v", kind, k.Name, statusOnly) })
		}
		s.lists()
		s.take()
		s.event(compile.KindRPCCallPolicy, gather.Set, lost)
		s.want("RPCCallPolicy p false", "RPCService cart false")
		_, status, _ := s.c.CallPolicy(compile.KeyOf(lost))
		if status.Conditions[0].Reason != v1alpha1.ReasonTargetNotFound {
			t.Errorf("conditions %+v", status.Conditions)
		}
		s.event(compile.KindRPCService, gather.Set, rpc("cart"))
		s.want("RPCCallPolicy p false", "RPCService cart false", "publish shop/cart")
		written := rpc("cart")
		s.event(compile.KindRPCService, gather.Set, written)
		s.want("RPCService cart true")
		s.c.Announce()
		s.want("RPCCallPolicy p false", "RPCService cart false")
	})
}

// TestLossSince times a loss from its beginning, and each one anew.
func TestLossSince(t *testing.T) {
	play(t, func(s *stage) {
		port, tcp, number := "", corev1.ProtocolTCP, int32(80)
		slice := func(ready bool) *discoveryv1.EndpointSlice {
			return &discoveryv1.EndpointSlice{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "shop", Name: "cart-1", UID: "x", Labels: map[string]string{discoveryv1.LabelServiceName: "cart"},
				},
				AddressType: discoveryv1.AddressTypeIPv4,
				Ports:       []discoveryv1.EndpointPort{{Name: &port, Port: &number, Protocol: &tcp}},
				Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
			}
		}
		since := func() time.Time {
			synctest.Wait()
			state, _ := s.c.Service(compile.Key{Namespace: "shop", Name: "cart"})
			return state.LossSince
		}
		s.lists(rpc("cart"))
		s.event(compile.KindService, gather.Set, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: number, Protocol: tcp}}},
		})
		s.event(compile.KindEndpointSlice, gather.Set, slice(true))
		if !since().IsZero() {
			t.Fatal("a loss without a loss")
		}
		began := time.Now()
		s.event(compile.KindEndpointSlice, gather.Set, slice(false))
		if got := since(); !got.Equal(began) {
			t.Fatalf("the loss is said to have begun at %s, not %s", got, began)
		}
		time.Sleep(time.Second)
		s.event(compile.KindEndpointSlice, gather.Set, slice(false))
		if got := since(); !got.Equal(began) {
			t.Errorf("another look has moved the beginning by %s", got.Sub(began))
		}
		s.event(compile.KindEndpointSlice, gather.Set, slice(true))
		if !since().IsZero() {
			t.Error("the loss is over")
		}
		time.Sleep(time.Second)
		s.event(compile.KindEndpointSlice, gather.Set, slice(false))
		if got := since(); !got.Equal(began.Add(2 * time.Second)) {
			t.Errorf("the second loss is said to have begun at %s", got)
		}
	})
}
