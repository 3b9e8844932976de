// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"encoding/json"
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
	"k8s.io/apimachinery/pkg/api/meta"
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
	// during is called in the middle of publishing.
	during func()
}

func (l *ledger) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, fmt.Sprintf(format, args...))
}

// Publish also checks that statuses are of one batch, and that the watermark does not run ahead.
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
	if l.during != nil {
		l.during()
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

// TestStatusesTurnOnce has a policy for many services change: whoever looks, at
// any moment, sees one verdict for one generation.
func TestStatusesTurnOnce(t *testing.T) {
	play(t, func(s *stage) {
		const services = 20
		var all []client.Object
		for i := range services {
			all = append(all, rpc(fmt.Sprintf("s%02d", i)))
		}
		s.lists(all...)
		s.take()
		wide := func(generation int64, timeout v1alpha1.Duration) *v1alpha1.RPCCallPolicy {
			p := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "wide", UID: "w", Generation: generation}}
			p.Spec.TargetRefs = []v1alpha1.CallTargetRef{{TargetRef: v1alpha1.TargetRef{
				Kind: v1alpha1.KindNamespace, Name: "shop", AppliesTo: new(v1alpha1.AppliesToServices)}}}
			for _, name := range []string{"s00", "s19"} {
				p.Spec.TargetRefs = append(p.Spec.TargetRefs, v1alpha1.CallTargetRef{TargetRef: v1alpha1.TargetRef{
					Group: v1alpha1.GroupName, Kind: compile.KindRPCService, Name: name}})
			}
			p.Spec.Timeout = &timeout
			return p
		}
		seen := map[int64]map[string]bool{}
		look := func() {
			p, status, found := s.c.CallPolicy(types.NamespacedName{Namespace: "shop", Name: "wide"})
			if !found {
				return
			}
			if status.ObservedGeneration != p.Generation {
				t.Errorf("generation %d has a status of %d", p.Generation, status.ObservedGeneration)
			}
			encoded, err := json.Marshal(status)
			if err != nil {
				t.Error(err)
			}
			text := string(encoded)
			if seen[p.Generation] == nil {
				seen[p.Generation] = map[string]bool{}
			}
			seen[p.Generation][text] = true
		}
		s.during = look
		s.c.Watch(compile.KindRPCCallPolicy, func(compile.Key, bool) { look() })
		s.event(compile.KindRPCCallPolicy, gather.Set, wide(1, "1s"))
		s.take()
		s.event(compile.KindRPCCallPolicy, gather.Set, wide(2, "0s"))
		s.take()
		s.event(compile.KindRPCCallPolicy, gather.Set, wide(3, "2s"))
		s.take()
		s.c.Announce()
		s.take()
		if len(seen) != 3 {
			t.Errorf("saw the generations %v", seen)
		}
		for generation, verdicts := range seen {
			if len(verdicts) != 1 {
				t.Errorf("generation %d had %d verdicts: %v", generation, len(verdicts), verdicts)
			}
		}
	})
}

// TestNamespacesConcernThoseThatSelect has labels decide who may subscribe.
func TestNamespacesConcernThoseThatSelect(t *testing.T) {
	play(t, func(s *stage) {
		picky := rpc("picky")
		picky.Spec.Consumers = &v1alpha1.Consumers{Namespaces: v1alpha1.ConsumerNamespaces{
			From: v1alpha1.FromSelector, Selector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{"team": "a"}}}}
		s.lists(picky, rpc("open"))
		s.take()
		if c := s.last["shop/open"].Consumers; c != nil {
			t.Errorf("everybody is %v", c)
		}
		namespace := func(team string) *metav1.PartialObjectMetadata {
			return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "web", Labels: map[string]string{"team": team}}}
		}
		for _, step := range []struct {
			team string
			want []string
		}{{"a", []string{"shop", "web"}}, {"b", []string{"shop"}}, {"a", []string{"shop", "web"}}} {
			s.event(compile.KindNamespace, gather.Set, namespace(step.team))
			s.want("publish shop/picky")
			if got := s.last["shop/picky"].Consumers; !slices.Equal(got, step.want) {
				t.Errorf("team %s: consumers %v, want %v", step.team, got, step.want)
			}
		}
		s.event(compile.KindNamespace, gather.Set, namespace("a"))
		s.want() // no label has changed
		s.event(compile.KindNamespace, gather.Delete, namespace("a"))
		s.want("publish shop/picky")
	})
}

// TestClientsInStatuses follows what statuses say of clients, from before they
// are counted to a change that nobody has yet.
func TestClientsInStatuses(t *testing.T) {
	play(t, func(s *stage) {
		s.lists(rpc("cart"), rpc("desk"))
		p := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", UID: "p", Generation: 1}}
		p.Spec.TargetRefs = []v1alpha1.CallTargetRef{{TargetRef: v1alpha1.TargetRef{Group: v1alpha1.GroupName, Kind: compile.KindRPCService, Name: "cart"}}}
		p.Spec.Timeout = new(v1alpha1.Duration("1s"))
		// What another replica has written.
		p.Status.Clients = &v1alpha1.ClientCount{Current: 8, Total: 9}
		s.event(compile.KindRPCCallPolicy, gather.Set, p)
		s.take()
		cart, desk := types.NamespacedName{Namespace: "shop", Name: "cart"}, types.NamespacedName{Namespace: "shop", Name: "desk"}
		want := func(clients, honoured string) {
			t.Helper()
			synctest.Wait()
			_, status, found := s.c.CallPolicy(types.NamespacedName{Namespace: "shop", Name: "p"})
			if !found {
				t.Fatal("the policy is not known")
			}
			got := "none"
			if c := status.Clients; c != nil {
				got = fmt.Sprintf("%d/%d", c.Current, c.Total)
			}
			reason := "left alone"
			if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionHonoured); c != nil {
				reason = c.Reason
			}
			if got != clients || reason != honoured {
				t.Errorf("clients %s, honoured %s; want %s, %s", got, reason, clients, honoured)
			}
		}
		want("8/9", v1alpha1.ReasonReconciling)
		var told []string
		s.c.Watch(compile.KindRPCService, func(k compile.Key, statusOnly bool) { told = append(told, fmt.Sprint(k.Name, statusOnly)) })
		s.take()
		current, late := true, 0
		counted := func(complete bool, number int) {
			told = nil
			clients := compile.Clients{
				Role: policy.Caller, Namespace: "web", Features: []string{"timeout"}, Version: "v1", Current: current, Number: number,
			}
			all := []compile.Clients{clients}
			if clients.Current, clients.Number = false, late; late > 0 {
				all = append(all, clients)
			}
			s.c.Count(compile.Census{Counted: true, Complete: complete, Of: map[compile.Key][]compile.Clients{cart: all}})
			s.take()
			slices.Sort(told)
		}
		counted(true, 3)
		want("3/3", v1alpha1.ReasonAllClients)
		if !slices.Equal(told, []string{"carttrue", "desktrue"}) {
			t.Errorf("told of %v", told)
		}
		if state, _ := s.c.Service(desk); state.Clients == nil || state.Clients.Total != 0 || state.Honoured.Reason != v1alpha1.ReasonNoClients {
			t.Errorf("the other service has %+v, %+v", state.Clients, state.Honoured)
		}
		if counted(true, 3); len(told) != 0 {
			t.Errorf("nothing has changed, and told of %v", told)
		}
		if counted(true, 4); !slices.Equal(told, []string{"carttrue"}) {
			t.Errorf("told of %v", told)
		}

		// Endpoints that move leave the count alone; a policy that changes is nobody's yet.
		s.event(compile.KindEndpointSlice, gather.Set, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "cart-1", UID: "x", Labels: map[string]string{discoveryv1.LabelServiceName: "cart"},
		}})
		s.take()
		want("4/4", v1alpha1.ReasonAllClients)
		next := p.DeepCopy()
		next.Generation, next.Spec.Timeout = 2, new(v1alpha1.Duration("2s"))
		s.event(compile.KindRPCCallPolicy, gather.Set, next)
		s.take()
		want("0/4", v1alpha1.ReasonAllClients)
		current = false
		counted(true, 4)
		want("0/4", v1alpha1.ReasonAllClients) // give them time
		current = true
		counted(true, 4)
		want("4/4", v1alpha1.ReasonAllClients)

		// One that does not follow is shown, though others do.
		again := next.DeepCopy()
		again.Generation, again.Spec.Timeout = 3, new(v1alpha1.Duration("3s"))
		s.event(compile.KindRPCCallPolicy, gather.Set, again)
		s.take()
		late = 1
		counted(true, 4)
		want("0/4", v1alpha1.ReasonAllClients)
		time.Sleep(settle)
		counted(true, 4)
		want("4/5", v1alpha1.ReasonAllClients)
		late = 0
		counted(true, 4)

		// A replica cannot be reached: no number, and what was said of Honoured stays.
		counted(false, 2)
		want("none", v1alpha1.ReasonReconciling) // there is none on the object yet
		s.c.Count(compile.Census{})
		want("8/9", v1alpha1.ReasonReconciling)
	})
}

// TestReachOfANamespace takes the one service away in which a policy for the
// namespace is in force.
func TestReachOfANamespace(t *testing.T) {
	play(t, func(s *stage) {
		s.lists(rpc("cart"), rpc("desk"))
		policy := func(name string, timeout v1alpha1.Duration, ref v1alpha1.TargetRef) *v1alpha1.RPCCallPolicy {
			p := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Generation: 1}}
			p.Spec.TargetRefs = []v1alpha1.CallTargetRef{{TargetRef: ref}}
			p.Spec.Timeout = &timeout
			return p
		}
		s.event(compile.KindRPCCallPolicy, gather.Set, policy("wide", "1s", v1alpha1.TargetRef{
			Kind: v1alpha1.KindNamespace, Name: "shop", AppliesTo: new(v1alpha1.AppliesToServices)}))
		s.event(compile.KindRPCCallPolicy, gather.Set, policy("cart", "2s", v1alpha1.TargetRef{
			Group: v1alpha1.GroupName, Kind: compile.KindRPCService, Name: "cart"}))
		s.take()
		told := 0
		wide := types.NamespacedName{Namespace: "shop", Name: "wide"}
		s.c.Watch(compile.KindRPCCallPolicy, func(k compile.Key, _ bool) {
			if k == wide {
				told++
			}
		})
		s.take()
		want := func(reason string) {
			t.Helper()
			_, status, _ := s.c.CallPolicy(wide)
			if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionProgrammed); c == nil || c.Reason != reason {
				t.Errorf("programmed is %+v, want %s", c, reason)
			}
		}
		want(v1alpha1.ReasonProgrammed)
		told = 0
		s.event(compile.KindRPCService, gather.Delete, rpc("desk"))
		s.take()
		want(v1alpha1.ReasonOverridden)
		if told == 0 {
			t.Error("nobody is told that the policy's status has changed")
		}
		s.event(compile.KindRPCService, gather.Set, rpc("desk"))
		s.take()
		want(v1alpha1.ReasonProgrammed)
	})
}
