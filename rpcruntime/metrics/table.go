// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"maps"
	"sync"
	"sync/atomic"
)

// table holds what events are counted by. Reading takes no lock: an entry is
// added to a copy, which then replaces the table. That is slow for the first
// event of a kind and costs nothing afterwards; a sync.Map would allocate for
// every key that it is asked for.
//
// Invariant: it has at most max entries, and one more for other.
type table[K comparable, V any] struct {
	max   int
	other K
	fresh func(K) V

	entries atomic.Pointer[map[K]V]
	mu      sync.Mutex // held by whoever replaces entries
}

// newTable returns a table of what fresh makes. Once max keys are known, all
// others share the entry of other.
func newTable[K comparable, V any](limit int, other K, fresh func(K) V) *table[K, V] {
	t := &table[K, V]{max: limit, other: other, fresh: fresh}
	t.entries.Store(&map[K]V{})
	return t
}

func (t *table[K, V]) get(key K) V {
	entries := *t.entries.Load()
	v, ok := entries[key]
	if !ok && len(entries) >= t.max {
		v, ok = entries[t.other]
	}
	if !ok {
		v = t.add(key)
	}
	return v
}

func (t *table[K, V]) add(key K) V {
	t.mu.Lock()
	defer t.mu.Unlock()
	entries := *t.entries.Load()
	if len(entries) >= t.max {
		key = t.other
	}
	if v, ok := entries[key]; ok {
		return v
	}
	next := maps.Clone(entries)
	next[key] = t.fresh(key)
	t.entries.Store(&next)
	return next[key]
}
