// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"slices"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// CallInfo is what limits look at of a call.
type CallInfo struct {
	// Method is Path.Method.
	Method string
	// Caller is the calling workload, empty when it did not say.
	Caller string
	// Proven says that the name comes from a token or certificate.
	Proven bool
}

// Verdict is what becomes of a call. More kinds of it may come.
type Verdict uint8

const (
	// Run the handler, and call the ticket's Done when it has returned.
	Run Verdict = iota
	// Refuse the call, unexecuted.
	Refuse
)

// Decision is a verdict, and for a refusal its grounds.
type Decision struct {
	Verdict Verdict
	// After is the delay after which another try makes sense.
	After time.Duration
	// Limit is the one that refused, nil when none did. It must not be changed.
	Limit *policy.Limit
}

// Limiter admits calls. See the package's documentation.
type Limiter struct {
	rules []rule
	// everywhere are the rules that cover methods that no limit names.
	everywhere []rule
	// byMethod has all rules that cover a method that a limit names; nil when
	// none names any, which spares Admit the lookup.
	byMethod map[string][]rule
}

// rule is a limit and its counts. The counts outlive it.
type rule struct {
	limit  *policy.Limit
	counts *counts
}

// New returns a Limiter whose buckets are full.
func New(limits []policy.Limit) *Limiter {
	return (*Limiter)(nil).With(limits)
}

// With returns a Limiter of other limits. It shares the counts of those that
// are the same but for their origin's generation and age, so that an edit
// elsewhere fills no bucket.
func (l *Limiter) With(limits []policy.Limit) *Limiter {
	held := map[string]rule{}
	if l != nil {
		for _, r := range l.rules {
			held[r.limit.ID()] = r
		}
	}
	next := &Limiter{}
	for _, limit := range limits {
		if limit.Rate == nil && limit.MaxConcurrent <= 0 {
			continue
		}
		r := rule{limit: &limit}
		if old, ok := held[limit.ID()]; ok && same(old.limit, &limit) {
			r.counts = old.counts
		} else {
			r.counts = newCounts(&limit)
		}
		next.rules = append(next.rules, r)
	}
	next.index()
	return next
}

// same reports whether two versions of a limit mean the same.
func same(a, b *policy.Limit) bool {
	rate := (a.Rate == nil) == (b.Rate == nil) && (a.Rate == nil || *a.Rate == *b.Rate)
	return rate && a.Burst == b.Burst && a.MaxConcurrent == b.MaxConcurrent &&
		a.By == b.By && a.CallerNames == b.CallerNames && slices.Equal(a.Methods, b.Methods)
}

func (l *Limiter) index() {
	for _, r := range l.rules {
		if len(r.limit.Methods) == 0 {
			l.everywhere = append(l.everywhere, r)
		}
		for _, method := range r.limit.Methods {
			if l.byMethod == nil {
				l.byMethod = map[string][]rule{}
			}
			l.byMethod[method] = nil
		}
	}
	for method := range l.byMethod {
		for _, r := range l.rules {
			if len(r.limit.Methods) == 0 || slices.Contains(r.limit.Methods, method) {
				l.byMethod[method] = append(l.byMethod[method], r)
			}
		}
	}
}

// Admit decides on a call. For a call that runs, and only for that, Done of the
// ticket must be called.
func (l *Limiter) Admit(c CallInfo, now time.Duration) (Ticket, Decision) {
	if l == nil {
		return Ticket{}, Decision{}
	}
	rules := l.everywhere
	if l.byMethod != nil {
		if named, ok := l.byMethod[c.Method]; ok {
			rules = named
		}
	}
	var t Ticket
	for i := range rules {
		r := &rules[i]
		e, after := r.counts.admit(&c, now)
		if e == nil {
			t.giveBack()
			return Ticket{}, Decision{Verdict: Refuse, After: after, Limit: r.limit}
		}
		t.hold(e)
	}
	return t, Decision{}
}

// inlineLimits is how many limits a ticket holds without allocating.
const inlineLimits = 4

// Ticket is what a running call holds of the limits that admitted it. It
// belongs to one goroutine at a time.
type Ticket struct {
	// Invariant: few is filled from the front; more is used when it is full.
	few  [inlineLimits]*entry
	more []*entry
}

func (t *Ticket) hold(e *entry) {
	for i := range t.few {
		if t.few[i] == nil {
			t.few[i] = e
			return
		}
	}
	t.more = append(t.more, e)
}

// Done says that the handler has returned. Of several calls on one ticket only
// the first counts, but copies of a ticket do not know of each other.
func (t *Ticket) Done() {
	for i, e := range t.few {
		if e == nil {
			return
		}
		e.release()
		t.few[i] = nil
	}
	for _, e := range t.more {
		e.release()
	}
	t.more = nil
}

// giveBack undoes what a refused call had taken.
func (t *Ticket) giveBack() {
	for _, e := range t.few {
		if e != nil {
			e.giveBack()
		}
	}
	for _, e := range t.more {
		e.giveBack()
	}
}
