// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// everything is what today's runtime honours.
var everything = []string{"failMode", "limits", "loadBalancer", "retry", "timeout"} // constant

func callers(namespace, version string, number int, current bool, features ...string) Clients {
	return Clients{Role: policy.Caller, Namespace: namespace, Version: version, Number: number, Current: current, Features: features}
}

func TestCensus(t *testing.T) {
	shop := func(name string) Key { return Key{Namespace: "shop", Name: name} }
	instances := Clients{Role: policy.Server, Version: "v1", Number: 4, Current: true, Features: everything}
	good := callers("web", "v1", 3, true, everything...)
	late := callers("app", "v1", 2, false, everything...)
	old := callers("app", "v0.1", 5, true, "timeout", "failMode")
	older := callers("web", "v0.0", 1, true)
	refusing := callers("app", "v0.9", 2, true, everything...)
	refusing.Rejected = 1

	policyOf := func(change func(*v1alpha1.RPCCallPolicySpec), refs ...v1alpha1.CallTargetRef) *v1alpha1.RPCCallPolicy {
		p := &v1alpha1.RPCCallPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", Generation: 7}}
		p.Spec.TargetRefs = refs
		change(&p.Spec)
		return p
	}
	ref := func(name string) v1alpha1.CallTargetRef {
		return v1alpha1.CallTargetRef{TargetRef: v1alpha1.TargetRef{Group: v1alpha1.GroupName, Kind: KindRPCService, Name: name}}
	}
	timeout := func(s *v1alpha1.RPCCallPolicySpec) { s.Timeout = new(v1alpha1.Duration("1s")) }
	more := func(s *v1alpha1.RPCCallPolicySpec) {
		timeout(s)
		s.Overrides = &v1alpha1.CallOverrides{Retry: &v1alpha1.RetryPolicy{Attempts: new(int32(3))}}
	}
	theirs := func() *v1alpha1.RPCCallPolicy {
		p := policyOf(timeout)
		p.Namespace = "app"
		far := ref("a")
		far.Namespace = new("shop")
		p.Spec.TargetRefs = []v1alpha1.CallTargetRef{far}
		return p
	}
	wide := func() *v1alpha1.RPCCallPolicy {
		return policyOf(timeout, v1alpha1.CallTargetRef{TargetRef: v1alpha1.TargetRef{
			Kind: KindNamespace, Name: "shop", AppliesTo: new(v1alpha1.AppliesToServices)}}, ref("a"))
	}
	tests := []struct {
		name     string
		policy   *v1alpha1.RPCCallPolicy
		complete bool
		of       map[string][]Clients
		clients  string
		honoured string
	}{
		{"nobody", policyOf(timeout, ref("a")), true, nil, "0/0", "Unknown NoClients: nobody subscribes"},
		{"instances are not bound by it", policyOf(timeout, ref("a")), true, map[string][]Clients{"a": {instances}}, "0/0", "Unknown NoClients: nobody subscribes"},
		{"all", policyOf(more, ref("a")), true, map[string][]Clients{"a": {good, instances}}, "3/3", "True AllClients: all 3 clients honour it"},
		{"some are behind", policyOf(more, ref("a")), true, map[string][]Clients{"a": {good, late}}, "3/5", "True AllClients: all 5 clients honour it"},
		{"of another service", policyOf(more, ref("a")), true, map[string][]Clients{"a": {good}, "b": {old}}, "3/3", "True AllClients: all 3 clients honour it"},
		{"too old for an override", policyOf(more, ref("a")), true, map[string][]Clients{"a": {good, old, older}}, "9/9",
			"False ClientsTooOld: retry is not honoured by 6 of 9 clients (runtime v0.0, v0.1); timeout is not honoured by 1 of 9 clients (runtime v0.0)"},
		{"what is not asked for is not missed", policyOf(timeout, ref("a")), true, map[string][]Clients{"a": {old}}, "5/5", "True AllClients: all 5 clients honour it"},
		{"a refusal", policyOf(timeout, ref("a")), true, map[string][]Clients{"a": {good, refusing}}, "4/5",
			"False ClientsTooOld: the newest change was not taken by 1 of 5 clients (runtime v0.9)"},
		{"a replica is missing", policyOf(timeout, ref("a")), false, map[string][]Clients{"a": {good}}, "", ""},
		{"a replica is missing, and somebody is too old", policyOf(more, ref("a")), false, map[string][]Clients{"a": {good, old}}, "",
			"False ClientsTooOld: retry is not honoured by 5 of 8 clients (runtime v0.1)"},
		{"a caller's policy binds its own callers", theirs(), true, map[string][]Clients{"a": {good, late, callers("web", "v0.0", 1, true)}}, "0/2", "True AllClients: all 2 clients honour it"},
		{"a namespace, and a service of it by name", wide(), true, map[string][]Clients{"a": {good}, "b": {late}}, "3/5", "True AllClients: all 5 clients honour it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := NewObjects(Mode{Registered: true})
			for _, name := range []string{"a", "b"} {
				s := &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
				s.Spec.Source.Type = v1alpha1.SourceRegistered
				mustSet(t, o, s)
			}
			mustSet(t, o, test.policy)
			var book Book
			for _, name := range []string{"a", "b"} {
				book.Set(nil, Service(o.Input(shop(name))).Targets)
			}
			census := Census{Counted: true, Complete: test.complete, Of: map[Key][]Clients{}}
			for name, clients := range test.of {
				census.Of[shop(name)] = clients
			}
			got := census.CountCallPolicy(test.policy, book.Reports)
			if shown := showClients(got); shown != test.clients {
				t.Errorf("clients %q, want %q", shown, test.clients)
			}
			if shown := showHonoured(got); shown != test.honoured {
				t.Errorf("honoured\n%q, want\n%q", shown, test.honoured)
			}
			if got.Honoured != nil {
				checkConditions(t, KindRPCCallPolicy, []metav1.Condition{*got.Honoured}, 1)
			}
			if got := (&Census{}).CountCallPolicy(test.policy, book.Reports); got != (Count{}) {
				t.Errorf("without a count: %+v", got)
			}
		})
	}
}

func showClients(c Count) string {
	if c.Clients == nil {
		return ""
	}
	return fmt.Sprintf("%d/%d", c.Clients.Current, c.Clients.Total)
}

func showHonoured(c Count) string {
	if c.Honoured == nil {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", c.Honoured.Status, c.Honoured.Reason, c.Honoured.Message)
}

// TestCensusOfServicesAndLimits counts whom the other kinds bind.
func TestCensusOfServicesAndLimits(t *testing.T) {
	o := NewObjects(Mode{Registered: true})
	s := &v1alpha1.RPCService{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", Generation: 2}}
	s.Spec.Source.Type = v1alpha1.SourceRegistered
	l := &v1alpha1.RPCLimitPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "l", Generation: 3}}
	l.Spec.TargetRefs = []v1alpha1.TargetRef{{Kind: KindNamespace, Name: "shop", AppliesTo: new(v1alpha1.AppliesToServices)}}
	l.Spec.Limits = []v1alpha1.Limit{{Name: "all", Concurrency: &v1alpha1.ConcurrencyLimit{Max: new(int32(3))}}}
	mustSet(t, o, s)
	mustSet(t, o, l)
	var book Book
	book.Set(nil, Service(o.Input(KeyOf(s))).Targets)
	census := Census{Counted: true, Complete: true, Of: map[Key][]Clients{KeyOf(s): {
		callers("web", "v1", 3, false, everything...),
		{Role: policy.Server, Version: "v1", Number: 2, Current: true, Features: everything},
		{Role: policy.Server, Version: "v0.1", Number: 1, Current: true, Features: []string{"timeout"}},
	}}}
	if got := census.CountService(s); showClients(got) != "3/6" || showHonoured(got) != "True AllClients: all 6 clients honour it" {
		t.Errorf("the service has %q, %q", showClients(got), showHonoured(got))
	}
	want := "False ClientsTooOld: limits is not honoured by 1 of 3 clients (runtime v0.1)"
	if got := census.CountLimitPolicy(l, book.Reports); showClients(got) != "3/3" || showHonoured(got) != want {
		t.Errorf("the limits have %q, %q", showClients(got), showHonoured(got))
	}
}
