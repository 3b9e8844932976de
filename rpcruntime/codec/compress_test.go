// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// reverse is a user's compressor: the bytes from back to front.
type reverse struct{}

func (reverse) Compress(dst, data []byte) ([]byte, error) {
	for i := len(data) - 1; i >= 0; i-- {
		dst = append(dst, data[i])
	}
	return dst, nil
}

func (r reverse) Decompress(dst, data []byte, limit int) ([]byte, error) {
	if len(data) > limit {
		return dst, ErrTooLarge
	}
	return r.Compress(dst, data)
}

// bad is a user's compressor that does what run does.
type bad struct {
	run func(dst, data []byte) ([]byte, error)
}

func (b bad) Compress(dst, data []byte) ([]byte, error)          { return b.run(dst, data) }
func (b bad) Decompress(dst, data []byte, _ int) ([]byte, error) { return b.run(dst, data) }

func withCompressor(t testing.TB, s *Set, n CompressType, c Compressor) *Set {
	t.Helper()
	with, err := s.WithCompressor(n, c)
	if err != nil {
		t.Fatal(err)
	}
	return with
}

func TestUsersCompressorsAreUsed(t *testing.T) {
	base := New()
	set := base
	for n := CompressType(2); n <= MaxCompressType; n++ {
		if base.HasCompressor(n) {
			t.Errorf("%s: there is one before any was added", n)
		}
		set = withCompressor(t, set, n, reverse{})
	}
	for n := CompressType(2); n <= MaxCompressType; n++ {
		if base.HasCompressor(n) || !set.HasCompressor(n) || !set.HasCompressor(CompressGzip) {
			t.Fatalf("%s: WithCompressor changed its receiver, or lost compressors", n)
		}
		got, err := set.Compress(n, []byte("kept"), []byte("abc"))
		if err != nil || string(got) != "keptcba" {
			t.Errorf("%s: got %q, %v", n, got, err)
		}
		got, err = set.Decompress(n, []byte("kept"), []byte("cba"), 3)
		if err != nil || string(got) != "keptabc" {
			t.Errorf("%s: got %q, %v", n, got, err)
		}
	}
	if s := withCompressor(t, nil, 7, reverse{}); !s.HasCompressor(7) || s.HasCompressor(CompressGzip) {
		t.Error("WithCompressor on a nil set did not begin with an empty one")
	}
	gzip := withCompressor(t, base, CompressGzip, reverse{})
	if got, err := gzip.Compress(CompressGzip, nil, []byte("ab")); err != nil || string(got) != "ba" {
		t.Errorf("gzip replaced: got %q, %v", got, err)
	}
}

func TestCompressorsThatCannotBe(t *testing.T) {
	for _, n := range []CompressType{CompressNone, 8, 255} {
		if _, err := New().WithCompressor(n, reverse{}); err == nil {
			t.Errorf("%s: accepted, and no frame can say so", n)
		}
	}
	if _, err := New().WithCompressor(2, nil); err == nil {
		t.Error("a nil compressor was accepted")
	}
	for _, s := range []*Set{nil, {}, New()} {
		for _, n := range []CompressType{2, 7, 8, 255} {
			_, compress := s.Compress(n, nil, []byte("abc"))
			_, decompress := s.Decompress(n, nil, []byte("abc"), 10)
			for _, err := range []error{compress, decompress} {
				var unknown *UnknownCompressError
				if s.HasCompressor(n) || !errors.As(err, &unknown) || unknown.Type != n {
					t.Errorf("%s: got %v, want an *UnknownCompressError", n, err)
				}
			}
		}
		if !s.HasCompressor(CompressNone) {
			t.Error("none is not known")
		}
	}
}

// What a user's compressor does wrong is an error of that payload, and leaves
// what stood before it in the buffer.
func TestCompressorsThatFail(t *testing.T) {
	oh := errors.New("oh")
	tests := []struct {
		name string
		run  func(dst, data []byte) ([]byte, error)
		want error // nil: any
	}{
		{"error", func([]byte, []byte) ([]byte, error) { return nil, oh }, oh},
		{"error behind half the output", func(dst, data []byte) ([]byte, error) { return append(dst, data...), oh }, oh},
		{"panic", func([]byte, []byte) ([]byte, error) { panic("oh") }, nil},
		{"its own bytes instead of dst", func(_, data []byte) ([]byte, error) { return data[:2], nil }, errNotAppended},
		{"nothing", func([]byte, []byte) ([]byte, error) { return nil, nil }, errNotAppended},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := withCompressor(t, New(), 2, bad{tt.run})
			for op, convert := range map[string]func() ([]byte, error){
				"compress":   func() ([]byte, error) { return set.Compress(2, []byte("kept"), []byte("abc")) },
				"decompress": func() ([]byte, error) { return set.Decompress(2, []byte("kept"), []byte("abc"), 10) },
			} {
				got, err := convert()
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("%s: got %v, want %v", op, err, tt.want)
				}
				if string(got) != "kept" {
					t.Errorf("%s: an error left %q in the buffer", op, got)
				}
				if !strings.HasPrefix(fmt.Sprint(err), "compressor 2: "+op+" 3 bytes: ") {
					t.Errorf("%s: the text %q does not say who, what and how much", op, err)
				}
			}
		})
	}
}

// The limit holds whoever wrote the compressor, and without one.
func TestLimitHoldsForEveryCompressor(t *testing.T) {
	set := withCompressor(t, New(), 2, bad{func(dst, data []byte) ([]byte, error) { return append(dst, data...), nil }})
	for _, n := range []CompressType{CompressNone, 2} {
		for limit, want := range map[int]error{3: nil, 2: ErrTooLarge, 0: ErrTooLarge, -1: ErrTooLarge} {
			got, err := set.Decompress(n, []byte("kept"), []byte("abc"), limit)
			if !errors.Is(err, want) {
				t.Errorf("%s, limit %d: got %v, want %v", n, limit, err, want)
			}
			if wanted := "keptabc"; err == nil && string(got) != wanted || err != nil && string(got) != "kept" {
				t.Errorf("%s, limit %d: got %q", n, limit, got)
			}
		}
	}
	data := []byte("abc")
	got, err := set.Compress(CompressNone, nil, data)
	if err != nil || !bytes.Equal(got, data) || &got[0] == &data[0] {
		t.Errorf("none: got %q, %v, want a copy", got, err)
	}
}

// The same for codecs: the header of a frame stands in dst.
func TestCodecThatDoesNotAppend(t *testing.T) {
	set, err := New().With(5, forgetful{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := set.Append(5, []byte("a header"), 1)
	if !errors.Is(err, errNotAppended) || string(got) != "a header" {
		t.Errorf("got %q, %v, want the header and %v", got, err, errNotAppended)
	}
}

type forgetful struct{}

func (forgetful) Append([]byte, any) ([]byte, error) { return []byte("new"), nil }
func (forgetful) Decode([]byte, any) error           { return nil }
