// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

// oneway is a call that ends when its request has been written: nothing else
// will tell that it left. docs/wire-protocol.md §9
type oneway struct {
	s   *slot
	seq uint64 // s may serve another call by now
}

// endOnewaysLocked ends the calls whose last byte has been written.
func (w *writer) endOnewaysLocked() {
	n := 0
	for ; n < len(w.oneways); n++ {
		o := w.oneways[n]
		end, ok := w.calls.endOf(o.s, o.seq)
		if !ok {
			continue // it ended otherwise
		}
		if end > w.written {
			break
		}
		if s := w.calls.take(o.seq); s != nil {
			s.finish(nil)
		}
	}
	if n > 0 {
		w.oneways = append(w.oneways[:0], w.oneways[n:]...)
	}
}

// forgetOnewaysLocked drops those that ended otherwise: with a write that takes
// long, they would add up.
func (w *writer) forgetOnewaysLocked() {
	left := w.oneways[:0]
	for _, o := range w.oneways {
		if _, ok := w.calls.endOf(o.s, o.seq); ok {
			left = append(left, o)
		}
	}
	w.oneways = left
}
