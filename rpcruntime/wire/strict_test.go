// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"
)

// base is a frame with something in each part, and the offsets of its lengths.
var base = parts{
	header: RequestHeader(1, SerializeJSON, false), path: "Arith", method: "Mul",
	meta: [][2]string{{"k1", "v1"}, {"key", "value"}}, payload: `{"A":1}`,
}

var offsets = struct{ total, path, method, meta, key1, value1, key2, value2, payload int }{
	12, 16, 25, 32, 36, 42, 48, 55, 64,
}

func TestOffsetsOfBase(t *testing.T) {
	b := base.build()
	for at, want := range map[int]int{
		offsets.total: len(b) - PrefixLen, offsets.path: 5, offsets.method: 3, offsets.meta: 28,
		offsets.key1: 2, offsets.value1: 2, offsets.key2: 3, offsets.value2: 5, offsets.payload: 7,
	} {
		if got := binary.BigEndian.Uint32(b[at:]); got != uint32(want) {
			t.Errorf("length at %d is %d, want %d", at, got, want)
		}
	}
}

func TestWrongLengths(t *testing.T) {
	o := offsets
	tests := []struct {
		name  string
		at    int
		value uint32
		field string // that the error names
	}{
		{"total 0", o.total, 0, "total"},
		{"total one too small to be legal", o.total, MinTotal - 1, "total"},
		{"total less one", o.total, 58, "total"},
		{"total plus one", o.total, 60, "total"},
		{"total of all ones", o.total, math.MaxUint32, "total"},
		{"path less one", o.path, 4, "method"},
		{"path plus one", o.path, 6, "method"},
		{"path to the end", o.path, 55, "method"},
		{"path to one before the end", o.path, 54, "method"},
		{"path beyond the end", o.path, 56, "path"},
		{"path of all ones", o.path, math.MaxUint32, "path"},
		{"path that overflows with its own four", o.path, math.MaxUint32 - 3, "path"},
		{"path of 2^31", o.path, 1 << 31, "path"},
		{"method less one", o.method, 2, "metadata"},
		{"method plus one", o.method, 4, "metadata"},
		{"method beyond the end", o.method, 47, "method"},
		{"method of all ones", o.method, math.MaxUint32, "method"},
		{"metadata less one", o.meta, 27, "payload"},
		{"metadata plus one", o.meta, 29, "payload"},
		{"metadata without the last value", o.meta, 19, "payload"},
		{"metadata beyond the end", o.meta, 40, "metadata"},
		{"metadata of all ones", o.meta, math.MaxUint32, "metadata"},
		{"first key less one", o.key1, 1, "metadata value"},
		{"first key plus one", o.key1, 3, "metadata value"},
		{"first key beyond the block", o.key1, 25, "metadata key"},
		{"first key of all ones", o.key1, math.MaxUint32, "metadata key"},
		{"first value less one", o.value1, 1, "metadata key"},
		{"first value plus one", o.value1, 3, "metadata key"},
		{"first value of all ones", o.value1, math.MaxUint32, "metadata value"},
		{"last key less one", o.key2, 2, "metadata value"},
		{"last key of all ones", o.key2, math.MaxUint32, "metadata key"},
		{"last value less one", o.value2, 4, "metadata key"},
		{"last value plus one", o.value2, 6, "metadata value"},
		{"last value of all ones", o.value2, math.MaxUint32, "metadata value"},
		{"payload less one", o.payload, 6, "payload"},
		{"payload plus one", o.payload, 8, "payload"},
		{"payload 0", o.payload, 0, "payload"},
		{"payload of all ones", o.payload, math.MaxUint32, "payload"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := base.build()
			binary.BigEndian.PutUint32(b[tt.at:], tt.value)
			checkMalformed(t, b, tt.field)
		})
	}
}

// A prefix is judged alone, before there is more of its frame.
func TestPrefixAlone(t *testing.T) {
	for total, ok := range map[uint32]bool{0: false, MinTotal - 1: false, MinTotal: true, math.MaxUint32: true} {
		b := base.build()[:PrefixLen]
		binary.BigEndian.PutUint32(b[offsets.total:], total)
		h, size, err := ParsePrefix(b)
		var malformed *MalformedError
		if !ok && (!errors.As(err, &malformed) || malformed.Field != "total" || h != base.header) {
			t.Errorf("total %d: %+v, %v", total, h, err)
		}
		if ok && (err != nil || size != PrefixLen+uint64(total) || h != base.header) {
			t.Errorf("total %d: %+v, %d, %v", total, h, size, err)
		}
	}
}

func checkMalformed(t *testing.T, b []byte, field string) {
	t.Helper()
	f, err := Parse(b)
	var malformed *MalformedError
	if !errors.As(err, &malformed) {
		t.Fatalf("got %+v, %v; want a *MalformedError", f, err)
	}
	if malformed.Field != field {
		t.Errorf("the error names %q, want %q: %v", malformed.Field, field, err)
	}
	if f.Path != nil || f.Meta != nil || f.Payload != nil {
		t.Errorf("an error came with %+v", f)
	}
}

func TestWrongMagic(t *testing.T) {
	for _, first := range []byte{0, 7, 9, 'G', 0x16, 0xff} {
		b := base.build()
		b[0] = first
		checkMalformed(t, b, "magic")
	}
	// Old peers check neither, and get both back.
	b := base.build()
	b[1], b[3] = 7, b[3]|0x0f
	if f, err := Parse(b); err != nil || f.Version != 7 || f.Kind&0x0f != 0x0f {
		t.Errorf("version 7 and a reserved nibble: %+v, %v", f.Header, err)
	}
}

func TestTruncated(t *testing.T) {
	whole := base.build()
	for n := range whole {
		field := "total"
		if n < PrefixLen {
			field = "prefix"
		}
		checkMalformed(t, whole[:n], field)
		// The same with a total that agrees with what is left.
		if n < PrefixLen+MinTotal {
			continue
		}
		b := slices.Clone(whole[:n])
		binary.BigEndian.PutUint32(b[offsets.total:], uint32(n-PrefixLen))
		var malformed *MalformedError
		if _, err := Parse(b); !errors.As(err, &malformed) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for _, more := range []int{1, 4, 8, 100} {
		b := append(slices.Clone(whole), make([]byte, more)...)
		checkMalformed(t, b, "total")
		binary.BigEndian.PutUint32(b[offsets.total:], uint32(len(b)-PrefixLen))
		checkMalformed(t, b, "payload")
	}
}

func TestSmallest(t *testing.T) {
	b := parts{}.build()
	if len(b) != PrefixLen+MinTotal || len(b) != FrameLen(0, 0, 0, 0) {
		t.Errorf("an empty frame has %d bytes", len(b))
	}
	if _, err := Parse(b); err != nil {
		t.Error(err)
	}
}

func TestMeta(t *testing.T) {
	b := parts{meta: [][2]string{{"a", "1"}, {"", "empty key"}, {"a", ""}, {"b", "\x00\xff"}, {"a", "3"}}}.build()
	f, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "3", "": "empty key", "b": "\x00\xff"} {
		if v, ok := f.Meta.Get(key); !ok || string(v) != want {
			t.Errorf("%q is %q, %v; want %q: of duplicates the last", key, v, ok, want)
		}
	}
	if v, ok := f.Meta.Get("c"); ok || v != nil {
		t.Errorf("an absent key is %q", v)
	}
	if n := f.Meta.Entries(); n != 5 {
		t.Errorf("%d entries, want 5", n)
	}
	for k := range f.Meta.All() { // may be left early
		if string(k) == "a" {
			break
		}
	}
	if n := Meta([]byte{0, 0, 0, 9}).Entries(); n != 0 {
		t.Errorf("a block that is not whole has %d entries", n)
	}
}

func TestBuilderMatchesFrameLen(t *testing.T) {
	b := Begin(nil, Header{}, "path", "method")
	b.MetaBytes("key", []byte("value"))
	if got, want := len(b.Payload([]byte("payload"))), FrameLen(4, 6, PairLen(3, 5), 7); got != want {
		t.Errorf("%d bytes, FrameLen says %d", got, want)
	}
	by := Begin(nil, Header{}, "path", "method")
	by.Meta("key", "value")
	whole := append(by.PayloadFollows(7), "payload"...)
	if f, err := Parse(whole); err != nil || string(f.Payload) != "payload" {
		t.Errorf("payload by reference: %q, %v", f.Payload, err)
	}
}

func TestDefaultLimits(t *testing.T) {
	want := Limits{FrameBytes: 4 << 20, MetadataBytes: 64 << 10, MetadataEntries: 128, NameBytes: 1 << 10, DecompressedBytes: 16 << 20}
	if got := (Limits{}).WithDefaults(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := (Limits{-1, -1, -1, -1, -1}).WithDefaults(); got != want {
		t.Errorf("negative: got %+v, want %+v", got, want)
	}
	set := Limits{1, 2, 3, 4, 5}
	if got := set.WithDefaults(); got != set {
		t.Errorf("got %+v, want %+v", got, set)
	}
}

func TestFrameLimit(t *testing.T) {
	l := Limits{FrameBytes: 1000}.WithDefaults()
	tests := []struct {
		size            uint64
		ok, discardable bool
	}{{32, true, false}, {1000, true, false}, {1001, false, true}, {4000, false, true}, {4001, false, false}, {PrefixLen + math.MaxUint32, false, false}, {math.MaxUint64, false, false}}
	for _, tt := range tests {
		err := l.CheckSize(tt.size)
		var over *LimitError
		switch {
		case tt.ok && err != nil:
			t.Errorf("%d: %v", tt.size, err)
		case tt.ok:
		case !errors.As(err, &over):
			t.Errorf("%d: got %v, want a *LimitError", tt.size, err)
		case over.What != "frame" || over.Limit != 1000 || over.Claim != tt.size || over.Discardable != tt.discardable:
			t.Errorf("%d: got %+v", tt.size, over)
		}
	}
}

func TestPartLimits(t *testing.T) {
	exact := Limits{FrameBytes: 1 << 20, MetadataBytes: 28, MetadataEntries: 2, NameBytes: 5}
	f, err := Parse(base.build())
	if err != nil {
		t.Fatal(err)
	}
	if err := exact.Check(f); err != nil {
		t.Errorf("at its limits: %v", err)
	}
	long := base
	long.method = "Multi6"
	lm, err := Parse(long.build())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		l    Limits
		f    Frame
		want LimitError
	}{
		{Limits{NameBytes: 4, MetadataBytes: 28, MetadataEntries: 2}, f, LimitError{"path", 4, 5, true}},
		{Limits{NameBytes: 5, MetadataBytes: 28, MetadataEntries: 2}, lm, LimitError{"method", 5, 6, true}},
		{Limits{NameBytes: 5, MetadataBytes: 27, MetadataEntries: 2}, f, LimitError{"metadata", 27, 28, true}},
		{Limits{NameBytes: 5, MetadataBytes: 28, MetadataEntries: 1}, f, LimitError{"metadata entries", 1, 2, true}},
	}
	for _, tt := range tests {
		var over *LimitError
		if err := tt.l.Check(tt.f); !errors.As(err, &over) || *over != tt.want {
			t.Errorf("got %v, want %v", err, &tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range frames(f) {
		f.Add(b)
	}
	for at := 12; at <= offsets.payload; at += 4 {
		b := base.build()
		binary.BigEndian.PutUint32(b[at:], math.MaxUint32)
		f.Add(b)
	}
	f.Add(base.build())
	f.Add([]byte{})
	f.Add([]byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"))
	l := Limits{}.WithDefaults()
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := Parse(b)
		var malformed *MalformedError
		if err != nil {
			if !errors.As(err, &malformed) {
				t.Fatalf("got %T: %v", err, err)
			}
			return
		}
		if n := FrameLen(len(frame.Path), len(frame.Method), len(frame.Meta), len(frame.Payload)); n != len(b) {
			t.Fatalf("the parts add up to %d bytes of %d", n, len(b))
		}
		pairs, last := 0, map[string]string{}
		again := Begin(nil, frame.Header, string(frame.Path), string(frame.Method))
		for k, v := range frame.Meta.All() {
			again.MetaBytes(string(k), v)
			pairs += PairLen(len(k), len(v))
			last[string(k)] = string(v)
		}
		if pairs != len(frame.Meta) {
			t.Fatalf("the entries add up to %d bytes of %d", pairs, len(frame.Meta))
		}
		if got := again.Payload(frame.Payload); !slices.Equal(got, b) {
			t.Fatalf("built again:\n%x\nwas\n%x", got, b)
		}
		for k, want := range last {
			if v, ok := frame.Meta.Get(k); !ok || string(v) != want {
				t.Fatalf("%q is %q, %v; want %q", k, v, ok, want)
			}
		}
		_ = l.Check(frame)
	})
}
