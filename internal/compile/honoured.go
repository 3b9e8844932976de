// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Clients are those of a service that have the same in common.
type Clients struct {
	Role policy.Role
	// Namespace is that of callers.
	Namespace string
	// Features are what their runtime declares to honour, Version is the runtime's.
	Features []string
	Version  string
	// Current: they say that they hold what is served now.
	Current bool
	// Number is how many there are, and Rejected how many of them did not take the
	// newest change.
	Number, Rejected int
}

// Census is what is known of clients. The zero Census knows nothing.
type Census struct {
	// Counted: there is a count at all. Complete: nobody is missing in it; else a
	// replica of the operator could not be reached.
	Counted, Complete bool
	// Of are the clients of each service.
	Of map[Key][]Clients
}

// featureLimits is the word by which runtimes declare that they honour limits.
const featureLimits = "limits"

// Count is what a status says of clients.
type Count struct {
	// Clients is nil while the number is not known.
	Clients *v1alpha1.ClientCount
	// Honoured is nil when nothing can be said: what is there stays.
	Honoured *metav1.Condition
}

// CountService gives what the status of an RPCService says of its clients,
// callers and instances.
func (c *Census) CountService(s *v1alpha1.RPCService) Count {
	return c.count(s.Generation, c.Of[KeyOf(s)], nil)
}

// CountCallPolicy gives what the status of a policy says of the callers that it
// binds; reports are those on its targets.
func (c *Census) CountCallPolicy(p *v1alpha1.RPCCallPolicy, reports Reports) Count {
	var bound []Clients
	reach := map[Key]bool{} // true for all callers, false for those of the policy's namespace
	for i := range p.Spec.TargetRefs {
		t := CallTarget(KeyOf(p), &p.Spec.TargetRefs[i])
		for _, r := range reports(t) {
			if r.Attached {
				reach[r.Service] = reach[r.Service] || !stepOf(r.Target).Caller()
			}
		}
	}
	for service, all := range reach {
		for _, clients := range c.Of[service] {
			if clients.Role == policy.Caller && (all || clients.Namespace == p.Namespace) {
				bound = append(bound, clients)
			}
		}
	}
	return c.count(p.Generation, bound, fieldsSet(&p.Spec))
}

// CountLimitPolicy gives what the status of a policy says of the instances that
// it binds.
func (c *Census) CountLimitPolicy(p *v1alpha1.RPCLimitPolicy, reports Reports) Count {
	var bound []Clients
	reach := map[Key]struct{}{}
	for i := range p.Spec.TargetRefs {
		for _, r := range reports(LimitTarget(KeyOf(p), &p.Spec.TargetRefs[i])) {
			if r.Attached {
				reach[r.Service] = struct{}{}
			}
		}
	}
	for service := range reach {
		for _, clients := range c.Of[service] {
			if clients.Role == policy.Server {
				bound = append(bound, clients)
			}
		}
	}
	return c.count(p.Generation, bound, []string{featureLimits})
}

// fieldsSet names the fields of a policy by the words that runtimes declare.
func fieldsSet(spec *v1alpha1.RPCCallPolicySpec) []string {
	fields, overrides, err := fieldsOf(spec)
	if err != nil {
		return nil // the policy is not accepted, and asks nothing of anybody
	}
	var words []string
	for _, f := range []*policy.CallFields{&fields, &overrides} {
		for _, name := range f.Names() {
			words = append(words, policy.Feature(name))
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// count sums up clients; fields are what they have to honour.
func (c *Census) count(generation int64, bound []Clients, fields []string) Count {
	if !c.Counted {
		return Count{}
	}
	total, current := 0, 0
	for _, clients := range bound {
		total += clients.Number
		if clients.Current {
			current += clients.Number - clients.Rejected
		}
	}
	var out Count
	if c.Complete {
		out.Clients = &v1alpha1.ClientCount{Current: clamp(current), Total: clamp(total)}
	}
	verdict := yes(v1alpha1.ReasonAllClients, "all %d clients honour it", total)
	switch trouble := tooOld(bound, fields, total); {
	case trouble != "":
		verdict = no(v1alpha1.ReasonClientsTooOld, "%s", trouble)
	case !c.Complete:
		return out // of those who are missing some may be too old
	case total == 0:
		verdict.status, verdict.reason, verdict.message = metav1.ConditionUnknown, v1alpha1.ReasonNoClients, "nobody subscribes"
	}
	honoured := verdict.condition(v1alpha1.ConditionHonoured, generation)
	out.Honoured = &honoured
	return out
}

// tooOld says which fields are not honoured, by how many clients and which
// versions; empty if all are.
func tooOld(bound []Clients, fields []string, total int) string {
	var trouble []string
	say := func(what string, number int, versions []string) {
		if number == 0 {
			return
		}
		slices.Sort(versions)
		trouble = append(trouble, fmt.Sprintf("%s by %d of %d clients (runtime %s)", what, number, total,
			cmp.Or(listed(slices.Compact(versions)), "of an unknown version")))
	}
	for _, field := range fields {
		number, versions := 0, []string(nil)
		for _, clients := range bound {
			if !slices.Contains(clients.Features, field) {
				number, versions = number+clients.Number, append(versions, clients.Version)
			}
		}
		say(field+" is not honoured", number, versions)
	}
	number, versions := 0, []string(nil)
	for _, clients := range bound {
		if clients.Rejected > 0 {
			number, versions = number+clients.Rejected, append(versions, clients.Version)
		}
	}
	say("the newest change was not taken", number, versions)
	return strings.Join(trouble, "; ")
}

func clamp(n int) int32 { return int32(min(n, math.MaxInt32)) } //nolint:gosec // bounded just here
