// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Effective is the policy that calls of one method are made with, and how it
// came about. Every value is set and valid, whatever the layers said.
type Effective struct {
	Timeout  time.Duration
	FailMode FailMode
	Attempts int32
	// PerTryTimeout is 0 when there is none.
	// Invariant: PerTryTimeout <= Timeout.
	PerTryTimeout time.Duration
	// Invariant: 0 < Backoff.Base <= Backoff.Max.
	Backoff      Backoff
	Budget       Budget
	MinRetryRate Rate
	LoadBalancer LoadBalancer

	// Fields says where each value came from, in the order of the
	// documentation. A field without a value is left out.
	Fields []Field
	// Fallbacks are the values that would have been in force and could not be.
	Fallbacks []Fallback
}

// Field is the provenance of one value.
type Field struct {
	// Name is the field as users write it: "timeout", "retry.attempts".
	Name string
	// Value is as users write it.
	Value  string
	Source Source
	Step   Step
	// InsteadOf are the values that this one overrides, strongest first.
	InsteadOf []Was
}

// Was is a value that another one overrides.
type Was struct {
	Value  string
	Source Source
	Step   Step
}

// Fallback is a value that could not be used: a weaker one is in force.
type Fallback struct {
	// Field and Value are as users write them.
	Field  string
	Value  string
	Source Source
	Step   Step
	// Reason names the values that do not go together, or the bound.
	Reason string
}

// rule is a relation between leaves. All rules hold for Defaults alone.
type rule struct {
	// leaves takes part; of two that one layer set, the first gives way.
	leaves []int
	broken func(*CallFields) string
}

// rules is read-only.
var rules = []rule{{
	leaves: []int{leafPerTryTimeout, leafTimeout},
	broken: func(f *CallFields) string {
		if f.PerTryTimeout == nil || *f.PerTryTimeout <= *f.Timeout {
			return ""
		}
		return fmt.Sprintf("retry.perTryTimeout %s is longer than timeout %s",
			showDuration(*f.PerTryTimeout), showDuration(*f.Timeout))
	},
}}

// Merge gives the policy of method out of the layers of the owner and of the
// caller's namespace, in any order; layers of other methods are left out, and
// method may be empty for a method that no layer names. Defaults is the weakest
// layer by itself.
//
// A value that is invalid, alone or beside others, falls back to the next
// weaker one. Of several that do not go together, the one of the strongest
// layer gives way first; one that turns out to be harmless, because another
// gave way later, is taken back.
func Merge(layers []Layer, method string) Effective {
	m := newMerge(layers, method)
	m.fallBack()
	m.takeBack()
	return m.result()
}

// merge is the state of one Merge.
type merge struct {
	// chain has the layers, strongest first; the last is Defaults.
	chain []*Layer
	// at is the index in chain whose value is in force, by leaf; len(chain)
	// when no value is.
	// Invariant: chain[at[i]] sets leaf i, or at[i] == len(chain).
	at [leafCount]int
	// dropped are the values that gave way.
	dropped []drop
}

type drop struct {
	leaf, at int
	reason   string
}

func newMerge(layers []Layer, method string) *merge {
	defaults := Defaults()
	m := &merge{chain: make([]*Layer, 0, len(layers)+1)}
	for i := range layers {
		if layers[i].Method == "" || layers[i].Method == method {
			m.chain = append(m.chain, &layers[i])
		}
	}
	slices.SortFunc(m.chain, func(a, b *Layer) int { return compareLayers(b, a) })
	m.chain = append(m.chain, &defaults)
	for i := range leaves {
		m.at[i] = m.next(i, 0)
	}
	return m
}

// compareLayers orders layers weakest first. It is total: layers that compare
// equal are equal.
func compareLayers(a, b *Layer) int {
	if c := cmp.Or(
		cmp.Compare(a.Step, b.Step),
		// Younger is weaker.
		cmp.Compare(b.Source.Created, a.Source.Created),
		cmp.Compare(b.Source.Namespace, a.Source.Namespace),
		cmp.Compare(b.Source.Name, a.Source.Name),
		// What follows tells apart only what no operator sends.
		cmp.Compare(a.Method, b.Method),
		cmp.Compare(b.Source.Kind, a.Source.Kind),
		cmp.Compare(a.Source.Generation, b.Source.Generation),
	); c != 0 {
		return c
	}
	return cmp.Compare(showFields(&a.Fields), showFields(&b.Fields))
}

func showFields(f *CallFields) string {
	var b strings.Builder
	for i := range leaves {
		if leaves[i].set(f) {
			fmt.Fprintf(&b, "%s=%q ", leaves[i].name, leaves[i].show(f))
		}
	}
	return b.String()
}

// next gives the strongest layer from index on that sets the leaf.
func (m *merge) next(leaf, from int) int {
	for i := from; i < len(m.chain); i++ {
		if leaves[leaf].set(&m.chain[i].Fields) {
			return i
		}
	}
	return len(m.chain)
}

// fields gives the values in force.
func (m *merge) fields() CallFields {
	var f CallFields
	for i, at := range m.at {
		if at < len(m.chain) {
			leaves[i].take(&f, &m.chain[at].Fields)
		}
	}
	return f
}

// fallBack drops values until what is left is valid. It ends, since each turn
// drops a value and Defaults alone is valid.
func (m *merge) fallBack() {
	for {
		leaf, reason := m.offender()
		if reason == "" {
			return
		}
		m.dropped = append(m.dropped, drop{leaf: leaf, at: m.at[leaf], reason: reason})
		m.at[leaf] = m.next(leaf, m.at[leaf]+1)
	}
}

// offender names the leaf that has to give way, and why; an empty reason means
// that the values in force are valid.
func (m *merge) offender() (int, string) {
	f := m.fields()
	for i := range leaves {
		if leaves[i].set(&f) {
			if reason := leaves[i].wrong(&f); reason != "" {
				return i, reason
			}
		}
	}
	for _, r := range rules {
		if reason := r.broken(&f); reason != "" {
			strongest := r.leaves[0]
			for _, l := range r.leaves[1:] {
				if m.at[l] < m.at[strongest] {
					strongest = l
				}
			}
			return strongest, reason
		}
	}
	return 0, ""
}

// takeBack puts dropped values back where they do no harm, strongest first,
// and keeps in dropped only what would be in force otherwise.
func (m *merge) takeBack() {
	slices.SortFunc(m.dropped, func(a, b drop) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.leaf, b.leaf))
	})
	for _, d := range m.dropped {
		was := m.at[d.leaf]
		if d.at > was {
			continue
		}
		m.at[d.leaf] = d.at
		if _, reason := m.offender(); reason != "" {
			m.at[d.leaf] = was
		}
	}
	m.dropped = slices.DeleteFunc(m.dropped, func(d drop) bool { return d.at >= m.at[d.leaf] })
	slices.SortStableFunc(m.dropped, func(a, b drop) int { return cmp.Compare(a.leaf, b.leaf) })
}

func (m *merge) result() Effective {
	f := m.fields()
	e := Effective{
		Timeout:      *f.Timeout,
		FailMode:     f.FailMode,
		Attempts:     *f.Attempts,
		Backoff:      *f.Backoff,
		Budget:       *f.Budget,
		MinRetryRate: *f.MinRetryRate,
		LoadBalancer: f.LoadBalancer,
	}
	if f.PerTryTimeout != nil {
		e.PerTryTimeout = *f.PerTryTimeout
	}
	for i, at := range m.at {
		if at == len(m.chain) {
			continue
		}
		now := m.was(i, at)
		field := Field{Name: leaves[i].name, Value: now.Value, Source: now.Source, Step: now.Step}
		for at = m.next(i, at+1); at < len(m.chain); at = m.next(i, at+1) {
			field.InsteadOf = append(field.InsteadOf, m.was(i, at))
		}
		e.Fields = append(e.Fields, field)
	}
	for _, d := range m.dropped {
		was := m.was(d.leaf, d.at)
		e.Fallbacks = append(e.Fallbacks, Fallback{
			Field: leaves[d.leaf].name, Value: was.Value, Source: was.Source, Step: was.Step, Reason: d.reason,
		})
	}
	return e
}

func (m *merge) was(leaf, at int) Was {
	l := m.chain[at]
	return Was{Value: leaves[leaf].show(&l.Fields), Source: l.Source, Step: l.Step}
}
