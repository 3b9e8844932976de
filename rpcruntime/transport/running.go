// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import "hash/maphash"

// running finds the requests being served by the peer's whole seq. It is a hash
// table chained through the requests themselves, so that it allocates nothing
// per request; a Go map took twice as long.
//
// The peer chooses its seqs, and may use one twice. The seed, which it does not
// know, keeps it from filling one chain with different seqs; links both ways let
// a request leave without a walk along those with the same. A cancel takes the
// newest request of its seq, which is then in the table no more, so that no
// number of cancels walks along others.
//
// Guarded by the connection's mu. The zero running is empty.
type running struct {
	seed    maphash.Seed
	buckets []*Inbound // a power of two, or none
	// Invariant: the number of requests in the chains, and the sum of the in of
	// which linked is set.
	n int
}

// fewBuckets is how many buckets a table begins with.
const fewBuckets = 8

func (r *running) insert(in *Inbound) {
	if r.n >= len(r.buckets) {
		r.grow()
	}
	in.hash = maphash.Comparable(r.seed, in.Header.Seq)
	r.link(in)
	r.n++
}

func (r *running) link(in *Inbound) {
	head := &r.buckets[in.hash&uint64(len(r.buckets)-1)]
	if in.prev, in.next = nil, *head; in.next != nil {
		in.next.prev = in
	}
	*head, in.linked = in, true
}

// remove takes a request out, if it is in.
func (r *running) remove(in *Inbound) {
	if !in.linked {
		return
	}
	if in.prev != nil {
		in.prev.next = in.next
	} else {
		r.buckets[in.hash&uint64(len(r.buckets)-1)] = in.next
	}
	if in.next != nil {
		in.next.prev = in.prev
	}
	in.next, in.prev, in.linked = nil, nil, false
	r.n--
}

// find returns the newest request of that seq; nil if there is none.
func (r *running) find(seq uint64) *Inbound {
	if r.n == 0 {
		return nil
	}
	in := r.buckets[maphash.Comparable(r.seed, seq)&uint64(len(r.buckets)-1)]
	for in != nil && in.Header.Seq != seq {
		in = in.next
	}
	return in
}

// each calls f for every request in the table.
func (r *running) each(f func(in *Inbound)) {
	for _, in := range r.buckets {
		for ; in != nil; in = in.next {
			f(in)
		}
	}
}

func (r *running) grow() {
	old := r.buckets
	if old == nil {
		r.seed = maphash.MakeSeed()
	}
	r.buckets = make([]*Inbound, max(fewBuckets, 2*len(old)))
	for _, in := range old {
		for in != nil {
			next := in.next
			r.link(in)
			in = next
		}
	}
}

// trim gives the memory of an empty table back.
func (r *running) trim() {
	if r.n == 0 {
		r.buckets = nil
	}
}
