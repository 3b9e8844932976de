// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

func sourceOf(kind string, o metav1.Object) policy.Source {
	s := policy.Source{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), Generation: o.GetGeneration()}
	// Objects that never were in an API server have no age.
	if created := o.GetCreationTimestamp(); !created.IsZero() {
		s.Created = created.Unix()
	}
	return s
}

// durations parses fields and keeps the first error, so that a conversion reads
// as a list of its fields.
type durations struct{ err error }

func (d *durations) parse(field string, from v1alpha1.Duration) time.Duration {
	parsed, err := from.Parse()
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("%s: %w", field, err)
	}
	return parsed
}

func (d *durations) optional(field string, from *v1alpha1.Duration) *time.Duration {
	if from == nil {
		return nil
	}
	parsed := d.parse(field, *from)
	return &parsed
}

// callSpec is what a call policy says, as fields or as overrides.
type callSpec struct {
	timeout      *v1alpha1.Duration
	failMode     *v1alpha1.FailMode
	retry        *v1alpha1.RetryPolicy
	loadBalancer *v1alpha1.LoadBalancer
}

// fieldsOf gives what a call policy sets, and what it overrides. A value that is
// out of bounds, or a word that this version does not know, goes through:
// merging lets that field alone fall back, and the policy's report says so.
func fieldsOf(spec *v1alpha1.RPCCallPolicySpec) (fields, overrides policy.CallFields, err error) {
	var d durations
	fields = d.fields("spec.", callSpec{spec.Timeout, spec.FailMode, spec.Retry, spec.LoadBalancer})
	if o := spec.Overrides; o != nil {
		overrides = d.fields("spec.overrides.", callSpec{o.Timeout, o.FailMode, o.Retry, o.LoadBalancer})
	}
	return fields, overrides, d.err
}

func (d *durations) fields(at string, spec callSpec) policy.CallFields {
	f := policy.CallFields{
		Timeout:  d.optional(at+"timeout", spec.timeout),
		FailMode: policy.FailMode(deref(spec.failMode)),
	}
	if spec.loadBalancer != nil {
		f.LoadBalancer = policy.LoadBalancer(deref(spec.loadBalancer.Type))
	}
	if r := spec.retry; r != nil {
		f.Attempts = r.Attempts
		f.PerTryTimeout = d.optional(at+"retry.perTryTimeout", r.PerTryTimeout)
		if b := r.Backoff; b != nil {
			f.Backoff = &policy.Backoff{
				Base: d.parse(at+"retry.backoff.base", b.Base),
				Max:  d.parse(at+"retry.backoff.max", b.Max),
			}
		}
		if b := r.Budget; b != nil {
			f.Budget = &policy.Budget{Percent: b.Percent, Interval: d.parse(at+"retry.budget.interval", b.Interval)}
		}
		if m := r.MinRetryRate; m != nil {
			f.MinRetryRate = &policy.Rate{Count: m.Count, Interval: d.parse(at+"retry.minRetryRate.interval", m.Interval)}
		}
	}
	return f
}

// limitsOf gives a limit policy's limits for one of its targets; section is the
// method that the target names, or empty.
func limitsOf(p *v1alpha1.RPCLimitPolicy, section string) ([]policy.Limit, error) {
	limits := make([]policy.Limit, 0, len(p.Spec.Limits))
	for _, l := range p.Spec.Limits {
		out := policy.Limit{
			Source:      sourceOf(KindRPCLimitPolicy, p),
			Name:        l.Name,
			By:          policy.By(deref(l.By)),
			CallerNames: policy.CallerNames(deref(l.CallerNames)),
		}
		for _, m := range l.Methods {
			out.Methods = append(out.Methods, string(m))
		}
		if section != "" {
			out.Section, out.Methods = section, append(out.Methods, section)
		}
		if r := l.Rate; r != nil {
			var d durations
			out.Rate = &policy.Rate{Count: r.Count, Interval: d.parse("rate.interval", r.Interval)}
			out.Burst = deref(r.Burst)
			if d.err != nil {
				return nil, fmt.Errorf("spec.limits[%s]: %w", l.Name, d.err)
			}
		}
		if c := l.Concurrency; c != nil {
			out.MaxConcurrent = deref(c.Max)
		}
		if err := out.Validate(); err != nil {
			return nil, fmt.Errorf("spec.limits: %w", err)
		}
		for _, other := range limits {
			if other.Name == out.Name {
				return nil, fmt.Errorf("spec.limits: %q stands twice", out.Name)
			}
		}
		limits = append(limits, out)
	}
	return limits, nil
}
