// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Chains per table: of one name each, or of 16, when the table is full.
	headsDeclared = 1024
	headsProven   = 4096
	// sweepHeads is how many chains each new name looks through for entries to
	// forget, so that a table is not much larger than its active names.
	sweepHeads = 2
	// sweepFull is how many when the table is full, and sweepPause how long
	// afterwards new names do without a search: they may come as a flood.
	sweepFull  = 64
	sweepPause = 10 * time.Millisecond
)

// table keeps the entries of callers' names. A name that is known is found
// without a lock. A sync.Map would allocate for each lookup, and a map under a
// lock would make all callers wait for each other.
type table struct {
	seed maphash.Seed
	most int
	// Chains of entries. Readers walk them at any time; mu guards changes.
	chains []atomic.Pointer[entry]

	mu   sync.Mutex
	size int // Invariant: entries in the chains, 0 <= size <= most; none is retired outside mu
	hand int // the chain to sweep next

	fullUntil atomic.Int64 // time.Duration; until then the table is taken for full
}

func newTable(most, heads int) *table {
	return &table{seed: maphash.MakeSeed(), most: most, chains: make([]atomic.Pointer[entry], heads)}
}

func (t *table) chain(hash uint64) *atomic.Pointer[entry] {
	return &t.chains[hash%uint64(len(t.chains))]
}

func (t *table) find(name string, hash uint64) *entry {
	for e := t.chain(hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.name == name {
			return e
		}
	}
	return nil
}

// admit takes from the name's entry and returns it, or nil and the delay to
// advise. It finds nothing when the name is new and the table full.
func (t *table) admit(c *counts, name string, now time.Duration) (e *entry, after time.Duration, found bool) {
	hash := maphash.String(t.seed, name)
	if e = t.find(name, hash); e != nil {
		switch o, after := e.take(ticks(now)); o {
		case taken:
			return e, 0, true
		case refused:
			return nil, after, true
		case retired:
			// Another goroutine is about to forget it: begin anew.
		}
	} else if int64(now) < t.fullUntil.Load() {
		return nil, 0, false
	}
	return t.admitNew(c, name, hash, now)
}

// admitNew is admit under the lock, under which no entry in the table is retired.
func (t *table) admitNew(c *counts, name string, hash uint64, now time.Duration) (*entry, time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.find(name, hash)
	if e == nil {
		if !t.makeRoom(now) {
			t.fullUntil.Store(int64(now + sweepPause))
			return nil, 0, false
		}
		// The name may lie in a buffer of its frame.
		e = &entry{counts: c, name: strings.Clone(name), hash: hash}
		chain := t.chain(hash)
		e.next.Store(chain.Load())
		chain.Store(e)
		t.size++
	}
	if o, after := e.take(ticks(now)); o == refused {
		return nil, after, true
	}
	return e, 0, true
}

// makeRoom forgets some entries, and reports whether there is room for one more.
func (t *table) makeRoom(now time.Duration) bool {
	for swept := 0; swept < sweepHeads || t.size >= t.most && swept < sweepFull; swept++ {
		t.sweep(&t.chains[t.hand], ticks(now))
		t.hand = (t.hand + 1) % len(t.chains)
	}
	return t.size < t.most
}

// sweep takes entries out of a chain. A reader that stands on one goes on from
// there: it keeps its next.
func (t *table) sweep(from *atomic.Pointer[entry], now int64) {
	for e := from.Load(); e != nil; e = from.Load() {
		if e.retire(now) {
			from.Store(e.next.Load())
			t.size--
		} else {
			from = &e.next
		}
	}
}
