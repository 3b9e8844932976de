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

// frameReader splits what a connection sends into frames. It borrows its buffer
// only while there is something in it, so idle connections hold none.
//
// Invariant: buf.B[parsed:] is what was read and not yet parsed.
type frameReader struct {
	nc     net.Conn
	wait   readable // reads without a buffer of its own while idle
	limits wire.Limits
	stats  *Counters
	buf    *buffer.Buffer // nil while idle
	parsed int
	// discard counts the bytes of an oversized frame still to be thrown away.
	discard uint64
	// begun is when the incomplete frame was first waited for; zero between
	// frames. Invariant: each frame, and each discard, has a time of its own.
	begun time.Time
	// lastRead is when the last byte came.
	lastRead time.Time
}

// preload takes what was read before the connection came to be.
func (r *frameReader) preload(read []byte) {
	if len(read) > 0 {
		r.buf = buffer.Get(len(read))
		r.buf.B = append(r.buf.B, read...)
		r.stats.BytesRead.Add(int64(len(read)))
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
	if err := r.limits.CheckSize(size); err != nil {
		return wire.Frame{}, r.tooLarge(header, size, len(rest), err), false, nil
	}
	if uint64(len(rest)) < size {
		return wire.Frame{}, nil, false, nil
	}
	f, err = wire.Parse(rest[:size:size])
	if err != nil {
		return wire.Frame{}, nil, false, err
	}
	r.completed(int(size))
	if err := r.limits.Check(f); err != nil {
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
	r.begun = time.Time{}
}

// compact moves an incomplete frame to the front, or gives the buffer back.
func (r *frameReader) compact() {
	if r.buf == nil {
		return
	}
	rest := r.buf.B[r.parsed:]
	if r.parsed = 0; len(rest) == 0 {
		r.buf.Free()
		r.buf = nil
		return
	}
	r.buf.B = r.buf.B[:copy(r.buf.B, rest)]
}

// fill reads once, into what room there is. It grows the buffer as bytes
// arrive, never by what a length claims.
func (r *frameReader) fill() error {
	r.compact()
	if r.buf == nil {
		buf, err := r.wait.read()
		if buf == nil {
			return err
		}
		r.buf = buf
		r.account(len(buf.B))
		return err
	}
	if len(r.buf.B) == cap(r.buf.B) {
		grown := buffer.Get(2 * cap(r.buf.B))
		grown.B = append(grown.B, r.buf.B...)
		r.buf.Free()
		r.buf = grown
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
	r.stats.BytesRead.Add(int64(n))
	r.lastRead = time.Now()
	if r.discard > 0 {
		take := min(r.discard, uint64(len(r.buf.B)-r.parsed))
		if r.discard -= take; r.discard == 0 {
			r.begun = time.Time{}
		}
		r.parsed += int(take)
	}
}

// partial reports whether a frame has begun and is not whole.
func (r *frameReader) partial() bool {
	return r.discard > 0 || (r.buf != nil && len(r.buf.B) > r.parsed)
}

// readMore waits for bytes: until the frame's deadline when one has begun, else
// until tick. timeout is true when tick passed between frames.
func (r *frameReader) readMore(frameTimeout, tick time.Duration, stopping *atomic.Bool) (timeout bool, err error) {
	var limit time.Time
	switch {
	case !r.partial():
		r.begun = time.Time{}
		limit = time.Now().Add(tick)
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
	r.buf.Free()
	r.buf = nil
}

// stalledError is a frame that was not completed in time.
type stalledError struct{ after time.Duration }

// Error says how long the frame was waited for.
func (e *stalledError) Error() string {
	return "the peer began a frame and did not complete it within " + e.after.String()
}

// readPlain reads through the connection itself, into a small buffer that it
// holds while it waits.
func readPlain(nc net.Conn) (*buffer.Buffer, error) {
	buf := buffer.Get(4 << 10)
	n, err := nc.Read(buf.B[:cap(buf.B)])
	if n == 0 {
		buf.Free()
		return nil, err
	}
	buf.B = buf.B[:n]
	return buf, err
}
