// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package thrift

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/apache/thrift/lib/go/thrift"

	"github.com/fairlead/fairlead/rpcruntime/codec"
)

func set(t testing.TB) *codec.Set {
	t.Helper()
	s, err := codec.New().With(codec.TypeThrift, Codec{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// all is a value of All, and its bytes by the specification of the binary
// protocol: a field is type (1), number (2), value; a list or set is element
// type (1), size (4), elements; a map has two types; a string is length (4),
// bytes; a struct ends with a zero byte.
var all = All{
	Bool: true, I8: -2, I16: 0x0102, I32: -1, I64: 1 << 40, Double: 1.5, String: "hi", Binary: []byte{0, 0xff},
	List: []*Args{{A: 10, B: 20}}, Set: map[int32]struct{}{7: {}, 9: {}}, Map: map[string]int64{"x": 1},
	Struct: &Args{A: 1, B: 2}, UUID: thrift.Tuuid{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
	Lists: [][]int64{{5}, {}},
}

const allHex = "02 0001 01" +
	"03 0002 fe" +
	"06 0003 0102" +
	"08 0004 ffffffff" +
	"0a 0005 0000010000000000" +
	"04 0006 3ff8000000000000" +
	"0b 0007 00000002 6869" +
	"0b 0008 00000002 00ff" +
	"0f 0009 0c 00000001 08 0001 0000000a 08 0002 00000014 00" +
	"0e 000a 08 00000002 00000007 00000009" +
	"0d 000b 0b 0a 00000001 00000001 78 0000000000000001" +
	"0c 000c 08 0001 00000001 08 0002 00000002 00" +
	"10 000d 00112233445566778899aabbccddeeff" +
	"0f 000e 0f 00000002 0a 00000001 0000000000000005 0a 00000000" +
	"00"

func TestGoldenThrift(t *testing.T) {
	tests := []struct {
		name  string
		value any
		hex   string
		into  any
	}{
		{"two numbers", &Args{A: 10, B: 20}, "08 0001 0000000a 08 0002 00000014 00", new(Args)},
		{"every type", &all, allHex, new(All)},
		{"recursive", &Tree{Children: []*Tree{{Children: []*Tree{}}}}, "0f 0001 0c 00000001 0f 0001 0c 00000000 00 00", new(Tree)},
	}
	s := set(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := unhex(t, tt.hex)
			got, err := s.Append(codec.TypeThrift, []byte("kept"), tt.value)
			if err != nil || string(got) != "kept"+string(want) {
				t.Fatalf("got  %x, %v,\nwant 6b657074%x", got, err, want)
			}
			if err := s.Decode(codec.TypeThrift, want, tt.into); err != nil {
				t.Fatal(err)
			}
			clear(want) // what was decoded must not point into it
			if !reflect.DeepEqual(tt.into, tt.value) {
				t.Errorf("got %+v, want %+v", tt.into, tt.value)
			}
		})
	}
}

func TestGoldenThriftWithoutArgument(t *testing.T) {
	got, err := set(t).Append(codec.TypeThrift, nil, nil)
	if err != nil || !bytes.Equal(got, []byte{0}) {
		t.Errorf("got %x, %v, want the struct without fields", got, err)
	}
	if err := set(t).Decode(codec.TypeThrift, got, new(All)); err != nil {
		t.Error(err)
	}
}

// What the target has no field for is skipped, whatever it is; a field of
// another type than the target's, too.
func TestUnknownFieldsAreSkipped(t *testing.T) {
	got := Args{B: 7}
	data := unhex(t, strings.ReplaceAll(strings.ReplaceAll(allHex, "02 0001", "02 7001"), "03 0002", "03 7002"))
	data = append(unhex(t, "08 0001 0000000a 0b 0002 00000001 78"), data...)
	if err := set(t).Decode(codec.TypeThrift, data, &got); err != nil || got != (Args{A: 10, B: 7}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestNoDataLeavesTheReply(t *testing.T) {
	got := Args{A: 7}
	if err := set(t).Decode(codec.TypeThrift, nil, &got); err != nil || got.A != 7 {
		t.Errorf("got %+v, %v", got, err)
	}
}

type panics struct{}

func (*panics) Write(context.Context, thrift.TProtocol) error { panic("oh") }
func (*panics) Read(context.Context, thrift.TProtocol) error  { panic("oh") }

func TestErrorsAreOfTheCall(t *testing.T) {
	s := set(t)
	dst := []byte("kept")
	loop := new(Tree)
	loop.Children = []*Tree{loop}
	for name, v := range map[string]any{
		"no struct": 7, "a struct, not its pointer": Args{}, "panic": new(panics), "nil pointer": (*Args)(nil), "contains itself": loop,
	} {
		got, err := s.Append(codec.TypeThrift, dst, v)
		var e *codec.Error
		if !errors.As(err, &e) || e.Type != codec.TypeThrift || string(got) != "kept" {
			t.Errorf("encode, %s: got %q, %v", name, got, err)
		}
	}
	for name, tt := range map[string]struct {
		hex  string
		into any
	}{
		"no struct":        {"00", new(int)},
		"no struct, empty": {"", new(int)},
		"panic":            {"00", new(panics)},
		"required field":   {"08 0002 00000014 00", new(Args)},
		"something behind": {"08 0001 0000000a 00 00", new(Args)},
		"unknown type":     {"63 0003 00 00", new(Args)},
	} {
		var e *codec.Error
		if err := s.Decode(codec.TypeThrift, unhex(t, tt.hex), tt.into); !errors.As(err, &e) || e.Type != codec.TypeThrift {
			t.Errorf("decode, %s: got %v", name, err)
		}
	}
	data := unhex(t, allHex)
	for cut := 1; cut < len(data); cut++ {
		if err := s.Decode(codec.TypeThrift, data[:cut], new(All)); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", cut, len(data))
		}
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

// trees returns n trees, each the first child of the one before, which claims
// as many children as there are bytes behind it; and behind all of them tail
// empty trees.
func trees(n, tail int) []byte {
	var data []byte
	for level := range n {
		data = append(data, 0x0f, 0, 1, 0x0c)
		data = binary.BigEndian.AppendUint32(data, uint32(8*(n-level-1)+tail))
	}
	return append(data, make([]byte, tail)...)
}

// chain returns n trees, each the only child of the one before.
func chain(t testing.TB, n int) []byte {
	t.Helper()
	data := bytes.Repeat(unhex(t, "0f 0001 0c 00000001"), n-1)
	return append(data, make([]byte, n)...)
}

func TestClaimsAreNotBelieved(t *testing.T) {
	nested := func(head string, n int) []byte { return bytes.Repeat(unhex(t, head), n) }
	tests := []struct {
		name string
		data []byte
	}{
		{"string of 2^31-1", unhex(t, "0b 0007 7fffffff 00")},
		{"string of -1", unhex(t, "0b 0007 ffffffff 00")},
		{"bytes of 2^31-1", unhex(t, "0b 0008 7fffffff 00")},
		{"list of 2^31-1", unhex(t, "0f 0009 0c 7fffffff 00")},
		{"list of 2^31-1 of unknown", unhex(t, "0f 0009 00 7fffffff 00")},
		{"list of -1", unhex(t, "0f 0009 0c ffffffff 00")},
		{"set of 2^31-1", unhex(t, "0e 000a 08 7fffffff 00")},
		{"map of 2^31-1", unhex(t, "0d 000b 0b 0a 7fffffff 00")},
		{"map of 2^30", unhex(t, "0d 000b 02 02 40000000 00")},
		{"unknown field of 2^31-1 bytes", unhex(t, "0b 0063 7fffffff 00")},
		{"unknown list of 2^31-1", unhex(t, "0f 0063 02 7fffffff 00")},
		{"bytes where structs are expected", append(unhex(t, "0f 0009 03 00010000"), bytes.Repeat([]byte{8}, 1<<16)...)},
		{"lists that claim the same bytes", append(nested("0f 000e 0f 00001000", 1), nested("0a 00000100", 1<<12)...)},
		{"trees that claim the same bytes", trees(2000, 1<<20)},
		{"trees without an end", nested("0f 0001 0c 00000001", 1<<18)},
		{"unknown lists without an end", append(unhex(t, "0f 0063"), nested("0f 00000001", 1<<18)...)},
		{"unknown structs without an end", nested("0c 0063", 1<<18)},
		{"unknown maps without an end", append(unhex(t, "0d 0063"), nested("0d 0d 00000001", 1<<18)...)},
		{"one tree too deep", chain(t, maxDepth+1)},
	}
	s := set(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, target := range []any{new(Args), new(All), new(Tree)} {
				var err error
				took := allocated(func() { err = s.Decode(codec.TypeThrift, tt.data, target) })
				if err == nil {
					t.Errorf("into %T: accepted", target)
				}
				if limit := uint64(256<<10 + 64*len(tt.data)); took > limit {
					t.Errorf("into %T: allocated %d bytes for %d of input (%v)", target, took, len(tt.data), err)
				}
			}
		})
	}
}

// Which check it is that refuses.
func TestRefusedBeforeItIsRead(t *testing.T) {
	s := set(t)
	for name, tt := range map[string]struct {
		data []byte
		want int
	}{
		"two of eight bytes each, where eight are left": {unhex(t, "0f 000e 0f 00000001 0a 00000002 0000000000000005"), thrift.SIZE_LIMIT},
		"a string longer than the rest":                 {unhex(t, "0b 0007 00000010 00"), thrift.SIZE_LIMIT},
		"unknown lists too deep":                        {append(unhex(t, "0f 0063"), bytes.Repeat(unhex(t, "0f 00000001"), maxDepth+1)...), thrift.DEPTH_LIMIT},
		"unknown structs too deep":                      {bytes.Repeat(unhex(t, "0c 0063"), maxDepth+1), thrift.DEPTH_LIMIT},
	} {
		err := s.Decode(codec.TypeThrift, tt.data, new(All))
		var e thrift.TProtocolException
		if !errors.As(err, &e) || e.TypeId() != tt.want {
			t.Errorf("%s: got %v, want an exception of type %d", name, err, tt.want)
		}
	}
}

func TestDeepAndLargeIsAccepted(t *testing.T) {
	s := set(t)
	if err := s.Decode(codec.TypeThrift, chain(t, maxDepth), new(Tree)); err != nil {
		t.Errorf("%d levels: %v", maxDepth, err)
	}
	// Deeper than the library skips by itself.
	unknown := append(unhex(t, "0f 0063"), bytes.Repeat(unhex(t, "0f 00000001"), 1000)...)
	if err := s.Decode(codec.TypeThrift, append(unknown, unhex(t, "02 00000001 01 00")...), new(All)); err != nil {
		t.Errorf("1000 levels that are skipped: %v", err)
	}
	wide := Tree{Children: make([]*Tree, 1<<16)}
	for i := range wide.Children {
		wide.Children[i] = new(Tree)
	}
	data, err := s.Append(codec.TypeThrift, nil, &wide)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Decode(codec.TypeThrift, data, new(Tree)); err != nil {
		t.Errorf("%d children: %v", len(wide.Children), err)
	}
	// As dense as can be: each element is one byte.
	if err := s.Decode(codec.TypeThrift, append(unhex(t, "0f 0001 0c 00010000"), make([]byte, 1<<16+1)...), new(Tree)); err != nil {
		t.Error(err)
	}
	// Above the library's default for messages and strings.
	big := All{Binary: make([]byte, thrift.DEFAULT_MAX_MESSAGE_SIZE+1)}
	if data, err = s.Append(codec.TypeThrift, nil, &big); err != nil {
		t.Fatal(err)
	}
	var got All
	if err := s.Decode(codec.TypeThrift, data, &got); err != nil || len(got.Binary) != len(big.Binary) {
		t.Errorf("%d bytes: got %d, %v", len(big.Binary), len(got.Binary), err)
	}
}

// Many at once share a Codec, and nothing else.
func TestConcurrentUse(t *testing.T) {
	s := set(t)
	want := unhex(t, allHex)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				var got All
				if err := s.Decode(codec.TypeThrift, want, &got); err != nil || !reflect.DeepEqual(got, all) {
					t.Errorf("got %+v, %v", got, err)
				}
				if data, err := s.Append(codec.TypeThrift, nil, &got); err != nil || !bytes.Equal(data, want) {
					t.Errorf("got %x, %v", data, err)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzThriftDecode(f *testing.F) {
	for _, seed := range []string{
		allHex, "00", "08 0001 0000000a 08 0002 00000014 00", "0f 0001 0c 00000002 00 00 00", "0b 0007 7fffffff", "0f 0009 0c 7fffffff",
		"0f 0009 03 00000002 00 00 00", "0f 000e 0f 00000001 0a 00000001 0000000000000005 00", "0c 0063 0d 0001 0b 0f 00000001 00000000 0c 00000000 00 00",
		"04 0006 7ff8000000000001 00", "63 0001",
	} {
		f.Add(unhex(f, seed))
	}
	s := set(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, target := range []any{new(Args), new(All), new(Tree)} {
			var err error
			took := allocated(func() { err = s.Decode(codec.TypeThrift, data, target) })
			if limit := uint64(256<<10 + 1000*len(data)); took > limit {
				t.Fatalf("into %T: allocated %d bytes for %d of input (%v)", target, took, len(data), err)
			}
			if err != nil {
				continue
			}
			first, err := s.Append(codec.TypeThrift, nil, target)
			if err != nil {
				t.Fatalf("%T was decoded, and cannot be encoded: %v", target, err)
			}
			again := reflect.New(reflect.TypeOf(target).Elem()).Interface()
			if err := s.Decode(codec.TypeThrift, first, again); err != nil {
				t.Fatalf("%T was encoded, and cannot be decoded: %v", target, err)
			}
			// Bytes, not values: a NaN does not equal itself.
			if second, err := s.Append(codec.TypeThrift, nil, again); err != nil || !bytes.Equal(first, second) {
				t.Fatalf("%T: got %x, %v, want %x", target, second, err, first)
			}
		}
	})
}
