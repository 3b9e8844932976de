// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package compile

import "slices"

// Book keeps the newest reports on targets, for the statuses of policies. It is
// not safe for concurrent use. The zero Book is empty.
type Book struct {
	// by has the targets of each policy, of a kind and name.
	by map[Target]map[Target]TargetReport
}

// policyOf gives the part of a target that names the policy.
func policyOf(t Target) Target { return Target{Kind: t.Kind, Policy: t.Policy} }

// Set enters what the compilation of one service reports, in the place of what
// it reported before.
func (b *Book) Set(before, after []TargetReport) {
	for i := range before {
		t := before[i].Target
		delete(b.by[policyOf(t)], t)
		if len(b.by[policyOf(t)]) == 0 {
			delete(b.by, policyOf(t))
		}
	}
	if b.by == nil {
		b.by = map[Target]map[Target]TargetReport{}
	}
	for i := range after {
		t := after[i].Target
		if b.by[policyOf(t)] == nil {
			b.by[policyOf(t)] = map[Target]TargetReport{}
		}
		b.by[policyOf(t)][t] = after[i]
	}
}

// Reports implements Reports.
func (b *Book) Reports(t Target) []TargetReport {
	reports := b.by[policyOf(t)]
	if t.AppliesTo == "" {
		if r, found := reports[t]; found {
			return []TargetReport{r}
		}
		return nil
	}
	var all []TargetReport
	for of, r := range reports {
		if of.AppliesTo == t.AppliesTo {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b TargetReport) int { return compareTargets(a.Target, b.Target) })
	return all
}
