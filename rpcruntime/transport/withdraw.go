// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"cmp"
	"slices"
)

// span is where a withdrawn request stands in data, as offsets.
type span struct{ start, end uint64 }

// withdrawLocked takes a request out of the buffer if it still waits there whole,
// and reports whether: then not a byte of it will leave, and the peer does not
// count it. The request that carries the announcement is never taken out. The
// bytes are closed up later, at the latest when they would be written.
//
// REQUIRES: s was in the table until now, under the same hold of mu, or else its
// offsets are not those of the data any more.
func (w *writer) withdrawLocked(s *slot) bool {
	if s.end == 0 || s.start < w.taken || s.number == 1 {
		return false
	}
	n := int(s.end - s.start)
	w.withdrawn = append(w.withdrawn, span{s.start, s.end})
	w.dead += n
	w.cfg.Counters.Withdrawn.Add(1)
	w.cfg.Counters.WriteBuffered.Add(-int64(n))
	if w.dead >= w.cfg.WriteBuffer {
		w.closeUpLocked() // amortised over the bytes; withdrawn ones do not add up beyond the bound
	}
	w.makeSpaceLocked()
	return true
}

// closeUpLocked moves what waits together, over the withdrawn requests, and
// corrects in one pass where the requests behind them stand.
func (w *writer) closeUpLocked() {
	if w.dead == 0 {
		return
	}
	slices.SortFunc(w.withdrawn, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	var (
		to, from int          // in data: what was moved, what was looked at
		refSum   int          // bytes of the refs passed
		refs     = w.refs[:0] // those that stay
		left     = w.refs     // those not yet passed
	)
	pass := func(until uint64) { // keeps the refs that stand before until
		for len(left) > 0 && w.taken+uint64(left[0].at+refSum) < until {
			r := left[0]
			refSum += len(r.b)
			refs = append(refs, ref{at: r.at - (from - to), b: r.b})
			left = left[1:]
		}
	}
	for _, gone := range w.withdrawn {
		pass(gone.start)
		at := int(gone.start-w.taken) - refSum // in data
		end := int(gone.end-w.taken) - refSum
		if len(left) > 0 && left[0].at < end { // its own payload, which is its last part
			n := len(left[0].b)
			end -= n
			refSum += n
			w.refBytes -= n
			left = left[1:]
		}
		to += copy(w.data[to:], w.data[from:at])
		from = end
	}
	pass(w.appended + 1)
	w.data = w.data[:to+copy(w.data[to:], w.data[from:])]
	clear(w.refs[len(refs):])
	w.refs = refs
	w.correctLocked()
	w.forgetOnewaysLocked()
	w.appended -= uint64(w.dead)
	w.requests -= uint64(len(w.withdrawn))
	w.withdrawn, w.dead = w.withdrawn[:0], 0
}

// correctLocked tells the requests that wait where they stand once the withdrawn
// ones are closed up.
func (w *writer) correctLocked() {
	before := make([]uint64, len(w.withdrawn)+1) // bytes of so many withdrawn ones
	for i, gone := range w.withdrawn {
		before[i+1] = before[i] + gone.end - gone.start
	}
	w.calls.each(func(s *slot) {
		if s.end == 0 || s.start < w.taken {
			return
		}
		n, _ := slices.BinarySearchFunc(w.withdrawn, s.start, func(g span, at uint64) int { return cmp.Compare(g.start, at) })
		s.start -= before[n]
		s.end -= before[n]
		s.number -= uint64(n)
	})
}
