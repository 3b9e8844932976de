// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Question asks what calls of a method are made with.
type Question struct {
	// Caller is who calls. Its namespace decides; its name is repeated only.
	Caller  Key
	Service Key
	// Method is PATH.METHOD.
	Method string
}

// What is known of whether a caller may subscribe.
const (
	Allowed = "Allowed"
	Refused = "Refused"
	Unknown = "Unknown"
)

// Call is the answer, as JSON. docs/cli.md
type Call struct {
	Caller  Name   `json:"caller"`
	Service string `json:"service"`
	// Generation is the RPCService's; ObservedGeneration the one that its status,
	// and with it Clients, is about.
	Generation         int64  `json:"generation"`
	ObservedGeneration int64  `json:"observedGeneration,omitempty"`
	Method             string `json:"method"`
	// Declared are the methods that the RPCService declares, sorted.
	Declared []string `json:"declared"`
	// Idempotency is Idempotent or NotIdempotent; what is not declared is not.
	Idempotency v1alpha1.Idempotency `json:"idempotency"`
	// Subscription is Allowed, Refused or Unknown.
	Subscription string `json:"subscription"`
	// Digest is of what the caller is served.
	Digest string `json:"digest,omitempty"`
	// Clients are those of the service, by its status.
	Clients *Clients `json:"clients,omitempty"`
	// Callers are those that run, as the operator's replicas say; nil when none
	// answered, and NotAsked says why.
	Callers  *Callers `json:"callers,omitempty"`
	NotAsked string   `json:"notAsked,omitempty"`
	// Fields are the policy in force; none when the caller may not subscribe.
	Fields    []Field    `json:"fields"`
	Fallbacks []Fallback `json:"fallbacks"`
	Limits    []Limit    `json:"limits"`
	// NoEffect are policies that name the service and do nothing for this call.
	NoEffect []NoEffect `json:"noEffect"`
	NotRead  []NotRead  `json:"notRead"`

	offline bool
	// policyDigest is of the policy, as publish.PolicyDigest; empty when not known.
	policyDigest string
}

// Name is an object's.
type Name struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// Clients are those that subscribe to a service, callers and instances.
type Clients struct {
	// Current hold what is served, of Total.
	Current int32 `json:"current"`
	Total   int32 `json:"total"`
}

// Origin is what set a value: a default, or an object.
type Origin struct {
	// Step is the place in the order of merging, as in "owner's service"; empty for
	// what does not merge.
	Step       string `json:"step,omitempty"`
	Kind       string `json:"kind,omitempty"`
	Namespace  string `json:"namespace,omitempty"`
	Name       string `json:"name,omitempty"`
	Generation int64  `json:"generation,omitempty"`

	overrides bool
}

// Field is a value in force.
type Field struct {
	Field string `json:"field"`
	Value string `json:"value"`
	SetBy Origin `json:"setBy"`
	// InsteadOf are the values that it overrides, strongest first.
	InsteadOf []Overridden `json:"insteadOf"`
}

// Overridden is a value that another one overrides.
type Overridden struct {
	Value string `json:"value"`
	SetBy Origin `json:"setBy"`
}

// Fallback is a value that would be in force and cannot be.
type Fallback struct {
	Field  string `json:"field"`
	Value  string `json:"value"`
	SetBy  Origin `json:"setBy"`
	Reason string `json:"reason"`
}

// Limit is one that each instance holds calls of the method to.
type Limit struct {
	Name string `json:"name"`
	// Rate is nil when only concurrency is limited.
	Rate *Rate `json:"rate,omitempty"`
	// Concurrency is 0 when only the rate is limited.
	Concurrency int32 `json:"concurrency,omitempty"`
	// By is All or Caller.
	By          policy.By          `json:"by"`
	CallerNames policy.CallerNames `json:"callerNames,omitempty"`
	// Methods share the count; none means all methods together.
	Methods []string `json:"methods"`
	SetBy   Origin   `json:"setBy"`
}

// Rate is Count per Interval, Burst at once.
type Rate struct {
	Count    int32  `json:"count"`
	Interval string `json:"interval"`
	Burst    int32  `json:"burst"`
}

// NoEffect is a policy that names the service in vain.
type NoEffect struct {
	Policy    Origin `json:"policy"`
	Condition string `json:"condition"`
	Reason    string `json:"reason"`
	Message   string `json:"message"`
}

// Call answers a question. The method's name must be a valid one.
func (w *World) Call(q Question) (*Call, error) {
	s, err := w.service(q.Service)
	if err != nil {
		return nil, err
	}
	if w.offline && selects(s) && q.Caller.Namespace != s.Namespace {
		if err := w.admit(s); err != nil {
			return nil, err
		}
	}
	out, err := w.served(q.Service)
	if err != nil {
		return nil, err
	}
	c := &Call{
		Caller: Name(q.Caller), Service: q.Service.String(), Generation: s.Generation, ObservedGeneration: s.Status.ObservedGeneration,
		Method: q.Method, offline: w.offline,
		Clients: clientsOf(s), Fields: []Field{}, Fallbacks: []Fallback{}, Limits: []Limit{}, Declared: []string{},
		NoEffect: []NoEffect{}, NotRead: listOf(w.notRead), Idempotency: v1alpha1.NotIdempotent,
	}
	c.Subscription = w.subscription(out, q.Caller.Namespace)
	snapshot, err := policy.Decode(c.Service, policy.Caller, out.PartsFor(policy.Caller, q.Caller.Namespace))
	if err != nil {
		return nil, err
	}
	if err := c.method(snapshot); err != nil {
		return nil, err
	}
	c.noEffect(out.Targets, q.Caller.Namespace)
	if c.Subscription == Refused {
		return c, nil
	}
	if !w.noDigest {
		c.Digest = snapshot.Digest.Short()
	}
	if !w.noPolicy {
		c.policyDigest = policyDigest(out.PartsFor(policy.Caller, q.Caller.Namespace))
	}
	c.policy(snapshot.Effective(q.Method))
	instance, err := policy.Decode(c.Service, policy.Server, out.PartsFor(policy.Server, ""))
	if err != nil {
		return nil, err
	}
	for i := range instance.Limits {
		if l := &instance.Limits[i]; len(l.Methods) == 0 || slices.Contains(l.Methods, q.Method) {
			c.Limits = append(c.Limits, w.limit(l))
		}
	}
	return c, nil
}

// served compiles a service, which must be one that is taken up.
func (w *World) served(key Key) (compile.ServiceOutput, error) {
	out := compile.Service(w.objects.Input(key))
	if !out.Published {
		why := "it is not accepted"
		for _, c := range out.Report.Conditions {
			if c.Type == v1alpha1.ConditionAccepted {
				why = c.Message
			}
		}
		return out, &UnservedError{key, why}
	}
	return out, nil
}

func (w *World) subscription(out compile.ServiceOutput, caller string) string {
	switch {
	case w.unsure:
		return Unknown
	case out.Consumers == nil || slices.Contains(out.Consumers, caller):
		return Allowed
	default:
		return Refused
	}
}

// policyDigest is of what callers go by, endpoints aside.
func policyDigest(parts []policy.Part) string {
	digests := make([]policy.PartDigest, 0, len(parts))
	for i := range parts {
		digests = append(digests, policy.PartDigest{Name: parts[i].Name, Digest: parts[i].Digest})
	}
	return publish.PolicyDigest(digests).String()
}

func clientsOf(s *v1alpha1.RPCService) *Clients {
	if s.Status.Clients == nil {
		return nil
	}
	return &Clients{s.Status.Clients.Current, s.Status.Clients.Total}
}

// method says what is declared; a method whose calls are refused is not there.
func (c *Call) method(s *policy.Snapshot) error {
	for _, m := range s.Methods.Declared {
		c.Declared = append(c.Declared, m.Name)
	}
	if s.MethodIdempotent(c.Method) {
		c.Idempotency = v1alpha1.Idempotent
	}
	if s.Refused(c.Method) {
		return &NotFoundError{fmt.Sprintf("RPCService %s does not declare %s, and refuses what it does not declare; it declares %s",
			c.Service, c.Method, c.declares()), near(c.Method, c.Declared)}
	}
	return nil
}

// declares lists the methods that are declared.
func (c *Call) declares() string {
	switch n := len(c.Declared); {
	case n == 0:
		return "no method"
	case n > most:
		return fmt.Sprintf("%s and %d more", strings.Join(bounded(c.Declared), ", "), n-most)
	default:
		return strings.Join(c.Declared, ", ")
	}
}

func originOf(step policy.Step, s policy.Source) Origin {
	return Origin{step.String(), s.Kind, s.Namespace, s.Name, s.Generation, step.Overrides()}
}

func (c *Call) policy(e policy.Effective) {
	for _, f := range e.Fields {
		field := Field{Field: f.Name, Value: f.Value, SetBy: originOf(f.Step, f.Source), InsteadOf: []Overridden{}}
		for _, was := range f.InsteadOf {
			field.InsteadOf = append(field.InsteadOf, Overridden{was.Value, originOf(was.Step, was.Source)})
		}
		c.Fields = append(c.Fields, field)
	}
	for _, f := range e.Fallbacks {
		c.Fallbacks = append(c.Fallbacks, Fallback{f.Field, f.Value, originOf(f.Step, f.Source), f.Reason})
	}
}

// limit says what a limit says, its interval in the words of the policy.
func (w *World) limit(l *policy.Limit) Limit {
	out := Limit{
		Name: l.Name, Concurrency: l.MaxConcurrent, By: policy.ByAll, Methods: listOf(l.Methods),
		SetBy: Origin{Kind: l.Source.Kind, Namespace: l.Source.Namespace, Name: l.Source.Name, Generation: l.Source.Generation},
	}
	if l.By == policy.ByCaller {
		out.By, out.CallerNames = l.By, cmp.Or(l.CallerNames, policy.Proven)
	}
	if l.Rate == nil {
		return out
	}
	out.Rate = &Rate{Count: l.Rate.Count, Interval: l.Rate.Interval.String(), Burst: cmp.Or(l.Burst, l.Rate.Count)}
	for _, said := range w.objects.LimitPolicy(Key{Namespace: l.Source.Namespace, Name: l.Source.Name}).Spec.Limits {
		if said.Name == l.Name && said.Rate != nil {
			out.Rate.Interval = string(said.Rate.Interval)
		}
	}
	return out
}

// noEffect takes policies whose reference to the service does nothing.
func (c *Call) noEffect(targets []compile.TargetReport, caller string) {
	for i := range targets {
		t := &targets[i]
		switch {
		case t.Attached, t.Section != "" && t.Section != c.Method && !slices.Contains(t.Undeclared, t.Section):
			continue
		case t.AppliesTo == v1alpha1.AppliesToCallers && t.Policy.Namespace != caller:
			continue
		}
		for _, condition := range t.Conditions {
			if condition.Status == metav1.ConditionFalse {
				c.NoEffect = append(c.NoEffect, NoEffect{
					Policy: Origin{
						Kind: t.Kind, Namespace: t.Policy.Namespace, Name: t.Policy.Name, Generation: condition.ObservedGeneration,
					},
					Condition: condition.Type, Reason: condition.Reason, Message: condition.Message,
				})
				break
			}
		}
	}
}
