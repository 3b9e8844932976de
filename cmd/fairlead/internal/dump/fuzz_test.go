// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// FuzzDump decodes files: whatever is in them, the output is printable, one line
// or object for each thing said, and nothing is held in the end.
func FuzzDump(f *testing.F) {
	for _, scene := range scenes {
		c := newTap(f, layers.LinkTypeEthernet)
		scene.make(c)
		if c.buf.Len() < 10_000 {
			f.Add(c.buf.Bytes(), scene.opts.Verbose)
		}
	}
	f.Add([]byte("\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x4d\x3c\x2b\x1a\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x1c\x00\x00\x00"), true)
	f.Fuzz(func(t *testing.T, capture []byte, verbose bool) {
		for _, asJSON := range []bool{false, true} {
			var out, log bytes.Buffer
			_ = File(context.Background(), bytes.NewReader(capture), Options{Out: &out, Log: &log, Verbose: verbose, JSON: asJSON})
			checkPrintable(t, out.String())
			checkPrintable(t, log.String())
			for line := range strings.Lines(out.String()) {
				if asJSON && !json.Valid([]byte(line)) {
					t.Fatalf("not an object: %s", line)
				}
			}
		}
	})
}

// streamed is what is printed of a stream that comes in pieces of these sizes,
// taken in turn; 0 loses the next byte.
func streamed(t *testing.T, data, sizes []byte, midway bool) string {
	t.Helper()
	var out bytes.Buffer
	rep := &reporter{opts: &Options{Verbose: true}, out: &out}
	b := &budget{left: heldBytes}
	conv := newConversation(rep, b, clientAt(1), clientAt(2), -1)
	conv.talkative = true
	s := &conv.streams[0]
	s.midway = midway
	at := time.Unix(0, 0)
	for i := 0; len(data) > 0; i++ {
		n := 1 << 20
		if len(sizes) > 0 {
			n = int(sizes[i%len(sizes)])
		}
		n = min(n, len(data))
		if n == 0 {
			s.gap(1, "a gap", at)
			n = 1
		} else {
			s.feed(data[:n], at)
		}
		data = data[n:]
	}
	s.finish(at)
	conv.close()
	if b.left != heldBytes {
		t.Errorf("%d bytes are still held", heldBytes-b.left)
	}
	return out.String()
}

// FuzzDumpStream decodes one direction: however it is split, the same is said
// of it.
func FuzzDumpStream(f *testing.F) {
	frames := typed(f)
	var all []byte
	for _, frame := range frames {
		f.Add(frame, []byte{1}, false)
		all = append(all, frame...)
	}
	f.Add(all, []byte{7, 1, 200}, false)
	f.Add(all[3:], []byte{9}, true)
	f.Add(all, []byte{100, 0}, false)
	f.Fuzz(func(t *testing.T, data, sizes []byte, midway bool) {
		got := streamed(t, data, sizes, midway)
		checkPrintable(t, got)
		if bytes.IndexByte(sizes, 0) >= 0 {
			return
		}
		if want := streamed(t, data, nil, midway); got != want {
			t.Errorf("split by %v it is\n%s, and whole\n%s", sizes, got, want)
		}
	})
}

// FuzzHead holds parseHead and wire.Parse together: what is wrong for one is
// wrong for the other, in the same words, and what is right has the same parts.
func FuzzHead(f *testing.F) {
	for _, frame := range typed(f) {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, size, err := wire.ParsePrefix(frame)
		if err != nil || size != uint64(len(frame)) {
			return
		}
		got, bad := parseHead(h, frame, size)
		want, err := wire.Parse(frame)
		switch {
		case (bad == nil) != (err == nil):
			t.Fatalf("%v, wire says %v", bad, err)
		case bad != nil && bad.Error() != err.Error():
			t.Fatalf("%v, wire says %v", bad, err)
		case bad != nil:
			if bad.offset > size {
				t.Fatalf("the place of what is wrong is %d, of %d bytes", bad.offset, size)
			}
			return
		}
		for _, p := range []struct {
			got  part
			want []byte
		}{{got.path, want.Path}, {got.method, want.Method}, {got.meta, want.Meta}, {got.payload, want.Payload}} {
			if !bytes.Equal(p.got.kept, p.want) || !p.got.whole() {
				t.Fatalf("%v is %x", p.got, p.want)
			}
		}
		for n := wire.PrefixLen; n < len(frame); n += 1 + len(frame)/64 { // with less of it, the lengths that are known are right
			less, bad := parseHead(h, frame[:n], size)
			if bad != nil || less.missing == "" && less.payload.size != got.payload.size {
				t.Fatalf("of the first %d bytes: %v, %v", n, less, bad)
			}
		}
	})
}
