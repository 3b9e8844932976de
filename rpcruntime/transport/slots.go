// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

const (
	// slotBits is the part of a seq that is the slot's index.
	slotBits = 20
	slotMask = 1<<slotBits - 1
	// generationMask keeps our seqs below 2^62: bit 63 is never used, bit 62 is
	// reserved for saying who owns a call, once callees open calls too.
	generationMask = 1<<(62-slotBits) - 1
)

// slot holds a receiver of frames while its call is in flight. Whoever takes
// the slot out of the table (an answer, the deadline, the caller, the end of the
// connection) is the only one to end its call, and does so by sending on done.
type slot struct {
	timer  wheel.Timer
	table  *slots
	seq    uint64
	done   chan struct{} // capacity 1; one send per use, by the taker
	result Result
	err    error
	told   bool // the callee knows the deadline
	last   bool // no other call was in the table when this one was taken; the taker's

	// Where the request stands in the writer's data, whose mu guards them: the
	// offsets of its first byte and behind its last, 0 before it was appended, and
	// its number, as the peer counts those it reads.
	start, end, number uint64

	windowed // guarded by table.mu
}

// slots is the table of calls in flight on one connection. A seq carries the
// slot's index and a generation, so a late answer never reaches a stranger. A
// simple mutex: a lock-free table gave nothing measurable.
type slots struct {
	mu      sync.Mutex
	entries []entry
	free    []uint32 // indexes without a call
	spare   []*slot  // slots without a call
	max     int
	// used is the number of calls. Invariant: used = flying + those that queue, and
	// count is the same for those who do not hold mu.
	used       int
	count      atomic.Int32
	generation uint64 // of the next call; starts random
	closed     bool
	stats      *Counters
	// expired is called when the deadline of a call has passed.
	expired func(*slot)
	window
	// empty is closed when used falls to 0; nil while nobody waits.
	empty chan struct{}
}

type entry struct {
	seq  uint64
	slot *slot // nil when free
}

func newSlots(maxCalls int, stats *Counters, expired func(*slot)) *slots {
	t := &slots{
		max: min(maxCalls, slotMask+1), stats: stats, expired: expired,
		// Random, so that a seq forwarded by an old peer does not match ours.
		generation: rand.Uint64() & generationMask >> 1,
	}
	t.window.maxCalls = t.max
	return t
}

// trim gives the memory of an empty table back. Until a connection is quiet it
// keeps as many slots as it had calls in flight: to make one anew costs more than
// the rest of a call in the table. They are not pooled over connections: a channel
// made inside a testing/synctest bubble must stay there.
func (t *slots) trim() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used == 0 {
		t.entries, t.free, t.spare = nil, nil, nil
	}
}

func (t *slots) newSlot() *slot {
	s := &slot{table: t, done: make(chan struct{}, 1)}
	s.timer.Init(s)
	return s
}

// acquire enters a new call of so many bytes; nil when the table is full or
// closed. others says that it is not alone, waits that it must wait for its turn.
func (t *slots) acquire(size int64) (s *slot, others, waits bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.used >= t.max {
		return nil, false, false
	}
	if n := len(t.spare); n > 0 {
		s, t.spare = t.spare[n-1], t.spare[:n-1]
	} else {
		s = t.newSlot()
	}
	var i uint32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = uint32(len(t.entries))
		t.entries = append(t.entries, entry{})
	}
	t.generation = (t.generation + 1) & generationMask
	s.seq = t.generation<<slotBits | uint64(i)
	s.start, s.end, s.number = 0, 0, 0
	t.entries[i] = entry{seq: s.seq, slot: s}
	t.used++
	t.count.Store(int32(t.used))
	t.stats.ClientCalls.Add(1)
	return s, t.used > 1, t.enterLocked(s, size)
}

// take removes the call of that seq, and returns nil if it is not in flight.
func (t *slots) take(seq uint64) *slot {
	i := seq & slotMask
	t.mu.Lock()
	defer t.mu.Unlock()
	if i >= uint64(len(t.entries)) || t.entries[i].slot == nil || t.entries[i].seq != seq {
		return nil
	}
	s := t.entries[i].slot
	t.removeLocked(uint32(i))
	t.signalLocked()
	s.last = t.used == 0
	return s
}

func (t *slots) removeLocked(i uint32) {
	t.leaveLocked(t.entries[i].slot)
	t.entries[i].slot = nil
	t.free = append(t.free, i)
	t.used--
	t.count.Store(int32(t.used))
	t.stats.ClientCalls.Add(-1)
}

// endOf returns where the request of that call ends in the writer's data, and
// false if the call is not in s, and in flight, any more.
func (t *slots) endOf(s *slot, seq uint64) (end uint64, ok bool) {
	i := seq & slotMask
	t.mu.Lock()
	defer t.mu.Unlock()
	if i >= uint64(len(t.entries)) || t.entries[i].slot != s || t.entries[i].seq != seq {
		return 0, false
	}
	return s.end, true
}

// each calls f for every call in the table.
func (t *slots) each(f func(*slot)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		if e.slot != nil {
			f(e.slot)
		}
	}
}

// takeIf removes all calls that match and returns them.
func (t *slots) takeIf(match func(*slot) bool) []*slot {
	t.mu.Lock()
	defer t.mu.Unlock()
	var taken []*slot
	for i := range t.entries {
		s := t.entries[i].slot
		if s == nil || !match(s) {
			continue
		}
		t.removeLocked(uint32(i))
		taken = append(taken, s)
	}
	t.signalLocked()
	return taken
}

func (t *slots) signalLocked() {
	if t.used == 0 && t.empty != nil {
		close(t.empty)
		t.empty = nil
	}
}

// whenEmpty returns a channel that is closed once no call is in the table.
func (t *slots) whenEmpty() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty == nil {
		t.empty = make(chan struct{})
	}
	empty := t.empty
	t.signalLocked()
	return empty
}

// close lets no more calls in.
func (t *slots) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
}

// closeIfEmpty closes the table if no call is in it, and reports whether.
func (t *slots) closeIfEmpty() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.used > 0 {
		return false
	}
	t.closed = true
	return true
}

func (t *slots) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// inFlight counts the calls in the table.
func (t *slots) inFlight() int { return int(t.count.Load()) }

// Expire is the deadline's end of the call.
func (s *slot) Expire() { s.table.expired(s) }

// finish ends the call. Only the taker may call it, once.
func (s *slot) finish(err error) {
	s.err = err
	s.done <- struct{}{}
}

// answer ends the call with a response, which r has just read; it copies what it
// needs of f, or takes r's buffer over.
func (s *slot) answer(f wire.Frame, r *frameReader) {
	s.result.set(f, r)
	s.finish(nil)
}

// release gives the slot back. It must have been taken, and its timer must
// neither stand nor be firing: the wheel would look at the slot's next call.
func (s *slot) release() {
	s.result, s.err = Result{}, nil
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	s.table.spare = append(s.table.spare, s)
}

// Result is a response. Release it when Meta and Payload are not used any more.
type Result struct {
	Header  wire.Header
	Meta    wire.Meta
	Payload []byte
	buf     *buffer.Buffer
}

func (r *Result) set(f wire.Frame, from *frameReader) {
	if r.buf = from.takeOver(); r.buf != nil {
		r.Header, r.Meta, r.Payload = f.Header, f.Meta, f.Payload
		return
	}
	r.buf = buffer.Get(len(f.Meta) + len(f.Payload))
	r.buf.B = append(append(r.buf.B, f.Meta...), f.Payload...)
	r.Header = f.Header
	r.Meta = wire.Meta(r.buf.B[:len(f.Meta)])
	r.Payload = r.buf.B[len(f.Meta):]
}

// Release gives the result's memory back. Meta and Payload, and slices of
// them, must not be used afterwards. Releasing twice does no harm.
func (r *Result) Release() {
	r.buf.Free()
	*r = Result{}
}
