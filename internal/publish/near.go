// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// near gives the names that somebody who asked for name may have meant: those
// that differ by little, and those of that name in another namespace.
func near(name string, names []string) []string {
	type candidate struct {
		name string
		far  int
	}
	_, short, _ := strings.Cut(name, "/")
	limit := max(1, len(name)/4)
	var found []candidate
	for _, other := range names {
		far := distance(name, other, limit)
		if _, s, _ := strings.Cut(other, "/"); s == short {
			far = min(far, 1)
		}
		if far <= limit {
			found = append(found, candidate{other, far})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, c := range found[:min(len(found), registry.MaxNear)] {
		out = append(out, c.name)
	}
	return out
}

// distance is how many characters must be changed, added, removed or swapped
// with their neighbour to make b of a; limit+1 when that is more than limit.
func distance(a, b string, limit int) int {
	if d := len(a) - len(b); d > limit || -d > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit {
			return limit + 1
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit+1)
}
