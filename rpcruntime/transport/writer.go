// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	// byReference is the payload size from which a frame's payload is queued by
	// reference instead of being copied.
	byReference = 64 << 10
	// keepWriteBuffer is the largest write buffer that is kept for reuse, until the
	// connection is quiet: as much as the bound lets pile up. To make one anew in
	// each round costs a third of the calls with 1,000 callers.
	keepWriteBuffer = 2 << 20
	// helpLimit is how long the goroutine of a call writes for others, and itself,
	// when the peer is slow: its context may end meanwhile.
	helpLimit = 10 * time.Millisecond
	// joined is up to how many bytes control frames and data are written as one
	// slice: a write of two leaves some memory in the connection for good, and most
	// connections send their hello along with their first answer, and no more.
	joined = 4 << 10
	// fullBatch is from how many bytes on a write need not wait for others: it is
	// worth its system call, and what it holds is still in the processor's cache.
	fullBatch = 32 << 10
)

// writer combines the frames of many goroutines into few writes.
//
// Whoever appends first while nobody writes becomes the writer: it lets others
// append for one yield, or until somebody fills a batch and takes its place,
// writes once for all of them, and hands what came
// meanwhile to a flusher goroutine. So a lone caller pays no hand-off, and no
// caller works for others for long. A dedicated writer goroutine was rejected:
// it costs a wake-up per call when there is little to combine.
//
// Outline of a write:
//
//	append under mu -> busy? return : busy = true
//	yield -> take (swap buffers under mu) -> Write without mu
//	more appended, or cut short by helpLimit? -> go flush
//	else busy = false
//
// The reader of a connection only appends (help = false): a reader stuck in
// Write would be a deadlock with a peer that does the same.
type writer struct {
	nc      net.Conn
	cfg     *Config
	flushed *sync.WaitGroup
	fatal   func(error) // told of the first failed write; must not block
	calls   *slots      // those whose requests are appended; nil on the callee's side

	mu sync.Mutex // guards what follows, but cur
	// writing is what holds frames; nothing of its own while the connection is
	// quiet. Invariant: while busy it is its own, and stays the same.
	*writing
	closed error
	source Source
	// appended counts the bytes of data ever appended, refs included.
	// Invariant: written <= appended.
	appended uint64
	// taken counts the bytes of data that were taken to be written.
	// Invariant: written <= taken <= appended; data begins at taken.
	taken uint64
	// written counts the bytes of data that Write accepted.
	written uint64
	// requests counts the ordinary requests appended, as the peer will count
	// those it reads. docs/wire-protocol.md §8
	requests uint64
	// announced is the seq of the request that carried our announcement; valid
	// once requests > 0.
	announced uint64
	// resumable: a Write cut short by its deadline can go on later. Not so for
	// TLS, whose callers therefore leave all writing to the flusher. Does not change.
	resumable bool
	// sourceWaits: the source said that it has something.
	sourceWaits bool
	// busy: one goroutine owns cur and writes, or is about to.
	busy bool
	// yielding: that goroutine lets others append first; who fills a batch may
	// take its place. Invariant: only while busy.
	yielding bool
	waiters
	// space is closed when room was made, for the reader; nil while it does not wait.
	space chan struct{}
	// quiet is closed when busy ends; nil while nobody waits for it.
	quiet chan struct{}
}

// writing is the part of a writer that is only there while the connection is not
// quiet.
type writing struct {
	// ctl are control frames; they pass waiting data.
	ctl []byte
	// data are frames in order; refs are payloads that stand in it by reference.
	data []byte
	refs []ref
	// refBytes is the sum of the lengths of refs.
	refBytes int
	spare    []byte
	// withdrawn are the requests in data that must not leave; dead is the sum of
	// their bytes.
	withdrawn []span
	dead      int
	// oneways are the calls that end when their requests have been written, in the
	// order of data.
	oneways []oneway
	// cur is the batch being written. Owned by whoever set busy.
	cur batch
}

// nothing is the writing of all quiet connections. It is never changed.
var nothing writing // constant

// wakeLocked gives the writer a writing of its own.
func (w *writer) wakeLocked() {
	if w.writing == &nothing {
		w.writing = new(writing)
	}
}

// ref is a payload by reference, standing in data before offset at.
type ref struct {
	at int
	b  []byte
}

// batch is what one round writes. Bytes that are not data (control frames,
// pushes of the source) stand in front.
type batch struct {
	data []byte      // the buffer, to be reused
	vec  net.Buffers // what is left to write
	head int         // bytes in front that are not data
	left int         // bytes of data
}

func (b *batch) empty() bool { return b.head == 0 && b.left == 0 }

// accept accounts for n bytes written, and returns how many of them were data.
func (b *batch) accept(n int) int {
	head := min(n, b.head)
	b.head -= head
	b.left -= n - head
	return n - head
}

// Source is asked for frames when a connection has nothing else to write, so
// that a slow peer costs a position and not a queue.
type Source interface {
	// Next returns whole frames to write, in order, and nil when there is
	// nothing. It must not block and keeps the bytes unchanged for good. It is
	// called by one goroutine at a time.
	Next() [][]byte
}

// waiting returns the bytes that wait to be written.
func (w *writer) waiting() int { return len(w.data) + w.refBytes - w.dead }

// startLocked makes the caller the writer if nobody is.
func (w *writer) startLocked() bool {
	if w.busy {
		return false
	}
	w.wakeLocked()
	w.busy = true
	return true
}

// help writes one batch as the goroutine that became the writer. others says
// that more frames are likely to come: yield to them once. A peer that is slow
// is left to the flusher, so the caller returns on time.
func (w *writer) help(deadline time.Time, others bool) {
	if others && !w.yield() {
		return
	}
	if !w.resumable {
		w.goFlush()
		return
	}
	w.take()
	limit := time.Now().Add(min(w.cfg.WriteTimeout, helpLimit))
	if !deadline.IsZero() && deadline.Before(limit) {
		limit = deadline
	}
	if err := w.write(limit); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		w.fail(err)
		return
	}
	w.mu.Lock()
	if w.cur.empty() && !w.moreLocked() {
		w.endLocked()
		w.mu.Unlock()
		return
	}
	w.mu.Unlock()
	w.goFlush()
}

// yield lets others append, and reports whether the caller is still the writer.
func (w *writer) yield() bool {
	w.mu.Lock()
	w.yielding = true
	w.mu.Unlock()
	runtime.Gosched()
	w.mu.Lock()
	defer w.mu.Unlock()
	still := w.yielding
	w.yielding = false
	return still
}

// goFlush starts the flusher; busy is held and passes to it. It is started on
// demand so that an idle connection has one goroutine, not two.
func (w *writer) goFlush() {
	w.flushed.Add(1)
	go func() {
		defer w.flushed.Done()
		w.flush()
	}()
}

// flush writes until nothing is left.
func (w *writer) flush() {
	for {
		if w.cur.empty() {
			w.take()
		}
		if err := w.write(time.Now().Add(w.cfg.WriteTimeout)); err != nil {
			w.fail(err)
			return
		}
		w.mu.Lock()
		if !w.moreLocked() {
			w.endLocked()
			w.mu.Unlock()
			return
		}
		w.mu.Unlock()
		runtime.Gosched()
	}
}

func (w *writer) moreLocked() bool {
	return len(w.ctl) > 0 || len(w.data) > 0 || w.refBytes > 0 || w.sourceWaits
}

// endLocked gives up being the writer.
func (w *writer) endLocked() {
	w.busy = false
	if w.quiet != nil {
		close(w.quiet)
		w.quiet = nil
	}
}

// take moves what waits into cur; if nothing does, it asks the source.
// REQUIRES: busy is held and cur is empty.
func (w *writer) take() {
	w.mu.Lock()
	w.closeUpLocked()
	w.taken = w.appended
	ctl, data, refs := w.ctl, w.data, w.refs
	w.cur = batch{data: data, vec: w.cur.vec[:0], head: len(ctl), left: w.waiting()}
	w.ctl, w.data, w.refs, w.refBytes, w.spare = nil, w.spare, nil, 0, nil
	var source Source
	if w.cur.empty() && w.sourceWaits {
		source, w.sourceWaits = w.source, false
	}
	w.makeSpaceLocked()
	w.mu.Unlock()

	if source != nil {
		w.takePushes(source)
		return
	}
	switch {
	case len(ctl) == 0:
	case len(ctl)+len(data) <= joined && len(refs) == 0:
		w.cur.vec = append(w.cur.vec, append(ctl, data...))
		return
	default:
		w.cur.vec = append(w.cur.vec, ctl)
	}
	from := 0
	for _, r := range refs {
		w.cur.vec = append(w.cur.vec, data[from:r.at], r.b)
		from = r.at
	}
	if from < len(data) {
		w.cur.vec = append(w.cur.vec, data[from:])
	}
}

func (w *writer) takePushes(source Source) {
	frames := source.Next()
	if len(frames) == 0 {
		return
	}
	for _, f := range frames {
		w.cur.vec = append(w.cur.vec, f)
		w.cur.head += len(f)
	}
	w.cfg.Counters.WriteBuffered.Add(int64(w.cur.head))
	w.mu.Lock()
	w.sourceWaits = true // ask again until it has nothing
	w.mu.Unlock()
}

func (w *writer) makeSpaceLocked() {
	w.callLocked()
	if w.space != nil {
		close(w.space)
		w.space = nil
	}
}

// write sends cur, or as much of it as goes until limit.
// REQUIRES: busy is held.
func (w *writer) write(limit time.Time) error {
	if w.cur.empty() {
		return nil
	}
	err := w.nc.SetWriteDeadline(limit)
	var n int64
	switch {
	case err != nil:
	case len(w.cur.vec) == 1:
		var m int
		m, err = w.nc.Write(w.cur.vec[0])
		n = int64(m)
		w.cur.vec[0] = w.cur.vec[0][m:]
	default:
		vec := w.cur.vec
		n, err = vec.WriteTo(w.nc)
		w.cur.vec = vec
	}
	w.cfg.Counters.Writes.Add(1)
	w.cfg.Counters.BytesWritten.Add(n)
	w.cfg.Counters.WriteBuffered.Add(-n)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written += uint64(w.cur.accept(int(n)))
	w.endOnewaysLocked()
	if w.cur.empty() && cap(w.cur.data) <= keepWriteBuffer && w.spare == nil {
		w.spare = w.cur.data[:0]
	}
	return err
}

// fail ends all writing; what waits never left. REQUIRES: busy is held.
func (w *writer) fail(err error) {
	w.mu.Lock()
	w.closeLocked(err)
	w.endLocked()
	w.mu.Unlock()
	w.fatal(err)
}

// close lets nobody append any more, with err as the reason. What was appended
// is still written.
func (w *writer) close(err error) {
	w.mu.Lock()
	w.closeLocked(err)
	w.mu.Unlock()
}

func (w *writer) closeLocked(err error) {
	if w.closed == nil {
		w.closed = err
	}
	w.makeSpaceLocked()
}

// trim gives the buffers of a quiet connection to the collector.
func (w *writer) trim() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.busy && w.closed == nil { // else abandon still counts what never left
		w.writing = &nothing // nothing waits: who appends sets busy
	}
}

// abandon takes what will never be written out of the level of buffered bytes.
// REQUIRES: closed, and settled.
func (w *writer) abandon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := w.waiting() + len(w.ctl) + w.cur.head + w.cur.left
	w.cfg.Counters.WriteBuffered.Add(-int64(left))
	w.writing = &nothing
}

// settle waits until nobody writes.
func (w *writer) settle() {
	w.mu.Lock()
	for w.busy {
		if w.quiet == nil {
			w.quiet = make(chan struct{})
		}
		quiet := w.quiet
		w.mu.Unlock()
		<-quiet
		w.mu.Lock()
	}
	w.mu.Unlock()
}
