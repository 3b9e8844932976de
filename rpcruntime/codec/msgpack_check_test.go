// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

type tree map[string]tree

type twoValues struct{ S, N any }

// The library's own example of a custom encoder: two values where one is.
func (v *twoValues) EncodeMsgpack(e *msgpack.Encoder) error { return e.EncodeMulti(v.S, v.N) }
func (v *twoValues) DecodeMsgpack(d *msgpack.Decoder) error { return d.DecodeMulti(&v.S, &v.N) }

// targets returns one of each shape that the library decodes in its own way.
func targets() []any {
	return []any{
		new(any), new(args), new(wide), new([]any), new([]args), new([]string), new([][]byte), new([]int64), new([4]int), new([]byte), new(string),
		new(map[string]any), new(map[string]string), new(map[int]args), new(map[string][]byte), new(map[any]any), new(tree),
		new(time.Time), new([]time.Time), new(msgpack.RawMessage), new(twoValues), new(int), new(bool), new(float64), new(error),
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestClaimsAreNotBelieved(t *testing.T) {
	deep := func(code byte, n int) []byte { return bytes.Repeat([]byte{code}, n) }
	tests := []struct {
		name string
		data []byte
	}{
		// Well-formed: what expects no map takes these, the rest refuses them.
		{"extension, map in its body", unhex(t, "c7 05 01 df ffffffff")},
		{"extension, map in its body, a time", unhex(t, "d6 ff df ffffff 80 80")},
		{"extension, map that runs out of its body", unhex(t, "d4 80 df ffffffff")},
		// Malformed.
		{"array of 2^32-1", unhex(t, "dd ffffffff")},
		{"map of 2^32-1", unhex(t, "df ffffffff")},
		{"map of 2^31", unhex(t, "df 80000000")},
		{"bytes of 2^32-1", unhex(t, "c6 ffffffff")},
		{"string of 2^32-1", unhex(t, "db ffffffff")},
		{"extension of 2^32-1", unhex(t, "c9 ffffffff ff")},
		{"time of 2^32-1", unhex(t, "81 a154 c9 ffffffff ff")},
		{"array of 65535", unhex(t, "dc ffff")},
		{"map of 65535 in a list", unhex(t, "91 de ffff")},
		{"a list in a field", unhex(t, "81 a14c dd ffffffff")},
		{"an unknown field", unhex(t, "81 a158 dd ffffffff")},
		{"each level claims what is left", append(bytes.Repeat(unhex(t, "dd 00000800"), 2000), bytes.Repeat([]byte{0xc0}, 0x800)...)},
		{"empty extension before a map", unhex(t, "c7 00 01 81 a161 c7 00 01 80")},
		{"nested arrays", append(deep(0x91, 1<<20), 0xc0)},
		{"nested maps", append(bytes.Repeat(unhex(t, "81 a161"), 1<<18), 0x80)},
		{"nested in an unknown field", append(append(unhex(t, "81 a158"), deep(0x91, 1<<20)...), 0xc0)},
		{"truncated pair", unhex(t, "81 a141")},
		{"unused code", unhex(t, "c1")},
		{"garbage after the value", unhex(t, "80 c1")},
	}
	set := New()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, target := range targets() {
				var err error
				took := allocated(func() { err = set.Decode(TypeMsgPack, tt.data, target) })
				if limit := uint64(256<<10 + 16*len(tt.data)); took > limit {
					t.Errorf("into %T: allocated %d bytes for %d of input (%v)", target, took, len(tt.data), err)
				}
				_, isMap := target.(*map[string]any)
				if wellFormed := strings.HasPrefix(tt.name, "extension,"); err == nil && (isMap || !wellFormed) {
					t.Errorf("into %T: accepted", target)
				}
			}
		})
	}
}

func TestWellFormedIsAccepted(t *testing.T) {
	set := New()
	nested := func(n int) []byte { return append(bytes.Repeat([]byte{0x91}, n), 0xc0) }
	tests := []struct {
		name   string
		data   []byte
		target any
	}{
		{"every code of fixed length", unhex(t, "9d c0 c2 c3 ca 3f800000 cb 3ff0000000000000 cc 01 cd 0001 ce 00000001 cf 0000000000000001 d0 01 d1 0001 d2 00000001 d3 0000000000000001"), new([]any)},
		{"every length of string and bytes", unhex(t, "97 a161 d9 01 61 da 0001 61 db 00000001 61 c4 01 61 c5 0001 61 c6 00000001 61"), new([]any)},
		{"every length of container", unhex(t, "96 90 dc 0001 c0 dd 00000001 c0 80 de 0001 a161 c0 df 00000001 a161 c0"), new([]any)},
		{"times of three lengths", unhex(t, "93 d6 ff 65000000 d7 ff de00000065000000 c7 0c ff 00000001 0000000065000000"), new([]time.Time)},
		{"times as elements of any", unhex(t, "92 d6 ff df000000 d6 ff 80000000"), new(any)},
		{"unknown extension in an unknown field", unhex(t, "82 a158 d8 05 00112233445566778899aabbccddeeff a141 07"), new(args)},
		{"two values", unhex(t, "a161 07"), new(twoValues)},
		{"two values, thrice", unhex(t, "93 a161 07 a162 08 a163 09"), new([]twoValues)},
		{"as deep as allowed", nested(maxDepth), new(any)},
		{"many siblings", append(unhex(t, "dd 00010000"), bytes.Repeat([]byte{0x90}, 1<<16)...), new(any)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := set.Decode(TypeMsgPack, tt.data, tt.target); err != nil {
				t.Fatal(err)
			}
			for cut := 1; cut < len(tt.data) && len(tt.data) < 200; cut++ {
				if _, err := checkMsgPack(tt.data[:cut]); err == nil && !strings.HasPrefix(tt.name, "two values") {
					t.Errorf("the first %d of %d bytes were accepted", cut, len(tt.data))
				}
			}
		})
	}
	if err := set.Decode(TypeMsgPack, nested(maxDepth+1), new(any)); err == nil {
		t.Errorf("%d levels were accepted", maxDepth+1)
	}
}

func FuzzMsgPackDecode(f *testing.F) {
	for _, seed := range []string{
		"82a1410aa14214", "c0", "d317979cfe362a0000", "ddffffffff", "91deffff", "c70501dfffffffff", "d6ff65000000", "9281a16101d4800f",
		"c7000181a161c0", "81a14c9182a14101a14202", "81a158d80500112233445566778899aabbccddeeff", "a16107", "93c2c3cb3ff0000000000000",
	} {
		f.Add(unhex(f, seed))
	}
	set := New()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, target := range targets() {
			var err error
			took := allocated(func() { err = set.Decode(TypeMsgPack, data, target) })
			// The largest element of the targets, wide, is some 250 bytes and can
			// stand in one byte (nil); a map of one entry takes some 400.
			if limit := uint64(256<<10 + 1000*len(data)); took > limit {
				t.Fatalf("into %T: allocated %d bytes for %d of input (%v)", target, took, len(data), err)
			}
			if _, isError := target.(*error); err == nil && !isError { // errors become new ones
				staysTheSame(t, set, TypeMsgPack, target, sameValue)
			}
		}
	})
}

// staysTheSame encodes what was decoded into v and decodes that: it must be the
// same value by equal.
func staysTheSame(t *testing.T, set *Set, typ Type, v any, equal func(a, b any) bool) {
	t.Helper()
	data, err := set.Append(typ, nil, v)
	if err != nil {
		t.Fatalf("%T was decoded, and cannot be encoded: %v", v, err)
	}
	again := reflect.New(reflect.TypeOf(v).Elem()).Interface()
	if err := set.Decode(typ, data, again); err != nil {
		t.Fatalf("%T was encoded as %x, and cannot be decoded: %v", v, data, err)
	}
	if !equal(v, again) {
		t.Fatalf("%T: %+v became %+v", v, v, again)
	}
}

// sameValue is reflect.DeepEqual for which a NaN is a NaN and a time an instant.
func sameValue(a, b any) bool { return same(reflect.ValueOf(a), reflect.ValueOf(b)) }

func same(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return false
	}
	if !a.IsValid() {
		return true
	}
	if at, ok := a.Interface().(time.Time); ok {
		return at.Equal(b.Interface().(time.Time))
	}
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return a.Float() == b.Float() || math.IsNaN(a.Float()) && math.IsNaN(b.Float())
	case reflect.Pointer, reflect.Interface:
		return a.IsNil() == b.IsNil() && (a.IsNil() || same(a.Elem(), b.Elem()))
	case reflect.Slice, reflect.Array:
		for i := range a.Len() {
			if a.Len() != b.Len() || !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return a.Len() == b.Len()
	case reflect.Map:
		for _, k := range a.MapKeys() {
			value := a.MapIndex(k)
			if value.IsValid() && !same(value, b.MapIndex(k)) { // not valid: a NaN, which no map finds
				return false
			}
		}
		return a.Len() == b.Len()
	case reflect.Struct:
		for i := range a.NumField() {
			if !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	default:
		return a.Interface() == b.Interface()
	}
}

func FuzzJSONDecode(f *testing.F) {
	for _, seed := range []string{`{"A":1,"B":2}`, `[]`, `null`, `{"L":[{"A":1}],"M":{"x":1},"Any":[[[]]],"Raw":"AAE="}`, `"\ud800"`, `1e400`, `{} {}`} {
		f.Add([]byte(seed))
	}
	set := New()
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, target := range []any{new(any), new(args), new(wide), new([]string), new(map[string]any)} {
			var err error
			took := allocated(func() { err = set.Decode(TypeJSON, data, target) })
			if limit := uint64(256<<10 + 1000*len(data)); took > limit {
				t.Fatalf("into %T: allocated %d bytes for %d of input", target, took, len(data))
			}
			if err == nil {
				staysTheSame(t, set, TypeJSON, target, sameJSON)
			}
		}
	})
}

// sameJSON compares what encoding/json, which sorts keys, makes of both.
func sameJSON(a, b any) bool {
	x, xerr := json.Marshal(a)
	y, yerr := json.Marshal(b)
	return xerr == nil && yerr == nil && bytes.Equal(x, y)
}

func BenchmarkMsgPack(b *testing.B) {
	set := New()
	data := unhex(b, "82a1410aa14214")
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		v := &args{10, 20}
		buf := make([]byte, 0, 64)
		for b.Loop() {
			buf, _ = set.Append(TypeMsgPack, buf[:0], v)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		var v args
		for b.Loop() {
			_ = set.Decode(TypeMsgPack, data, &v)
		}
	})
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			_, _ = checkMsgPack(data)
		}
	})
}
