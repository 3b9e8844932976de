// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// What may wait to be decoded. Bytes, and pieces.
	maxUnheardBytes  = 16 << 20
	maxUnheardPieces = 4096
	// maxHearings is how many connections may be known to the decoder, those
	// that are over but not yet decoded to their ends among them. Each has at most
	// three pieces in the queue beside its data.
	maxHearings = 2 * maxProxied
)

// ears decode what a proxy passes on, in a goroutine of their own. Whoever tells
// them something never waits: what exceeds the queue is not decoded, and that is
// said.
//
// Invariant: the queue has room for what is no data, for only maxHearings
// connections have any of it.
type ears struct {
	opts   *Options
	rep    *reporter
	out    *bufio.Writer
	budget *budget
	queue  chan heard // closed by close
	done   chan struct{}

	bytes, pieces atomic.Int64 // of data in the queue
	hearings      atomic.Int64
	conns, unseen atomic.Int64

	logging sync.Mutex
}

// heard is something in the queue.
type heard struct {
	of   *hearing
	side int
	what pieceKind
	data []byte
	lost uint64 // bytes before data that were dropped
	at   time.Time
}

type pieceKind uint8

const (
	someData pieceKind = iota
	endOfSide
	endOfAll
)

// hearing is a connection whose bytes are decoded; nil is one that is not.
type hearing struct {
	ears *ears
	conv *conversation
	// lost is what was dropped of each side since the last data in the queue. Each
	// belongs to the goroutine that copies the side.
	lost [2]uint64
}

func newEars(opts *Options) *ears {
	e := &ears{opts: opts, out: bufio.NewWriter(opts.Out), budget: &budget{left: heldBytes},
		queue: make(chan heard, maxUnheardPieces+3*maxHearings), done: make(chan struct{})}
	e.rep = &reporter{opts: opts, out: e.out}
	go e.run()
	return e
}

// meet begins a connection.
func (e *ears) meet(client, server netip.AddrPort) *hearing {
	e.conns.Add(1)
	if e.hearings.Add(1) > maxHearings {
		e.hearings.Add(-1)
		e.unseen.Add(1)
		return nil
	}
	h := &hearing{ears: e, conv: newConversation(e.rep, e.budget, client, server, 0)}
	h.conv.talkative = true
	return h
}

// hear is told what one side sent. It does not keep p.
func (h *hearing) hear(side int, p []byte, at time.Time) {
	if h == nil {
		return
	}
	e, n := h.ears, int64(len(p))
	if bytes, pieces := e.bytes.Add(n), e.pieces.Add(1); bytes > maxUnheardBytes || pieces > maxUnheardPieces {
		e.takeOff(n)
		h.lost[side] += uint64(n)
		return
	}
	e.queue <- heard{of: h, side: side, data: bytes.Clone(p), lost: h.lost[side], at: at}
	h.lost[side] = 0
}

func (e *ears) takeOff(n int64) {
	e.bytes.Add(-n)
	e.pieces.Add(-1)
}

// end is told that a side sends no more.
func (h *hearing) end(side int) {
	if h != nil {
		h.ears.queue <- heard{of: h, side: side, what: endOfSide, lost: h.lost[side], at: time.Now()}
	}
}

// over is told that both have ended.
func (h *hearing) over() {
	if h != nil {
		h.ears.queue <- heard{of: h, what: endOfAll}
	}
}

// run decodes until the queue is closed.
func (e *ears) run() {
	defer close(e.done)
	failed := false
	for {
		select {
		case next, ok := <-e.queue:
			if !ok {
				e.flush(&failed)
				return
			}
			e.decode(next)
			continue
		default:
		}
		e.flush(&failed) // nothing more at the moment: let it be seen
		next, ok := <-e.queue
		if !ok {
			return
		}
		e.decode(next)
	}
}

// flush passes on what was printed, and says once if that fails.
func (e *ears) flush(failed *bool) {
	if err := e.out.Flush(); e.rep.err == nil {
		e.rep.err = err
	}
	if e.rep.err != nil && !*failed {
		*failed = true
		e.log("nothing more is printed: %v; the traffic is passed on", e.rep.err)
	}
}

func (e *ears) decode(h heard) {
	s := &h.of.conv.streams[h.side]
	if h.lost > 0 {
		s.gap(h.lost, "they passed faster than they could be decoded or printed", h.at)
	}
	switch h.what {
	case someData:
		e.takeOff(int64(len(h.data)))
		s.feed(h.data, h.at)
	case endOfSide:
		s.finish(h.at)
	case endOfAll:
		h.of.conv.close()
		e.hearings.Add(-1)
	}
}

// close waits until what was heard is decoded and printed. Nobody may tell
// anything any more.
func (e *ears) close() {
	close(e.queue)
	<-e.done
}

// log writes what is not of one frame.
func (e *ears) log(format string, args ...any) {
	e.logging.Lock()
	defer e.logging.Unlock()
	_, _ = fmt.Fprintf(e.opts.Log, format+"\n", args...) // the traffic is what counts
}

// summary is what there is to say in the end, after close.
func (e *ears) summary() string {
	text := fmt.Sprintf("%d connections (%d rpcx, %d TLS), %d frames, %d notes",
		e.conns.Load(), e.rep.protocols[rpcx], e.rep.protocols[tls], e.rep.frames, e.rep.notes)
	if n := e.unseen.Load(); n > 0 {
		text += fmt.Sprintf("; %d connections were passed on without being decoded, for too much waited", n)
	}
	return text
}
