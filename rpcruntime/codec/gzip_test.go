// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// rpcxGzip is the payload that rpcx makes of 1,100 times 'a': it flushes before
// it closes, which leaves an empty block before the last one.
const rpcxGzip = "1f8b08000000000000ff 4a1c05a360148c022a0000 000000ffff 010000ffff adfde2af 4c040000"

func TestGoldenGzipOfRpcx(t *testing.T) {
	data := unhex(t, rpcxGzip)
	if len(data) != 39 {
		t.Fatalf("the example has %d bytes", len(data))
	}
	want := strings.Repeat("a", 1100)
	got, err := New().Decompress(CompressGzip, []byte("kept"), data, 1100)
	if err != nil || string(got) != "kept"+want {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := New().Decompress(CompressGzip, nil, data, 1099); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte less: got %v, want ErrTooLarge", err)
	}
	for cut := range data {
		if got, err := New().Decompress(CompressGzip, nil, data[:cut], 1<<20); err == nil || errors.Is(err, io.EOF) || len(got) != 0 {
			t.Errorf("the first %d bytes: got %d bytes, %v, want an error that is not io.EOF", cut, len(got), err)
		}
	}
}

// member returns data as one gzip member, by the standard library's writer.
func member(t testing.TB, level int, data []byte, head gzip.Header) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Header = head
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func plain(t testing.TB, data []byte) []byte {
	t.Helper()
	return member(t, gzip.DefaultCompression, data, gzip.Header{})
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestGzipIsReadWhole(t *testing.T) {
	hi, empty := plain(t, []byte("hi")), plain(t, nil)
	stored := member(t, gzip.NoCompression, []byte("hi"), gzip.Header{})
	headed := member(t, gzip.BestSpeed, []byte("ho"), gzip.Header{Name: "name", Comment: "comment", Extra: bytes.Repeat([]byte{7}, math.MaxUint16)})
	big := bytes.Repeat([]byte("0123456789"), 100_000)
	flip := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[len(b)+at] ^= 1
		return b
	}
	tests := []struct {
		name string
		data []byte
		want string
		fail bool
	}{
		{"nothing in it", empty, "", false},
		{"one member", hi, "hi", false},
		{"name, comment and 64 KiB of extra", headed, "ho", false},
		{"two members", join(hi, headed), "hiho", false},
		{"empty ones between", join(empty, hi, empty, empty, headed, empty), "hiho", false},
		{"more than the trailer says, it being the last one's", join(plain(t, big), hi), string(big) + "hi", false},
		{"stored", stored, "hi", false},
		{"no input", nil, "", true},
		{"no gzip", []byte("{\"A\":10,\"B\":20}........................"), "", true},
		{"another method", flip(join([]byte{0x1f, 0x8b, 9}, hi[3:]), -1), "", true},
		{"zeros behind", join(hi, make([]byte, 8)), "", true},
		{"one byte behind", join(hi, []byte{0x1f}), "", true},
		{"garbage behind", join(hi, []byte("garbage of some length")), "", true},
		{"half a member behind", join(hi, headed[:len(headed)-1]), "", true},
		{"wrong size", flip(hi, -1), "", true},
		{"wrong checksum", flip(hi, -5), "", true},
		{"wrong checksum of the first of two", join(flip(hi, -5), hi), "", true},
		{"reference before the start", join(hi[:10], []byte{0x03, 0x02, 0, 0}, make([]byte, 8)), "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := New().Decompress(CompressGzip, []byte("kept"), tt.data, 2<<20)
			if tt.fail != (err != nil) || string(got) != "kept"+tt.want {
				t.Errorf("got %d bytes, %v; want %d bytes, failure %v", len(got), err, 4+len(tt.want), tt.fail)
			}
			if got, _ = (Gzip{}).Decompress([]byte("kept"), tt.data, 2<<20); string(got) != "kept"+tt.want {
				t.Errorf("without a set: got %d bytes, want %d", len(got), 4+len(tt.want))
			}
		})
	}
}

// Exact: as many bytes as the limit says pass, one more does not, whatever room
// dst has.
func TestGzipLimitIsExact(t *testing.T) {
	for _, size := range []int{0, 1, 511, 512, 513, 4096, 32 << 10, 1<<20 + 1} {
		want := bytes.Repeat([]byte{'a'}, size)
		for name, data := range map[string][]byte{
			"one member":  plain(t, want),
			"two members": join(plain(t, want[:size/2]), plain(t, want[size/2:])),
			"stored":      member(t, gzip.NoCompression, want, gzip.Header{}),
		} {
			for _, capacity := range []int{4, 5 + size/2, 4 + size, 5 + size, 4 + 2*size} {
				dst := append(make([]byte, 0, max(capacity, 4)), "kept"...)
				got, err := Gzip{}.Decompress(dst, data, size)
				if err != nil || !bytes.Equal(got[4:], want) || string(got[:4]) != "kept" {
					t.Errorf("%d bytes in %s, limit %d, room %d: got %d bytes, %v", size, name, size, capacity, len(got), err)
				}
				got, err = Gzip{}.Decompress(dst, data, size-1)
				if !errors.Is(err, ErrTooLarge) && size > 0 || string(got) != "kept" {
					t.Errorf("%d bytes in %s, limit %d, room %d: got %d bytes, %v", size, name, size-1, capacity, len(got), err)
				}
			}
		}
		if got, err := (Gzip{}).Decompress(nil, plain(t, want), math.MaxInt); err != nil || len(got) != size {
			t.Errorf("%d bytes, no limit to speak of: got %d, %v", size, len(got), err)
		}
	}
}

// bomb returns some 10 MiB that hold 10 GiB of zeros, and says at its end that
// they were as many as claim.
func bomb(t testing.TB, claim uint32) []byte {
	t.Helper()
	var block bytes.Buffer
	w, err := flate.NewWriter(&block, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil { // the next block begins at a byte
		t.Fatal(err)
	}
	data := append(unhex(t, "1f8b08000000000000ff"), bytes.Repeat(block.Bytes(), 10<<10)...)
	data = append(data, unhex(t, "010000ffff 00000000")...)
	return binary.LittleEndian.AppendUint32(data, claim)
}

func TestGzipBombStopsAtItsLimit(t *testing.T) {
	const limit = 16 << 20
	set := New()
	for _, claim := range []uint32{0, 10 << 20, math.MaxUint32} {
		data := bomb(t, claim)
		first := join(plain(t, []byte("hi")), data)
		for name, data := range map[string][]byte{"alone": data, "behind another member": first} {
			var err error
			took := allocated(func() { _, err = set.Decompress(CompressGzip, nil, data, limit) })
			if !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s, claiming %d: got %v, want ErrTooLarge", name, claim, err)
			}
			// Doubling makes garbage of as much again.
			if most := uint64(2*limit + 1<<20); took > most {
				t.Errorf("%s, claiming %d: allocated %d bytes, want at most %d", name, claim, took, most)
			}
		}
	}
}

// What the input claims costs nothing that the input is too small for.
func TestGzipClaimsAreNotBelieved(t *testing.T) {
	tests := map[string]string{
		"4 GiB in the trailer":     "1f8b08000000000000ff 0300 00000000 ffffffff",
		"4 GiB, and no deflate":    "1f8b08000000000000ff ff ffffffff ffffffff",
		"64 KiB of extra":          "1f8b08040000000000ff ffff 00",
		"64 KiB in a stored block": "1f8b08000000000000ff 01ffff0000 00 ffffffff",
	}
	set := New()
	for name, data := range tests {
		if _, err := set.Decompress(CompressGzip, nil, unhex(t, data), 1<<30); err == nil {
			t.Errorf("%s: accepted", name)
		}
		took := allocated(func() { _, _ = set.Decompress(CompressGzip, nil, unhex(t, data), 1<<30) })
		if took > 256<<10 {
			t.Errorf("%s: allocated %d bytes", name, took)
		}
	}
}

// In rpcx a compressed payload is in a pooled buffer that the next one is
// written to. Here what was returned belongs to the caller: many at once keep
// all that they were given, and look at it when all have ended.
func TestGzipResultsBelongToTheCaller(t *testing.T) {
	const callers, rounds = 8, 50
	type result struct{ plain, packed, unpacked []byte }
	results := make([][]result, callers)
	set := New()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for r := range rounds {
				data := bytes.Repeat(fmt.Appendf(nil, "caller %d, round %d. ", c, r), 10+37*r)
				packed, err := set.Compress(CompressGzip, nil, data)
				if err != nil {
					t.Error(err)
					return
				}
				unpacked, err := set.Decompress(CompressGzip, nil, packed, len(data))
				if err != nil {
					t.Error(err)
					return
				}
				results[c] = append(results[c], result{data, packed, unpacked})
			}
		})
	}
	wg.Wait()
	for c := range results {
		for r, res := range results[c] {
			if !bytes.Equal(res.unpacked, res.plain) {
				t.Fatalf("caller %d, round %d: what was decompressed has changed", c, r)
			}
			again, err := set.Decompress(CompressGzip, nil, res.packed, len(res.plain))
			if err != nil || !bytes.Equal(again, res.plain) {
				t.Fatalf("caller %d, round %d: what was compressed has changed: %v", c, r, err)
			}
		}
	}
}

// What waits for its next use knows nothing of the last one, failed ones
// included. (With the race detector a pool forgets at random: hence the rounds.)
func TestGzipPoolsKeepNothing(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789"), 10_000)
	headed := member(t, gzip.DefaultCompression, big, gzip.Header{Name: "name", Extra: make([]byte, math.MaxUint16)})
	for range 20 {
		for _, data := range [][]byte{headed, headed[:len(headed)-1], headed[:12], []byte("no gzip"), nil} {
			_, _ = Gzip{}.Decompress(nil, data, len(big))
			_, _ = Gzip{}.Decompress(nil, data, 1)
			f := inflaters.Get().(*inflater)
			if f.src.Size() != 0 || f.gz.Extra != nil || f.gz.Name != "" {
				t.Fatalf("an inflater keeps %d bytes of input, %d of a header", f.src.Size(), len(f.gz.Extra)+len(f.gz.Name))
			}
			inflaters.Put(f)
		}
		if _, err := (Gzip{}).Compress(nil, big); err != nil {
			t.Fatal(err)
		}
		d := deflaters.Get().(*deflater)
		if d.out != nil {
			t.Fatalf("a deflater keeps %d bytes of output", cap(d.out))
		}
		deflaters.Put(d)
	}
	if len(slots) != 0 {
		t.Errorf("%d conversions count as under way, and none is", len(slots))
	}
}

func TestGzipRunsSoManyAtOnce(t *testing.T) {
	packed := plain(t, []byte("hi"))
	for name, convert := range map[string]func() error{
		"compress":   func() error { _, err := Gzip{}.Compress(nil, []byte("hi")); return err },
		"decompress": func() error { _, err := Gzip{}.Decompress(nil, packed, 2); return err },
	} {
		for range cap(slots) {
			slots <- struct{}{}
		}
		done := make(chan error, 1)
		go func() { done <- convert() }()
		for range 1000 {
			runtime.Gosched()
		}
		select {
		case <-done:
			t.Errorf("%s: one more than %d ran", name, cap(slots))
		default:
		}
		for range cap(slots) {
			<-slots
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What runs counts for as long as it runs.
func TestGzipCountsWhatRuns(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 400_000)
	packed := plain(t, data)
	for name, convert := range map[string]func() error{
		"compress":   func() error { _, err := Gzip{}.Compress(nil, data); return err },
		"decompress": func() error { _, err := Gzip{}.Decompress(nil, packed, len(data)); return err },
	} {
		seen := 0
		for range 100 { // the two goroutines may miss each other
			done := make(chan error, 1)
			go func() { done <- convert() }()
			for len(done) == 0 {
				seen += len(slots)
				runtime.Gosched()
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if seen > 10 {
				break
			}
		}
		if seen <= 10 {
			t.Errorf("%s: it was seen under way %d times while it was", name, seen)
		}
	}
}

func FuzzGzipDecompress(f *testing.F) {
	for _, seed := range []string{
		rpcxGzip,
		"1f8b08000000000000ff 0300 00000000 00000000",                                             // nothing
		"1f8b08000000000000ff 01 0200 fdff 6869 addb2d8d 02000000",                                // stored; the sum is wrong
		"1f8b08000000000000ff 0300 00000000 00000000 1f8b08000000000000ff 0300 00000000 00000000", // two members
		"1f8b081e000000000003 0100 78 6e616d6500 636f6d6d656e7400 0000 0300 00000000 00000000",    // every field of a header
		"1f8b08000000000000ff ffffffff",
		"1f8b08000000000000ff 4a1c05a360148c022a",
	} {
		f.Add(unhex(f, seed))
	}
	const limit = 64 << 10
	set := New()
	f.Fuzz(func(t *testing.T, data []byte) {
		var got []byte
		var err error
		took := allocated(func() { got, err = set.Decompress(CompressGzip, []byte("kept"), data, limit) })
		// Each block of deflate brings tables, of up to 64 KiB for some 80 bytes;
		// they are garbage when the next one begins.
		if most := uint64(256<<10 + 2*limit + 1000*len(data)); took > most {
			t.Fatalf("allocated %d bytes for %d of input (%v)", took, len(data), err)
		}
		if err != nil {
			if string(got) != "kept" {
				t.Fatalf("an error left %d bytes: %v", len(got), err)
			}
			return
		}
		if len(got) > 4+limit || string(got[:4]) != "kept" {
			t.Fatalf("%d bytes, beginning with %q", len(got), got[:4])
		}
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatalf("accepted, and the standard library says %v", err)
		}
		if want, err := io.ReadAll(r); err != nil || !bytes.Equal(want, got[4:]) {
			t.Fatalf("got %d bytes, the standard library %d, %v", len(got)-4, len(want), err)
		}
		packed, err := set.Compress(CompressGzip, nil, got[4:])
		if err != nil {
			t.Fatal(err)
		}
		if again, err := set.Decompress(CompressGzip, nil, packed, len(got)-4); err != nil || !bytes.Equal(again, got[4:]) {
			t.Fatalf("packed and unpacked: %d bytes, %v", len(again), err)
		}
	})
}

func BenchmarkGzip(b *testing.B) {
	data := bytes.Repeat([]byte(`{"A":10,"B":20}`), 1000)
	set := New()
	packed, err := set.Compress(CompressGzip, nil, data)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("compress", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = set.Compress(CompressGzip, nil, data)
		}
	})
	b.Run("decompress", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = set.Decompress(CompressGzip, nil, packed, 1<<20)
		}
	})
}
