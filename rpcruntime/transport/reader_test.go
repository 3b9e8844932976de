// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// feed is a connection that yields what it was given, so many bytes at a time.
type feed struct {
	net.Conn
	rest  []byte
	piece int
}

func (f *feed) Read(b []byte) (int, error) {
	if len(f.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(b, f.rest[:min(f.piece, len(f.rest))])
	f.rest = f.rest[n:]
	return n, nil
}

func (f *feed) SetReadDeadline(time.Time) error { return nil }

func readerOf(f *feed, shared *Shared) *frameReader {
	cfg := Config{Shared: shared}.withDefaults()
	r := &frameReader{nc: f, cfg: &cfg}
	r.begin()
	return r
}

// Whatever the pieces in which they come, frames are the same, and nothing of
// the server's bound is lost.
func TestFramesInPieces(t *testing.T) {
	var all []byte
	payloads := []string{"", "a", strings.Repeat("b", 9<<10), strings.Repeat("c", 70<<10), "d", strings.Repeat("e", 300<<10), "f"}
	for i, p := range payloads {
		all = append(all, request(uint64(i), p, "key", "value")...)
	}
	for _, piece := range []int{1, 7, 500, 4 << 10, 9000, 64 << 10, 1 << 20} {
		shared := NewShared(0)
		r := readerOf(&feed{rest: slices.Clone(all), piece: piece}, shared)
		seen, moves := 0, 0
		var last *buffer.Buffer
		var keep []*buffer.Buffer
		var kept []wire.Frame
		for {
			f, over, ok, err := r.next()
			if err != nil || over != nil {
				t.Fatalf("pieces of %d: %v, %v", piece, over, err)
			}
			if ok {
				if f.Seq != uint64(seen) || string(f.Payload) != payloads[seen] {
					t.Fatalf("pieces of %d: frame %d is %d with %d bytes", piece, seen, f.Seq, len(f.Payload))
				}
				if b := r.takeOver(); b != nil {
					keep, kept = append(keep, b), append(kept, f)
				}
				seen++
				continue
			}
			if r.buf != last && r.buf != nil && len(r.buf.B) > smallPartial {
				moves++
			}
			last = r.buf
			if err := r.fill(); err != nil {
				break
			}
		}
		if seen != len(payloads) {
			t.Errorf("pieces of %d: %d frames of %d", piece, seen, len(payloads))
		}
		if moves > 20 {
			t.Errorf("pieces of %d: what came was moved %d times", piece, moves)
		}
		for i, f := range kept { // nobody wrote over what was taken over
			if string(f.Payload) != payloads[f.Seq] {
				t.Errorf("pieces of %d: frame %d was overwritten", piece, f.Seq)
			}
			keep[i].Free()
		}
		if len(kept) == 0 {
			t.Errorf("pieces of %d: no large frame was taken over", piece)
		}
		r.release()
		if n := shared.Bytes(); n != 0 {
			t.Errorf("pieces of %d: %d bytes of the server's bound are lost", piece, n)
		}
	}
}

// A small frame does not keep a large buffer alive, and a large one is not copied.
func TestTakeOverOnlyWhatIsWorthIt(t *testing.T) {
	for size, want := range map[int]bool{100: false, 20 << 10: false, byReference: true, 1 << 20: true} {
		r := readerOf(&feed{rest: append(request(1, strings.Repeat("x", size)), request(2, "next")...), piece: 1 << 20}, nil)
		f, _, ok, err := wire.Frame{}, (*oversized)(nil), false, error(nil)
		for !ok && err == nil {
			if f, _, ok, err = r.next(); !ok {
				err = r.fill()
			}
		}
		if err != nil || len(f.Payload) != size {
			t.Fatalf("%d bytes: %v", len(f.Payload), err)
		}
		taken := r.takeOver()
		if (taken != nil) != want {
			t.Errorf("%d bytes: taken over: %v", size, taken != nil)
		}
		for ok, err = false, nil; !ok && err == nil; {
			if f, _, ok, err = r.next(); !ok {
				err = r.fill()
			}
		}
		if !ok || f.Seq != 2 || !bytes.Equal(f.Payload, []byte("next")) {
			t.Errorf("%d bytes: behind it came %+v, %v", size, f, err)
		}
	}
}

// A length that is only claimed allocates nothing: buffers grow with what came.
func TestClaimAllocatesNothing(t *testing.T) {
	frame := request(1, strings.Repeat("x", 3<<20))
	r := readerOf(&feed{rest: frame[:200<<10], piece: 1000}, nil)
	for {
		if _, _, ok, err := r.next(); ok || err != nil {
			t.Fatal(ok, err)
		}
		if r.buf != nil && cap(r.buf.B) > max(readChunk, growth*len(r.buf.B)) {
			t.Fatalf("%d bytes are held for %d that came", cap(r.buf.B), len(r.buf.B))
		}
		if r.fill() != nil {
			return
		}
	}
}
