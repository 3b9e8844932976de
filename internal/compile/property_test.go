// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// random makes objects with few enough names that they meet, some of them broken.
type random struct{ *rand.Rand }

func pick[T any](r random, from ...T) T { return from[r.IntN(len(from))] }

func maybe[T any](r random, from ...T) *T {
	if i := r.IntN(len(from) + 1); i < len(from) {
		return &from[i]
	}
	return nil
}

func (r random) meta(names ...string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: pick(r, "shop", "web"), Name: pick(r, names...), UID: types.UID(pick(r, "u1", "u2")),
		Generation: int64(1 + r.IntN(3)), ResourceVersion: fmt.Sprint(1 + r.IntN(20)),
		CreationTimestamp: metav1.Unix(int64(r.IntN(3)), 0),
	}
}

func (r random) object() any {
	switch r.IntN(7) {
	case 0:
		return r.rpcService()
	case 1:
		return r.callPolicy()
	case 2:
		return r.limitPolicy()
	case 3:
		return &corev1.Service{ObjectMeta: r.meta("a", "b"), Spec: corev1.ServiceSpec{
			Type:                     pick(r, corev1.ServiceTypeClusterIP, corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName),
			Ports:                    []corev1.ServicePort{{Name: "rpc"}, {Name: "http"}}[:r.IntN(3)],
			IPFamilies:               []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}[:r.IntN(3)],
			PublishNotReadyAddresses: r.IntN(4) == 0,
		}}
	case 4:
		return r.slice()
	case 5:
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: pick(r, "shop", "web"), Labels: map[string]string{"team": pick(r, "a", "b")},
		}}
	default:
		return &Instance{Service: Key{Namespace: pick(r, "shop", "web"), Name: pick(r, "a", "b")}, ID: pick(r, "", "i"),
			Address: pick(r, "10.0.0.1:80", "[::1]:80", "nowhere"), Ready: r.IntN(2) == 0}
	}
}

func (r random) rpcService() any {
	s := &v1alpha1.RPCService{ObjectMeta: r.meta("a", "b")}
	s.Spec.Source.Type = pick(r, v1alpha1.SourceService, v1alpha1.SourceService, v1alpha1.SourceRegistered, "Other")
	if s.Spec.Source.Type == v1alpha1.SourceService && r.IntN(8) > 0 {
		s.Spec.Source.Service = &v1alpha1.ServiceReference{Name: pick(r, "a", "b"), Port: maybe(r, "rpc", "http")}
	}
	for range r.IntN(3) {
		s.Spec.Methods = append(s.Spec.Methods, v1alpha1.RPCMethod{
			Name: pick[v1alpha1.MethodName](r, "A.Get", "A.Put"), Idempotency: maybe(r, v1alpha1.Idempotent),
		})
	}
	s.Spec.UndeclaredMethods = maybe(r, v1alpha1.UndeclaredMethodsRefuse)
	if from := maybe(r, v1alpha1.FromAll, v1alpha1.FromSame, v1alpha1.FromSelector, v1alpha1.FromSelector, "Friends"); from != nil {
		s.Spec.Consumers = &v1alpha1.Consumers{Namespaces: v1alpha1.ConsumerNamespaces{
			From: *from, Selector: &v1alpha1.NamespaceSelector{MatchLabels: map[string]v1alpha1.LabelValue{"team": "a"}},
		}}
	}
	return s
}

func (r random) callPolicy() any {
	p := &v1alpha1.RPCCallPolicy{ObjectMeta: r.meta("p", "q")}
	for range 1 + r.IntN(3) {
		p.Spec.TargetRefs = append(p.Spec.TargetRefs, v1alpha1.CallTargetRef{
			TargetRef: r.targetRef(), Namespace: maybe(r, "shop", "web"),
		})
	}
	if r.IntN(4) == 0 {
		p.Spec.Overrides = &v1alpha1.CallOverrides{Timeout: maybe[v1alpha1.Duration](r, "1s", "4s", "broken"), FailMode: maybe(r, v1alpha1.Failfast)}
	}
	p.Spec.Timeout = maybe[v1alpha1.Duration](r, "1s", "3s", "0s", "broken")
	p.Spec.FailMode = maybe(r, v1alpha1.Failfast, v1alpha1.Failover, "Later")
	p.Spec.Retry = &v1alpha1.RetryPolicy{
		PerTryTimeout: maybe[v1alpha1.Duration](r, "500ms", "2s", "20s"), Attempts: maybe[int32](r, 1, 3, 0),
	}
	return p
}

func (r random) targetRef() v1alpha1.TargetRef {
	if r.IntN(3) == 0 {
		return v1alpha1.TargetRef{Kind: v1alpha1.KindNamespace, Name: pick(r, "shop", "web"),
			AppliesTo: maybe(r, v1alpha1.AppliesToServices, v1alpha1.AppliesToCallers, "Friends")}
	}
	return v1alpha1.TargetRef{
		Group: v1alpha1.GroupName, Kind: pick(r, "RPCService", "RPCService", "RPCService", "Other"),
		Name: pick(r, "a", "b", "c"), SectionName: maybe[v1alpha1.MethodName](r, "A.Get", "A.Put"),
	}
}

func (r random) limitPolicy() any {
	p := &v1alpha1.RPCLimitPolicy{ObjectMeta: r.meta("p", "q")}
	p.Spec.TargetRefs = []v1alpha1.TargetRef{r.targetRef(), r.targetRef()}
	p.Spec.Limits = []v1alpha1.Limit{
		{Name: "all", Rate: &v1alpha1.LimitRate{Count: int32(r.IntN(5)), Interval: pick[v1alpha1.Duration](r, "1s", "1m", "broken")}},
		{Name: pick(r, "all", "one"), Methods: []v1alpha1.MethodName{"A.Get"}[:r.IntN(2)], Concurrency: &v1alpha1.ConcurrencyLimit{Max: maybe[int32](r, 1, 2)}},
	}
	return p
}

func (r random) slice() any {
	s := &discoveryv1.EndpointSlice{ObjectMeta: r.meta("s1", "s2", "s3")}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: pick(r, "a", "b")}
	s.OwnerReferences = []metav1.OwnerReference{{Kind: "Service", UID: types.UID(pick(r, "u1", "u2"))}}[:r.IntN(2)]
	s.AddressType = pick(r, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6, discoveryv1.AddressTypeFQDN)
	s.Ports = []discoveryv1.EndpointPort{{Name: maybe(r, "rpc", "http"), Port: maybe[int32](r, 80, 81)}}
	for range r.IntN(4) {
		e := discoveryv1.Endpoint{Addresses: []string{pick(r, "10.0.0.1", "10.0.0.2", "::1", "nowhere")}, Zone: maybe(r, "z1", "z2")}
		e.Conditions = discoveryv1.EndpointConditions{Ready: maybe(r, true, false), Serving: maybe(r, true, false), Terminating: maybe(r, true, false)}
		if r.IntN(2) == 0 {
			e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: "p", UID: types.UID(pick(r, "p1", "p2"))}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func kindAndKey(object any) (string, Key) {
	switch o := object.(type) {
	case *v1alpha1.RPCService:
		return KindRPCService, KeyOf(o)
	case *v1alpha1.RPCCallPolicy:
		return KindRPCCallPolicy, KeyOf(o)
	case *v1alpha1.RPCLimitPolicy:
		return KindRPCLimitPolicy, KeyOf(o)
	case *corev1.Service:
		return KindService, KeyOf(o)
	case *discoveryv1.EndpointSlice:
		return KindEndpointSlice, KeyOf(o)
	case *metav1.PartialObjectMetadata:
		return KindNamespace, KeyOf(o)
	default:
		return KindInstance, object.(*Instance).Key()
	}
}

// everything that can be targeted or exist.
func universe() []Key {
	var keys []Key
	for _, namespace := range []string{"shop", "web"} {
		for _, name := range []string{"a", "b", "c"} {
			keys = append(keys, Key{Namespace: namespace, Name: name})
		}
	}
	return keys
}

func compileAll(o *Objects) map[Key]ServiceOutput {
	out := map[Key]ServiceOutput{}
	for _, k := range universe() {
		out[k] = Service(o.Input(k))
	}
	return out
}

// A change that does not name a service among the concerned changes nothing of
// it: compiling only those concerned is compiling everything. And what was
// concerned has the revision as its own.
func TestOnlyConcernedChange(t *testing.T) {
	r := random{rand.New(rand.NewPCG(1, 1))}
	for round := range 12 {
		o := NewObjects(Mode{Registered: round%2 == 0})
		outputs := compileAll(o)
		for revision := uint64(1); revision < 80; revision++ {
			object := r.object()
			kind, key := kindAndKey(object)
			var concerned []Key
			if r.IntN(3) == 0 {
				concerned = o.Delete(kind, key, revision)
			} else {
				var err error
				if concerned, err = o.Set(object, revision); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.IsSortedFunc(concerned, compareKeys) {
				t.Errorf("not sorted: %v", concerned)
			}
			for _, k := range concerned {
				outputs[k] = Service(o.Input(k))
				if got := o.AsOf(k, map[string]uint64{kind: revision}).Get(kind); got.Changed != revision || got.Seen != revision {
					t.Errorf("%s %s: asOf %+v at %d", kind, key, got, revision)
				}
			}
			if all := compileAll(o); !reflect.DeepEqual(all, outputs) {
				t.Fatalf("%s %s changed more than %v:\n%s", kind, key, concerned, cmp.Diff(outputs, all))
			}
		}
	}
}

// The order in which objects came does not matter, nor the order of lists.
func TestOrderDoesNotMatter(t *testing.T) {
	r := random{rand.New(rand.NewPCG(2, 2))}
	for range 50 {
		last := map[string]any{}
		for range 60 {
			object := r.object()
			kind, key := kindAndKey(object)
			last[kind+key.String()] = object
		}
		objects := make([]any, 0, len(last))
		for _, o := range last {
			objects = append(objects, o)
		}
		fill := func() *Objects {
			o := NewObjects(Mode{})
			r.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
			for _, object := range objects {
				// What is replaced or deleted again leaves no trace.
				if kind, key := kindAndKey(object); r.IntN(3) == 0 {
					other := r.object()
					otherKind, otherKey := kindAndKey(other)
					if _, kept := last[otherKind+otherKey.String()]; !kept {
						mustSet(t, o, other)
						o.Delete(otherKind, otherKey, 1)
					}
					mustSet(t, o, object)
					o.Delete(kind, key, 1)
				}
				mustSet(t, o, object)
			}
			return o
		}
		a, b := fill(), fill()
		if x, y := compileAll(a), compileAll(b); !reflect.DeepEqual(x, y) {
			t.Fatalf("order of arrival matters:\n%s", cmp.Diff(x, y))
		}
		for _, k := range universe() {
			in := a.Input(k)
			want := Service(in)
			r.Shuffle(len(in.CallPolicies), func(i, j int) { in.CallPolicies[i], in.CallPolicies[j] = in.CallPolicies[j], in.CallPolicies[i] })
			r.Shuffle(len(in.LimitPolicies), func(i, j int) { in.LimitPolicies[i], in.LimitPolicies[j] = in.LimitPolicies[j], in.LimitPolicies[i] })
			r.Shuffle(len(in.Namespaces), func(i, j int) { in.Namespaces[i], in.Namespaces[j] = in.Namespaces[j], in.Namespaces[i] })
			r.Shuffle(len(in.Slices), func(i, j int) { in.Slices[i], in.Slices[j] = in.Slices[j], in.Slices[i] })
			r.Shuffle(len(in.Instances), func(i, j int) { in.Instances[i], in.Instances[j] = in.Instances[j], in.Instances[i] })
			if got := Service(in); !reflect.DeepEqual(want, got) {
				t.Fatalf("order of lists matters:\n%s", cmp.Diff(want, got))
			}
		}
		for _, who := range []Identity{{PodUID: "p1"}, {Addresses: []string{"10.0.0.1", "::1"}}, {Addresses: []string{"10.0.0.2:80"}}} {
			if diff := cmp.Diff(a.Self(who), b.Self(who)); diff != "" {
				t.Fatalf("order of arrival matters to %+v:\n%s", who, diff)
			}
		}
	}
}

func mustSet(t *testing.T, o *Objects, object any) {
	t.Helper()
	if _, err := o.Set(object, 1); err != nil {
		t.Fatal(err)
	}
}

// Whatever the objects: what is published can be decoded, merges to valid
// policies, and every verdict stands in the catalogue of conditions.
func TestOutputsAreSound(t *testing.T) {
	r := random{rand.New(rand.NewPCG(3, 3))}
	published := 0
	for round := range 40 {
		o := NewObjects(Mode{Registered: round%2 == 0})
		for range 60 {
			mustSet(t, o, r.object())
		}
		var book Book
		for _, out := range compileAll(o) {
			if out.Published {
				published++
				checkPublished(t, &out)
			} else if out.Parts != nil {
				t.Errorf("%s has parts and is not published", out.Key)
			}
			if out.Report != nil {
				checkConditions(t, KindRPCService, out.Report.Conditions, 5)
				checkConditions(t, KindRPCService, []metav1.Condition{Degraded(1, out.Report.MassLoss, out.Counts)}, 1)
			}
			for _, target := range out.Targets {
				checkConditions(t, target.Kind, target.Conditions, 3)
			}
			book.Set(nil, out.Targets)
		}
		lookup := func(target Target) []TargetReport {
			if r.IntN(5) == 0 {
				return nil
			}
			return book.Reports(target)
		}
		for _, k := range o.CallPolicies() {
			p := o.CallPolicy(k)
			s := CallPolicyStatus(p, lookup)
			checkConditions(t, KindRPCCallPolicy, s.Conditions, 4)
			if len(s.Ancestors) != len(p.Spec.TargetRefs) {
				t.Errorf("%d ancestors of %d references", len(s.Ancestors), len(p.Spec.TargetRefs))
			}
		}
		for _, k := range o.LimitPolicies() {
			checkConditions(t, KindRPCLimitPolicy, LimitPolicyStatus(o.LimitPolicy(k), lookup).Conditions, 4)
		}
	}
	if published < 20 {
		t.Errorf("only %d services were published: the objects are too broken to test anything", published)
	}
}

func checkPublished(t *testing.T, out *ServiceOutput) {
	t.Helper()
	for _, namespace := range []string{"", "shop", "web"} {
		s, err := policy.Decode(out.Key.String(), policy.Caller, out.PartsFor(policy.Caller, namespace))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(out.Endpoints, s.Endpoints); len(out.Endpoints) > 0 && diff != "" {
			t.Errorf("endpoints: %s", diff)
		}
		if len(s.UnknownFields) > 0 {
			t.Errorf("unknown: %q", s.UnknownFields)
		}
	}
	s, err := policy.Decode(out.Key.String(), policy.Server, out.PartsFor(policy.Server, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}

func checkConditions(t *testing.T, kind string, conditions []metav1.Condition, n int) {
	t.Helper()
	if len(conditions) != n {
		t.Errorf("%d conditions, want %d: %+v", len(conditions), n, conditions)
	}
	for _, c := range conditions {
		known := slices.ContainsFunc(v1alpha1.Catalogue(), func(s v1alpha1.ConditionSpec) bool {
			return s.Type == c.Type && slices.ContainsFunc(s.Reasons, func(r v1alpha1.ReasonSpec) bool {
				return r.Status == c.Status && r.Reason == c.Reason && slices.Contains(r.Kinds, kind)
			})
		})
		if !known || c.Message == "" || len(c.Message) > 32768 || c.ObservedGeneration == 0 {
			t.Errorf("%s: not in the catalogue, or without a message: %+v", kind, c)
		}
	}
}

// A broken neighbour changes nothing: a service's output depends on its own
// objects alone.
func TestServicesAreIndependent(t *testing.T) {
	r := random{rand.New(rand.NewPCG(4, 4))}
	for range 60 {
		o := NewObjects(Mode{})
		for range 60 {
			mustSet(t, o, r.object())
		}
		service := Key{Namespace: "shop", Name: "a"}
		want := Service(o.Input(service))
		in := o.Input(service)
		own := slices.Clone(in.CallPolicies)
		for _, k := range universe() {
			other := o.Input(k)
			in.CallPolicies = append(in.CallPolicies, slices.DeleteFunc(other.CallPolicies, func(p *v1alpha1.RPCCallPolicy) bool {
				return slices.Contains(own, p)
			})...)
			in.Instances = append(in.Instances, slices.DeleteFunc(other.Instances, func(i *Instance) bool { return i.Service == service })...)
			if in.Service != nil {
				in.Slices = append(in.Slices, slices.DeleteFunc(other.Slices, func(s *discoveryv1.EndpointSlice) bool {
					return serviceOf(s) == KeyOf(in.Service)
				})...)
			}
		}
		if got := Service(in); !reflect.DeepEqual(want, got) {
			t.Fatalf("neighbours matter:\n%s", cmp.Diff(want, got))
		}
	}
}

// A policy that cannot be accepted changes nothing for others, wherever it
// points: neither what is published nor what is reported of them.
func TestABrokenPolicyHarmsNoOther(t *testing.T) {
	r := random{rand.New(rand.NewPCG(5, 5))}
	for round := range 60 {
		o := NewObjects(Mode{})
		for range 60 {
			mustSet(t, o, r.object())
		}
		want := compileAll(o)
		bad := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: "bad", Generation: 1}}
		bad.Spec.TargetRefs = []v1alpha1.CallTargetRef{
			{TargetRef: v1alpha1.TargetRef{Kind: v1alpha1.KindNamespace, Name: "web", AppliesTo: new(v1alpha1.AppliesToCallers)}},
			{TargetRef: v1alpha1.TargetRef{Kind: v1alpha1.KindNamespace, Name: "web", AppliesTo: new(v1alpha1.AppliesToServices)}},
			{TargetRef: v1alpha1.TargetRef{Group: v1alpha1.GroupName, Kind: KindRPCService, Name: "a"}, Namespace: new("shop")},
			{TargetRef: v1alpha1.TargetRef{Group: v1alpha1.GroupName, Kind: KindRPCService, Name: "a"}},
		}
		switch round % 3 {
		case 0: // cannot be read
			bad.Spec.Timeout = new(v1alpha1.Duration("soon"))
		case 1: // is not the owner's to say; at its own services it is
			bad.Spec.TargetRefs = slices.Delete(bad.Spec.TargetRefs, 1, 4)
			bad.Spec.Overrides = &v1alpha1.CallOverrides{Timeout: new(v1alpha1.Duration("1s"))}
		default: // can never be in force
			bad.Spec.FailMode = new(v1alpha1.FailMode("Later"))
		}
		mustSet(t, o, bad)
		got := compileAll(o)
		for k := range got {
			out := got[k]
			out.Targets = slices.DeleteFunc(slices.Clone(out.Targets), func(r TargetReport) bool { return r.Policy == KeyOf(bad) })
			// An item that holds nothing usable may be there; what it does is nothing.
			before := want[k]
			if diff := cmp.Diff(before.Targets, out.Targets, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("round %d: reports on others at %s:\n%s", round, k, diff)
			}
			if before.Published != out.Published || !reflect.DeepEqual(before.Report, out.Report) {
				t.Fatalf("round %d: %s is published %v, was %v", round, k, out.Published, before.Published)
			}
			if !out.Published {
				continue
			}
			for _, namespace := range []string{"app", "shop", "web"} {
				was, is := effective(t, &before, namespace), effective(t, &out, namespace)
				if diff := cmp.Diff(was, is); diff != "" {
					t.Fatalf("round %d: %s called from %s:\n%s", round, k, namespace, diff)
				}
			}
		}
	}
}

// effective gives the policies that callers of a namespace go by.
func effective(t *testing.T, out *ServiceOutput, namespace string) []policy.Effective {
	t.Helper()
	s, err := policy.Decode(out.Key.String(), policy.Caller, out.PartsFor(policy.Caller, namespace))
	if err != nil {
		t.Fatal(err)
	}
	var all []policy.Effective
	for _, method := range []string{"A.Get", "A.Put", "A.Other"} {
		e := s.Effective(method)
		e.Fields, e.Fallbacks = nil, nil
		all = append(all, e)
	}
	return all
}

// A target that was not compiled yet makes the whole Unknown, and not False.
func TestStatusBeforeTheVerdict(t *testing.T) {
	p := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", Generation: 4}}
	for _, name := range []string{"a", "b"} {
		p.Spec.TargetRefs = append(p.Spec.TargetRefs, v1alpha1.CallTargetRef{
			TargetRef: v1alpha1.TargetRef{Group: v1alpha1.GroupName, Kind: KindRPCService, Name: name},
		})
	}
	good := Service(ServiceInput{
		Key:          Key{Namespace: "shop", Name: "a"},
		Mode:         Mode{Registered: true},
		RPCService:   &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a"}, Spec: v1alpha1.RPCServiceSpec{Source: v1alpha1.ServiceSource{Type: v1alpha1.SourceRegistered}}},
		CallPolicies: []*v1alpha1.RPCCallPolicy{p},
	})
	for compiled, want := range map[bool]metav1.ConditionStatus{true: metav1.ConditionTrue, false: metav1.ConditionUnknown} {
		s := CallPolicyStatus(p, func(target Target) []TargetReport {
			report := good.Targets[0]
			report.Target = target
			if !compiled && target.Service.Name != "a" {
				return nil
			}
			return []TargetReport{report}
		})
		for _, c := range s.Conditions[2:] {
			if c.Status != want || c.ObservedGeneration != 4 {
				t.Errorf("compiled %v: %+v", compiled, c)
			}
		}
		if attached := map[bool]string{true: "2/2", false: "1/2"}[compiled]; s.Summary.Targets != attached {
			t.Errorf("compiled %v: targets %s", compiled, s.Summary.Targets)
		}
	}
}

func TestSetRefusesStrangers(t *testing.T) {
	if _, err := NewObjects(Mode{}).Set(&corev1.Pod{}, 1); err == nil {
		t.Error("a Pod was accepted")
	}
}

// BenchmarkService compiles one service of 1,000 endpoints with 20 policies.
func BenchmarkService(b *testing.B) {
	o := NewObjects(Mode{})
	set := func(object any) {
		if _, err := o.Set(object, 1); err != nil {
			b.Fatal(err)
		}
	}
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	service := &v1alpha1.RPCService{ObjectMeta: meta("a")}
	service.Spec.Source = v1alpha1.ServiceSource{Type: v1alpha1.SourceService, Service: &v1alpha1.ServiceReference{Name: "a"}}
	set(&corev1.Service{ObjectMeta: meta("a"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "rpc"}}}})
	for i := range 20 {
		name := v1alpha1.MethodName(fmt.Sprintf("A.M%d", i))
		service.Spec.Methods = append(service.Spec.Methods, v1alpha1.RPCMethod{Name: name})
		p := &v1alpha1.RPCCallPolicy{ObjectMeta: meta(fmt.Sprint("p", i))}
		p.Namespace = fmt.Sprint("ns", i%5)
		p.Spec.TargetRefs = []v1alpha1.CallTargetRef{{Namespace: new("shop"), TargetRef: v1alpha1.TargetRef{
			Group: v1alpha1.GroupName, Kind: KindRPCService, Name: "a", SectionName: &name}}}
		p.Spec.Timeout = new(v1alpha1.Duration("1s"))
		set(p)
	}
	set(service)
	port := int32(80)
	for i := range 10 {
		s := &discoveryv1.EndpointSlice{ObjectMeta: meta(fmt.Sprint("s", i)), AddressType: discoveryv1.AddressTypeIPv4}
		s.Labels = map[string]string{discoveryv1.LabelServiceName: "a"}
		s.Ports = []discoveryv1.EndpointPort{{Name: new("rpc"), Port: &port}}
		for j := range 100 {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.0.%d.%d", i, j)},
				TargetRef: &corev1.ObjectReference{Kind: "Pod", UID: types.UID(fmt.Sprintf("00000000-0000-0000-%04d-%012d", i, j))},
			})
		}
		set(s)
	}
	in := o.Input(Key{Namespace: "shop", Name: "a"})
	if out := Service(in); len(out.Endpoints) != 1000 || len(out.Parts) != 8 {
		b.Fatalf("%d endpoints, %d parts", len(out.Endpoints), len(out.Parts))
	}
	b.ReportAllocs()
	for b.Loop() {
		Service(in)
	}
}
