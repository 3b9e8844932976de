// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"time"
)

// leaf is one field of CallFields as merging sees it: set or taken whole.
type leaf struct {
	// name is the field as users write it in a manifest.
	name string
	set  func(*CallFields) bool
	// take copies the leaf, set or not.
	take func(dst, src *CallFields)
	// wrong says why the value cannot be used, whatever the others are; empty
	// when it can. It is asked only for a leaf that is set.
	wrong func(*CallFields) string
	// show gives the value as users write it. It is asked only for a set leaf.
	show func(*CallFields) string
}

// The indices of leaves; the order is the one that people see.
const (
	leafTimeout = iota
	leafFailMode
	leafAttempts
	leafPerTryTimeout
	leafBackoff
	leafBudget
	leafMinRetryRate
	leafLoadBalancer
	leafCount
)

// leaves is read-only.
var leaves = [leafCount]leaf{
	leafTimeout: {
		name:  "timeout",
		set:   func(f *CallFields) bool { return f.Timeout != nil },
		take:  func(dst, src *CallFields) { dst.Timeout = src.Timeout },
		wrong: func(f *CallFields) string { return wrongDuration("timeout", *f.Timeout) },
		show:  func(f *CallFields) string { return showDuration(*f.Timeout) },
	},
	leafFailMode: {
		name:  "failMode",
		set:   func(f *CallFields) bool { return f.FailMode != "" },
		take:  func(dst, src *CallFields) { dst.FailMode = src.FailMode },
		wrong: func(f *CallFields) string { return wrongWord("failMode", f.FailMode, Failfast, Failover) },
		show:  func(f *CallFields) string { return string(f.FailMode) },
	},
	leafAttempts: {
		name: "retry.attempts",
		set:  func(f *CallFields) bool { return f.Attempts != nil },
		take: func(dst, src *CallFields) { dst.Attempts = src.Attempts },
		wrong: func(f *CallFields) string {
			return wrongCount("retry.attempts", *f.Attempts, 1, MaxAttempts)
		},
		show: func(f *CallFields) string { return fmt.Sprint(*f.Attempts) },
	},
	leafPerTryTimeout: {
		name:  "retry.perTryTimeout",
		set:   func(f *CallFields) bool { return f.PerTryTimeout != nil },
		take:  func(dst, src *CallFields) { dst.PerTryTimeout = src.PerTryTimeout },
		wrong: func(f *CallFields) string { return wrongDuration("retry.perTryTimeout", *f.PerTryTimeout) },
		show:  func(f *CallFields) string { return showDuration(*f.PerTryTimeout) },
	},
	leafBackoff: {
		name:  "retry.backoff",
		set:   func(f *CallFields) bool { return f.Backoff != nil },
		take:  func(dst, src *CallFields) { dst.Backoff = src.Backoff },
		wrong: func(f *CallFields) string { return wrongBackoff(f.Backoff) },
		show: func(f *CallFields) string {
			return fmt.Sprintf("{base: %s, max: %s}", showDuration(f.Backoff.Base), showDuration(f.Backoff.Max))
		},
	},
	leafBudget: {
		name: "retry.budget",
		set:  func(f *CallFields) bool { return f.Budget != nil },
		take: func(dst, src *CallFields) { dst.Budget = src.Budget },
		wrong: func(f *CallFields) string {
			return firstOf(wrongCount("retry.budget.percent", f.Budget.Percent, 0, MaxPercent),
				wrongDuration("retry.budget.interval", f.Budget.Interval))
		},
		show: func(f *CallFields) string {
			return fmt.Sprintf("{percent: %d, interval: %s}", f.Budget.Percent, showDuration(f.Budget.Interval))
		},
	},
	leafMinRetryRate: {
		name: "retry.minRetryRate",
		set:  func(f *CallFields) bool { return f.MinRetryRate != nil },
		take: func(dst, src *CallFields) { dst.MinRetryRate = src.MinRetryRate },
		wrong: func(f *CallFields) string {
			return firstOf(wrongCount("retry.minRetryRate.count", f.MinRetryRate.Count, 0, MaxCount),
				wrongDuration("retry.minRetryRate.interval", f.MinRetryRate.Interval))
		},
		show: func(f *CallFields) string {
			return fmt.Sprintf("{count: %d, interval: %s}", f.MinRetryRate.Count, showDuration(f.MinRetryRate.Interval))
		},
	},
	leafLoadBalancer: {
		name: "loadBalancer.type",
		set:  func(f *CallFields) bool { return f.LoadBalancer != "" },
		take: func(dst, src *CallFields) { dst.LoadBalancer = src.LoadBalancer },
		wrong: func(f *CallFields) string {
			return wrongWord("loadBalancer.type", f.LoadBalancer, Random, RoundRobin, LeastRequest)
		},
		show: func(f *CallFields) string { return string(f.LoadBalancer) },
	},
}

// Empty says whether no field is set.
func (f *CallFields) Empty() bool {
	for i := range leaves {
		if leaves[i].set(f) {
			return false
		}
	}
	return true
}

// Names gives the fields that are set, named as in Field.Name.
func (f *CallFields) Names() []string {
	var names []string
	for i := range leaves {
		if leaves[i].set(f) {
			names = append(names, leaves[i].name)
		}
	}
	return names
}

// Feature gives the word by which runtimes declare that they honour a field,
// named as in Field.Name: the part of it before the first dot.
func Feature(field string) string {
	feature, _, _ := strings.Cut(field, ".")
	return feature
}

func firstOf(reasons ...string) string {
	for _, r := range reasons {
		if r != "" {
			return r
		}
	}
	return ""
}

func wrongDuration(name string, d time.Duration) string {
	if d <= 0 || d > MaxDuration {
		return fmt.Sprintf("%s %s is not above 0 and up to %s", name, showDuration(d), showDuration(MaxDuration))
	}
	return ""
}

func wrongCount(name string, n, low, high int32) string {
	if n < low || n > high {
		return fmt.Sprintf("%s %d is not between %d and %d", name, n, low, high)
	}
	return ""
}

func wrongBackoff(b *Backoff) string {
	if r := firstOf(wrongDuration("retry.backoff.base", b.Base), wrongDuration("retry.backoff.max", b.Max)); r != "" {
		return r
	}
	if b.Base > b.Max {
		return fmt.Sprintf("retry.backoff.base %s is longer than retry.backoff.max %s", showDuration(b.Base), showDuration(b.Max))
	}
	return ""
}

func wrongWord[T ~string](name string, word T, known ...T) string {
	all := make([]string, len(known))
	for i, k := range known {
		if word == k {
			return ""
		}
		all[i] = string(k)
	}
	return fmt.Sprintf("%s %q is none of %s", name, string(word), strings.Join(all, ", "))
}

// showDuration writes d as manifests do (GEP-2257: hours, minutes, seconds and
// milliseconds); a duration that has no such form is written as Go writes it.
func showDuration(d time.Duration) string {
	if d <= 0 || d%time.Millisecond != 0 {
		return d.String()
	}
	var b strings.Builder
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d %= u.unit
		}
	}
	return b.String()
}
