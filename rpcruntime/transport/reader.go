// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// readChunk is the buffer that a connection borrows to read: many frames per
// system call.
const readChunk = 64 << 10

// errStopReading ends the reader at a frame boundary, in a drain.
var errStopReading = errors.New("stopped reading")

// smallPartial is how much of a frame may wait for the rest in a buffer of just
// its size: it is copied into a chunk with each read, and back if the rest has
// not come.
const smallPartial = 8 << 10

// frameReader splits what a connection sends into frames.
type frameReader struct {
	nc    net.Conn
	cfg   *Config // its Shared bounds what is held while a frame is incomplete
	ahead *Ahead  // what a TLS connection reads from, to rest on; or nil
	// lastRead is when the last byte came.
	lastRead time.Time
	// since is when the wait for the next tick began: at the last tick, or when
	// bytes that came after it had been handled.
	since time.Time
	// unread: there may be bytes that rest would not see.
	unread bool
	one    [1]byte // to rest with
	// reading is what it needs to read frames; nil while it rests.
	*reading
}

// reading is the part of a frameReader that is only there while the connection is
// not quiet. It borrows its buffer only while there is something in it, so that one
// that waits holds none, and one that began a frame holds little more than what
// came of it.
//
// Invariant: buf.B[parsed:] is what was read and not yet parsed.
type reading struct {
	wait   readable       // reads without a buffer of its own while nothing comes
	held   int64          // what Shared was asked for
	buf    *buffer.Buffer // nil while it waits
	parsed int
	// last is the size of the frame that was parsed last. It ends at parsed.
	last int
	// discard counts the bytes of an oversized frame still to be thrown away.
	discard uint64
	// begun is when the incomplete frame was first waited for; zero between
	// frames. Invariant: each frame, and each discard, has a time of its own.
	begun time.Time
}

func (r *frameReader) init(now time.Time) {
	r.lastRead, r.since = now, now
	r.ahead = aheadOf(r.nc)
	r.unread = r.ahead != nil // the handshake may have read further
}

// begin makes it ready to read frames.
func (r *frameReader) begin() {
	if r.reading == nil {
		r.reading = new(reading)
		r.wait.init(r.nc)
	}
}

// pause is the opposite of begin.
// REQUIRES: a read has found nothing, and no frame has begun.
func (r *frameReader) pause() {
	r.release()
	r.reading, r.unread = nil, false
}

// preload takes what was read before the connection came to be.
func (r *frameReader) preload(read []byte) {
	if len(read) > 0 {
		r.begin()
		r.unread = true
		r.buf = buffer.Get(len(read))
		r.buf.B = append(r.buf.B, read...)
		r.cfg.Counters.BytesRead.Add(int64(len(read)))
	}
}

// oversized is a frame that is too large to be read.
type oversized struct {
	header wire.Header
	err    *wire.LimitError
}

// next returns the next whole frame that is in the buffer already. ok is false
// when more must be read first. A *wire.LimitError comes with the header, and
// with the frame's bytes being thrown away if it is Discardable.
func (r *frameReader) next() (f wire.Frame, over *oversized, ok bool, err error) {
	if r.discard > 0 || r.buf == nil {
		return wire.Frame{}, nil, false, nil
	}
	rest := r.buf.B[r.parsed:]
	if len(rest) < wire.PrefixLen {
		if len(rest) > 0 && rest[0] != wire.Magic {
			_, _, err = wire.ParsePrefix(append(rest[:1:1], make([]byte, wire.PrefixLen)...))
		}
		return wire.Frame{}, nil, false, err
	}
	header, size, err := wire.ParsePrefix(rest)
	if err != nil {
		return wire.Frame{}, nil, false, err
	}
	if err := r.cfg.Limits.CheckSize(size); err != nil {
		return wire.Frame{}, r.tooLarge(header, size, len(rest), err), false, nil
	}
	if uint64(len(rest)) < size {
		return wire.Frame{}, r.makeRoom(header, size), false, nil
	}
	f, err = wire.Parse(rest[:size:size])
	if err != nil {
		return wire.Frame{}, nil, false, err
	}
	r.completed(int(size))
	if err := r.cfg.Limits.Check(f); err != nil {
		var limit *wire.LimitError
		errors.As(err, &limit)
		return wire.Frame{}, &oversized{f.Header, limit}, true, nil
	}
	return f, nil, true, nil
}

func (r *frameReader) tooLarge(h wire.Header, size uint64, have int, err error) *oversized {
	var limit *wire.LimitError
	errors.As(err, &limit)
	take := min(uint64(have), size)
	r.completed(int(take))
	r.discard = size - take
	return &oversized{h, limit}
}

// completed passes over the bytes of a frame that is whole, or of which nothing
// is wanted. The next frame has a time of its own: on a busy connection it may
// well begin in the very read that completed this one.
func (r *frameReader) completed(n int) {
	r.parsed += n
	r.last = n
	r.begun = time.Time{}
}

// makeRoom makes room for more of a frame of that size. It grows the buffer as
// bytes arrive, to at most four times of what there is of the frame, never by
// what a length claims alone. What the bound of the server does not allow is
// thrown away instead.
func (r *frameReader) makeRoom(h wire.Header, size uint64) *oversized {
	r.compact()
	have := len(r.buf.B)
	if have <= smallPartial {
		return nil
	}
	room := cap(r.buf.B)
	if have == room {
		room = int(min(size, growth*uint64(room)))
	}
	if !r.hold(int64(room)) {
		over := &wire.LimitError{What: "sum of the requests of all connections", Limit: uint64(r.cfg.Shared.Max()), Claim: uint64(r.cfg.Shared.Bytes()) + size, Discardable: true}
		return r.tooLarge(h, size, have, over)
	}
	if room > cap(r.buf.B) {
		r.buf = moved(r.buf, room)
	}
	return nil
}

// growth is by how much a full buffer grows. It is copied then: 4 makes a third of
// the copies and garbage that 2 would make.
const growth = 4

// moved returns a buffer with room for n bytes that has the content of b, which
// it frees. Either may be empty, and b nil.
func moved(b *buffer.Buffer, n int) *buffer.Buffer {
	to := buffer.Get(n)
	if b != nil {
		to.B = append(to.B, b.B...)
		b.Free()
	}
	return to
}

// hold accounts for a buffer of n bytes with an incomplete frame.
func (r *frameReader) hold(n int64) bool {
	if r.cfg.Shared == nil || n <= r.held {
		return true
	}
	if !r.cfg.Shared.holdPartial(n-r.held, r.held) {
		return false
	}
	r.held = n
	return true
}

func (r *frameReader) unhold() {
	if r.held > 0 {
		r.cfg.Shared.releasePartial(r.held)
		r.held = 0
	}
}

// takeOver hands over the buffer in which the last frame stands, if that fills
// most of it and is worth not being copied; else nil. What was read behind the
// frame moves elsewhere.
func (r *frameReader) takeOver() *buffer.Buffer {
	if r.last < byReference || r.buf == nil || r.last < cap(r.buf.B)/2 {
		return nil
	}
	taken := r.buf
	r.buf = nil
	r.unhold()
	if rest := taken.B[r.parsed:]; len(rest) > 0 {
		r.buf = buffer.Get(max(len(rest), readChunk))
		r.buf.B = append(r.buf.B, rest...)
	}
	r.parsed, r.last = 0, 0
	return taken
}

// compact moves an incomplete frame to the front, or gives the buffer back.
func (r *frameReader) compact() {
	if r.buf == nil || (r.parsed == 0 && len(r.buf.B) > 0) {
		return
	}
	rest := r.buf.B[r.parsed:]
	r.unhold() // makeRoom holds again what is left
	if r.parsed = 0; len(rest) == 0 {
		r.buf.Free()
		r.buf = nil
		return
	}
	r.buf.B = r.buf.B[:copy(r.buf.B, rest)]
}

// letGo gives a large buffer back as soon as nothing of it is needed: the reader
// may have to wait for the peer to read before it comes to that.
func (r *frameReader) letGo() {
	if r.buf != nil && cap(r.buf.B) > readChunk {
		r.compact()
	}
}

// fill reads once, into what room there is. Between frames, and with little of
// one, it waits without a chunk.
func (r *frameReader) fill() error {
	r.compact()
	if r.buf == nil || len(r.buf.B) <= smallPartial {
		buf, had := r.buf, 0
		if buf != nil {
			had = len(buf.B)
		}
		r.buf = nil // read lets go of it while it waits: a reference here would keep it alive
		var err error
		if r.buf, err = r.wait.read(buf); r.buf != nil {
			r.account(len(r.buf.B) - had)
		}
		return err
	}
	if len(r.buf.B) == cap(r.buf.B) { // less than a chunk, or makeRoom had made some
		r.buf = moved(r.buf, max(readChunk, 2*cap(r.buf.B)))
	}
	n, err := r.nc.Read(r.buf.B[len(r.buf.B):cap(r.buf.B)])
	r.buf.B = r.buf.B[:len(r.buf.B)+n]
	r.account(n)
	return err
}

// account notes n bytes read, and throws away those of an oversized frame.
func (r *frameReader) account(n int) {
	if n == 0 {
		return
	}
	r.cfg.Counters.BytesRead.Add(int64(n))
	r.lastRead = time.Now()
	if r.discard > 0 {
		take := min(r.discard, uint64(len(r.buf.B)-r.parsed))
		if r.discard -= take; r.discard == 0 {
			r.begun = time.Time{}
		}
		r.parsed += int(take)
	}
}

// atResponse reports whether what comes next is a response, as far as is known.
func (r *frameReader) atResponse() bool {
	if r.discard > 0 || r.buf == nil || len(r.buf.B)-r.parsed < wire.PrefixLen {
		return true
	}
	h, _, err := wire.ParsePrefix(r.buf.B[r.parsed:])
	return err != nil || h.Response()
}

// partial reports whether a frame has begun and is not whole.
func (r *frameReader) partial() bool {
	return r.discard > 0 || (r.buf != nil && len(r.buf.B) > r.parsed)
}

// quietAfter is how long a connection is read from in full, with a buffer at hand
// and a stack that has grown, after the last byte; then it rests. Resting costs
// some microseconds with the next byte.
const quietAfter = 500 * time.Millisecond

// rest waits for the next byte between frames, until the next tick, with little
// memory: no buffer, and a stack that is not deep. timeout is true when the tick
// is due.
// REQUIRES: a read has found nothing, or nothing was ever read.
func (r *frameReader) rest(tick time.Duration, stopping *atomic.Bool) (timeout bool, err error) {
	nc := r.nc
	if r.ahead != nil {
		nc = r.ahead.Conn // beside the TLS connection, whose Read needs a deep stack
	}
	if err := nc.SetReadDeadline(r.since.Add(tick)); err != nil {
		return false, err
	}
	if stopping.Load() { // as in readMore
		return false, errStopReading
	}
	n, err := nc.Read(r.one[:])
	switch {
	case n == 0 && errors.Is(err, os.ErrDeadlineExceeded):
		return true, nil
	case r.ahead != nil:
		r.ahead.unread, r.ahead.err = r.one[:n], err
		return false, nil // the TLS connection makes of it what it is
	case n > 0:
		r.preload(r.one[:n])
		r.lastRead = time.Now()
	}
	return false, err
}

// readMore waits for bytes: until the frame's deadline when one has begun, else
// until the connection is quiet or the next tick. timeout is true when that passed
// between frames.
func (r *frameReader) readMore(frameTimeout, tick time.Duration, stopping *atomic.Bool) (timeout bool, err error) {
	var limit time.Time
	switch {
	case !r.partial():
		r.begun = time.Time{}
		now := time.Now()
		if r.lastRead.After(r.since) {
			r.since = now
		}
		limit = now.Add(min(quietAfter, r.since.Add(tick).Sub(now)))
	default:
		if r.begun.IsZero() {
			r.begun = time.Now()
		}
		limit = r.begun.Add(frameTimeout)
	}
	if err := r.nc.SetReadDeadline(limit); err != nil {
		return false, err
	}
	if stopping.Load() { // set before it moves the deadline: whichever of us was last, it is seen
		return false, errStopReading
	}
	err = r.fill()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if stopping.Load() || !r.partial() || time.Now().Before(limit) {
			return true, nil
		}
		return false, &stalledError{after: frameTimeout}
	}
	if errors.Is(err, io.EOF) && r.partial() {
		return false, io.ErrUnexpectedEOF
	}
	return false, err
}

// release gives the buffer back for good.
func (r *frameReader) release() {
	r.unhold()
	r.buf.Free()
	r.buf = nil
}

// stalledError is a frame that was not completed in time.
type stalledError struct{ after time.Duration }

// Error says how long the frame was waited for.
func (e *stalledError) Error() string {
	return "the peer began a frame and did not complete it within " + e.after.String()
}

// readPlain reads through the connection itself, behind what is in buf, into a
// small buffer that it holds while it waits.
func readPlain(nc net.Conn, buf *buffer.Buffer) (*buffer.Buffer, error) {
	switch {
	case buf == nil:
		buf = buffer.Get(plainChunk)
	case len(buf.B) == cap(buf.B):
		buf = moved(buf, max(plainChunk, 2*cap(buf.B)))
	}
	n, err := nc.Read(buf.B[len(buf.B):cap(buf.B)])
	return kept(buf, len(buf.B)+n), err
}

// plainChunk is the buffer to read into where a connection's kind does not say
// beforehand that there is something to read.
const plainChunk = 4 << 10

// kept returns buf with n bytes in it, or frees it if that is none.
func kept(buf *buffer.Buffer, n int) *buffer.Buffer {
	if buf.B = buf.B[:n]; n > 0 {
		return buf
	}
	buf.Free()
	return nil
}
