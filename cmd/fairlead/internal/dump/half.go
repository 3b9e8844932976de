// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bytes"
	"slices"
	"time"
)

// half puts the segments of one direction of a TCP connection into order.
//
// Invariants: what was passed on once is never passed on again, whatever comes
// later for the same place; waiting is sorted by seq, and each of it lies ahead of
// next.
type half struct {
	out    bytesink
	budget *budget
	// next is the seq of the next byte to pass on; valid once known.
	next  uint32
	known bool
	// origin is the first value of next.
	origin uint32
	// waiting came before what is in front of it.
	waiting []piece
	held    int // bytes in waiting
	since   time.Time
	// The place of the FIN, if one came.
	fin    uint32
	hasFin bool
	ended  bool
}

// bytesink takes what a half has put into order.
type bytesink interface {
	feed(p []byte, at time.Time)
	gap(n uint64, why string, at time.Time)
	finish(at time.Time)
}

// piece is the data of a segment. cut bytes at its end were not captured.
type piece struct {
	seq  uint32
	data []byte
	cut  int
}

func (p piece) len() uint32 { return uint32(len(p.data) + p.cut) }

const (
	// What waits for a missing segment: when there is more, it is given up.
	maxWaitingBytes  = 1 << 20
	maxWaitingPieces = 1024
	// patience is how long the receiver's word that it has the missing bytes may
	// be ahead of the bytes themselves: captures are not quite in order.
	patience = time.Second

	notCaptured = "they are not in the capture"
	cutShort    = "the capture holds only the start of the packet"
)

// begin is a SYN: seq is that of the first byte.
func (h *half) begin(seq uint32) {
	if !h.known {
		h.next, h.origin, h.known = seq, seq, true
	}
}

// segment takes data that was captured at that time. It does not keep it.
func (h *half) segment(p piece, fin bool, at time.Time) {
	if h.ended {
		return
	}
	h.begin(p.seq)
	if fin && !h.hasFin {
		h.fin, h.hasFin = p.seq+p.len(), true
	}
	if p.len() > 0 {
		if ahead(p.seq, h.next) > 0 {
			h.wait(p, at)
		} else {
			h.pass(p, at)
		}
	}
	h.drain(at)
}

// ahead is by how much a lies behind b in the stream, around the end of 32 bits.
func ahead(a, b uint32) int32 { return int32(a - b) }

// pass passes on what is new of p, which starts at next or before.
func (h *half) pass(p piece, at time.Time) {
	old := h.next - p.seq
	if old >= p.len() {
		return // sent again
	}
	h.next = p.seq + p.len()
	if data := p.data[min(int(old), len(p.data)):]; len(data) > 0 {
		h.out.feed(data, at)
	}
	if missing := min(p.cut, int(p.len()-old)); missing > 0 {
		h.out.gap(uint64(missing), cutShort, at)
	}
}

// wait keeps p until what is in front of it comes, or is given up.
func (h *half) wait(p piece, at time.Time) {
	i := h.place(p.seq)
	for i < len(h.waiting) && h.waiting[i].seq == p.seq {
		if h.waiting[i].len() >= p.len() {
			return // sent again
		}
		i++
	}
	for len(h.waiting) == maxWaitingPieces || h.held+len(p.data) > maxWaitingBytes || !h.budget.take(len(p.data)) {
		if len(h.waiting) == 0 {
			h.lose(p.seq, at)
			h.pass(p, at)
			return
		}
		if h.skip(at); h.ended {
			return
		}
		if ahead(p.seq, h.next) <= 0 {
			h.pass(p, at)
			return
		}
		i = h.place(p.seq)
	}
	if len(h.waiting) == 0 {
		h.since = at
	}
	h.held += len(p.data)
	h.waiting = slices.Insert(h.waiting, i, piece{p.seq, bytes.Clone(p.data), p.cut})
}

// place is where a piece that starts at seq belongs.
func (h *half) place(seq uint32) int {
	i, _ := slices.BinarySearchFunc(h.waiting, seq, func(p piece, seq uint32) int { return int(ahead(p.seq, seq)) })
	return i
}

// drain passes on what waits no more, and ends at the FIN.
func (h *half) drain(at time.Time) {
	for len(h.waiting) > 0 && ahead(h.waiting[0].seq, h.next) <= 0 {
		h.first(at)
	}
	if len(h.waiting) == 0 {
		h.waiting = nil
	}
	if h.hasFin && ahead(h.fin, h.next) <= 0 {
		h.end(at)
	}
}

// first passes on the first that waits.
func (h *half) first(at time.Time) {
	p := h.waiting[0]
	h.waiting = h.waiting[1:]
	h.held -= len(p.data)
	h.budget.give(len(p.data))
	h.since = at
	h.pass(p, at)
}

// lose says that the bytes up to seq will not come.
func (h *half) lose(seq uint32, at time.Time) {
	if n := ahead(seq, h.next); n > 0 {
		h.next = seq
		h.out.gap(uint64(n), notCaptured, at)
	}
}

// skip gives up what is missing in front of the first that waits.
func (h *half) skip(at time.Time) {
	h.lose(h.waiting[0].seq, at)
	h.first(at)
	h.drain(at)
}

// acked is the other side's word that it has all up to seq.
func (h *half) acked(seq uint32, at time.Time) {
	if len(h.waiting) > 0 && ahead(seq, h.waiting[0].seq) >= 0 && at.Sub(h.since) >= patience {
		h.skip(at)
	}
}

// close is the end of the connection, or of the capture.
func (h *half) close(at time.Time) {
	for len(h.waiting) > 0 {
		h.skip(at)
	}
	if h.ended {
		return
	}
	if h.hasFin {
		h.lose(h.fin, at)
	}
	h.end(at)
}

func (h *half) end(at time.Time) {
	if !h.ended {
		h.ended = true
		for len(h.waiting) > 0 { // behind the end: nobody's
			h.held -= len(h.waiting[0].data)
			h.budget.give(len(h.waiting[0].data))
			h.waiting = h.waiting[1:]
		}
		h.out.finish(at)
	}
}
