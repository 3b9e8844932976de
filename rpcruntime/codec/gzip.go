// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"runtime"
	"sync"
)

// Gzip is RFC 1952, written at the default level as one member, and read as one
// or more members with nothing behind them.
//
// Twice as many conversions as there are processors run at once, the others
// wait for one to end: they would wait for a processor anyway, and the state of
// each takes nearly 1 MiB.
type Gzip struct{}

// slots bounds the conversions under way, and so the pooled states, the
// processor time that a flood of bombs can take from all else, and the output
// that nobody has accounted yet.
var slots = make(chan struct{}, 2*runtime.GOMAXPROCS(0))

// deflater is pooled. What it writes to belongs to the caller.
//
// Invariant: out is nil while in the pool.
type deflater struct {
	gz  *gzip.Writer
	out []byte
}

func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

// inflater is pooled.
//
// Invariant: while in the pool, src is empty and gz holds no header.
type inflater struct {
	gz  gzip.Reader
	src bytes.Reader
}

var (
	deflaters = sync.Pool{New: func() any { return &deflater{gz: gzip.NewWriter(nil)} }}
	inflaters = sync.Pool{New: func() any { return new(inflater) }}
)

// Compress appends data as one gzip member.
func (Gzip) Compress(dst, data []byte) ([]byte, error) {
	slots <- struct{}{}
	defer func() { <-slots }()
	d := deflaters.Get().(*deflater)
	d.out = dst
	d.gz.Reset(d)
	_, err := d.gz.Write(data)
	if err == nil {
		err = d.gz.Close()
	}
	dst, d.out = d.out, nil
	deflaters.Put(d)
	return dst, err
}

// Decompress appends what the members in data hold.
func (Gzip) Decompress(dst, data []byte, limit int) ([]byte, error) {
	slots <- struct{}{}
	defer func() { <-slots }()
	f := inflaters.Get().(*inflater)
	f.src.Reset(data)
	out, err := f.inflate(dst, data, min(max(limit, 0), math.MaxInt/4))
	f.src.Reset(nil)
	f.gz.Header = gzip.Header{} // up to 64 KiB, of the peer's choice
	inflaters.Put(f)
	return out, err
}

// guessFactor is how many times its input the output is trusted to be when the
// input says so. Text rarely does better.
const guessFactor = 8

// inflate has room for one byte more than the limit, so that a member that goes
// on is told from one that ends there.
func (f *inflater) inflate(dst, data []byte, limit int) ([]byte, error) {
	if err := f.gz.Reset(&f.src); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // no input at all is no gzip either
		}
		return dst, err
	}
	most := len(dst) + limit + 1
	out := room(dst, min(len(dst)+guess(data), most))
	for {
		if len(out) == cap(out) {
			out = room(out, doubled(cap(out), most))
		}
		n, err := f.gz.Read(out[len(out):min(cap(out), most)])
		out = out[:len(out)+n]
		switch {
		case len(out) == most:
			return dst, ErrTooLarge
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return dst, err
		}
	}
}

// guess says how much room to begin with: what the trailer claims, which is
// right for what an honest peer sends, within what the input can be trusted with.
func guess(data []byte) int {
	const least = 512
	if len(data) < 4 {
		return least
	}
	claimed := int64(binary.LittleEndian.Uint32(data[len(data)-4:])) + 1
	return int(max(least, min(claimed, guessFactor*int64(len(data)))))
}

// doubled is the next capacity, and the last one early: all that were made are
// then twice the most in sum, not three times.
func doubled(capacity, most int) int {
	if capacity >= most/4 {
		return most
	}
	return 2 * capacity
}

// room returns b with a capacity of at least n, and of n exactly if it has to
// move: append would round a large one up by a quarter.
func room(b []byte, n int) []byte {
	if cap(b) >= n {
		return b
	}
	return append(make([]byte, 0, n), b...)
}
