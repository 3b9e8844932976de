// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type args struct{ A, B int }

type wide struct {
	I64  int64
	U    uint32
	F    float64
	S    string
	T    time.Time
	L    []args
	M    map[string]int
	Any  any
	Raw  []byte
	Tag  int `msgpack:"tagged" json:"tagged"`
	Skip int `msgpack:"-" json:"-"`
	Ptr  *args
}

// Embedded is exported, as what is embedded must be to be encoded.
type Embedded struct{ A int }

func ptr[T any](v T) *T { return &v }

func TestGoldenBytesOfRpcx(t *testing.T) {
	tests := []struct {
		name string
		typ  Type
		v    any
		want string // hex
	}{
		{"msgpack ints are compact", TypeMsgPack, args{10, 20}, "82a1410aa14214"},
		{"msgpack pointer to struct", TypeMsgPack, &args{10, 20}, "82a1410aa14214"},
		{"msgpack int64 takes nine bytes", TypeMsgPack, struct{ C int64 }{200}, "81a143d300000000000000c8"},
		{"msgpack int64 alone, as heartbeats carry it", TypeMsgPack, int64(0x17979cfe362a0000), "d317979cfe362a0000"},
		{"msgpack reply of a failed handler", TypeMsgPack, struct{ C int }{7}, "81a14307"},
		{"msgpack tag", TypeMsgPack, struct {
			A int `msgpack:"a" json:"x"`
		}{1}, "81a16101"},
		{"msgpack takes no json tag", TypeMsgPack, struct {
			A int `json:"x"`
		}{1}, "81a14101"},
		{"msgpack leaves unexported and - out", TypeMsgPack, struct {
			a int
			B int `msgpack:"-"`
			C int
		}{1, 2, 3}, "81a14303"},
		{"msgpack embedded fields stand with the others", TypeMsgPack, struct {
			Embedded
			C int
		}{Embedded{1}, 3}, "82a14101a14303"},
		{"msgpack omitempty", TypeMsgPack, struct {
			A int `msgpack:",omitempty"`
			B int
		}{0, 2}, "81a14202"},
		{"msgpack int, each width", TypeMsgPack, []int{7, -1, -33, 200, 300, 70_000, 1 << 40}, "97 07 ff d0df ccc8 cd012c ce00011170 cf0000010000000000"},
		{"msgpack uint", TypeMsgPack, []uint{7, 200}, "92 07 ccc8"},
		{"msgpack int8 takes two bytes", TypeMsgPack, int8(7), "d007"},
		{"msgpack int16 takes three bytes", TypeMsgPack, int16(7), "d10007"},
		{"msgpack int32 takes five bytes", TypeMsgPack, int32(7), "d200000007"},
		{"msgpack uint8 takes two bytes", TypeMsgPack, uint8(7), "cc07"},
		{"msgpack uint16 takes three bytes", TypeMsgPack, uint16(7), "cd0007"},
		{"msgpack uint32 takes five bytes", TypeMsgPack, uint32(7), "ce00000007"},
		{"msgpack uint64 takes nine bytes", TypeMsgPack, uint64(7), "cf0000000000000007"},
		{"msgpack float32", TypeMsgPack, float32(1.5), "ca3fc00000"},
		{"msgpack float64", TypeMsgPack, 1.5, "cb3ff8000000000000"},
		{"msgpack bools", TypeMsgPack, []bool{false, true}, "92c2c3"},
		{"msgpack string", TypeMsgPack, "hi", "a26869"},
		{"msgpack bytes", TypeMsgPack, []byte{1, 2}, "c4020102"},
		{"msgpack map", TypeMsgPack, map[string]int{"x": 1}, "81a17801"},
		{"msgpack nil pointer in a struct", TypeMsgPack, struct{ P *int }{}, "81a150c0"},
		{"msgpack time", TypeMsgPack, time.Unix(1_700_000_000, 0), "d6ff6553f100"},
		{"msgpack nil", TypeMsgPack, nil, "c0"},
		{"json", TypeJSON, args{10, 20}, hex.EncodeToString([]byte(`{"A":10,"B":20}`))},
		{"json escapes as rpcx does", TypeJSON, "<a>", hex.EncodeToString([]byte(`"\u003ca\u003e"`))},
		{"json nil", TypeJSON, nil, hex.EncodeToString([]byte("null"))},
		{"raw", TypeRaw, []byte("hi"), "6869"},
		{"raw pointer", TypeRaw, ptr([]byte("hi")), "6869"},
		{"raw nil", TypeRaw, nil, ""},
		{"raw nil pointer", TypeRaw, (*[]byte)(nil), ""},
		{"protobuf", TypeProtobuf, wrapperspb.Int64(200), "08c801"},
		{"protobuf nil", TypeProtobuf, nil, ""},
		{"protobuf nil message", TypeProtobuf, (*wrapperspb.Int64Value)(nil), ""},
		{"own Marshal, as gogo/protobuf", TypeProtobuf, &gogoLike{N: 5}, "0805"},
		{"own MarshalMsg, as tinylib/msgp", TypeMsgPack, &msgpLike{N: 5}, "9105"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := New().Append(tt.typ, []byte("kept"), tt.v)
			if err != nil {
				t.Fatal(err)
			}
			if want := "kept" + string(unhex(t, tt.want)); string(got) != want {
				t.Errorf("got %x, want %x", got, want)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	full := wide{
		I64: -1 << 60, U: 7, F: 0.5, S: "grüß", T: time.Unix(1_700_000_000, 935_500_000).UTC(), L: []args{{1, 2}, {3, 4}},
		M: map[string]int{"x": 1}, Any: "s", Raw: []byte{0, 1}, Tag: 3, Ptr: &args{5, 6},
	}
	set := New()
	for _, typ := range []Type{TypeJSON, TypeMsgPack} {
		data, err := set.Append(typ, nil, full)
		if err != nil {
			t.Fatal(err)
		}
		var got wide
		if err := set.Decode(typ, data, &got); err != nil {
			t.Fatal(err)
		}
		clear(data) // what was decoded must not point into it
		got.T = got.T.UTC()
		if !reflect.DeepEqual(got, full) {
			t.Errorf("%s: got %+v, want %+v", typ, got, full)
		}
	}

	msg, err := structpb.NewStruct(map[string]any{"a": "b", "l": []any{1.0, true}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := set.Append(TypeProtobuf, nil, msg)
	if err != nil {
		t.Fatal(err)
	}
	got := new(structpb.Struct)
	got.Fields = map[string]*structpb.Value{"stale": nil}
	if err := set.Decode(TypeProtobuf, data, got); err != nil {
		t.Fatal(err)
	}
	clear(data)
	if !proto.Equal(got, msg) {
		t.Errorf("protobuf: got %v, want %v", got, msg)
	}
}

func TestRawCopiesAndReusesCapacity(t *testing.T) {
	data := []byte("abc")
	target := make([]byte, 1, 8)
	kept := target[:3]
	if err := New().Decode(TypeRaw, data, &target); err != nil {
		t.Fatal(err)
	}
	data[0] = 'x'
	if string(target) != "abc" || &target[0] != &kept[0] {
		t.Errorf("got %q in a new array: %v; want abc in the old", target, &target[0] != &kept[0])
	}
}

func TestJSONKeepsLargeIntegers(t *testing.T) {
	var got map[string]any
	if err := New().Decode(TypeJSON, []byte(`{"id":9007199254740993}`), &got); err != nil {
		t.Fatal(err)
	}
	if got["id"] != json.Number("9007199254740993") {
		t.Errorf("got %v (%T)", got["id"], got["id"])
	}
}

func TestEmptyData(t *testing.T) {
	set := New()
	reply := args{A: 7}
	for _, typ := range []Type{TypeJSON, TypeMsgPack} {
		if err := set.Decode(typ, nil, &reply); err != nil || reply.A != 7 {
			t.Errorf("%s: got %+v, %v; want the reply untouched", typ, reply, err)
		}
	}
	msg := wrapperspb.Int64(7)
	if err := set.Decode(TypeProtobuf, nil, msg); err != nil || msg.Value != 0 {
		t.Errorf("protobuf: got %v, %v; want the empty message", msg, err)
	}
	raw := []byte("old")
	if err := set.Decode(TypeRaw, nil, &raw); err != nil || len(raw) != 0 {
		t.Errorf("raw: got %q, %v; want no bytes", raw, err)
	}
	if err := set.Decode(TypeJSON, []byte("garbage"), nil); err != nil {
		t.Errorf("no target: got %v, want nothing decoded", err)
	}
}

func TestErrorsNameCodecAndType(t *testing.T) {
	set := New()
	encode := func(typ Type, v any) error {
		dst := []byte("kept")
		out, err := set.Append(typ, dst, v)
		if err != nil && string(out) != "kept" {
			t.Errorf("%s %T: an error left %q in the buffer", typ, v, out)
		}
		return err
	}
	tests := []struct {
		name string
		err  error
		typ  Type
		op   string
		val  string
	}{
		{"raw of a struct", encode(TypeRaw, args{}), TypeRaw, "encode", "codec.args"},
		{"json of a channel", encode(TypeJSON, make(chan int)), TypeJSON, "encode", "chan int"},
		{"msgpack of a channel in a struct", encode(TypeMsgPack, struct{ A, C any }{1, make(chan int)}), TypeMsgPack, "encode", "struct { A interface {}; C interface {} }"},
		{"protobuf of a struct", encode(TypeProtobuf, args{}), TypeProtobuf, "encode", "codec.args"},
		{"json, method panics", encode(TypeJSON, panics{}), TypeJSON, "encode", "codec.panics"},
		{"msgpack, method panics", encode(TypeMsgPack, panics{}), TypeMsgPack, "encode", "codec.panics"},
		{"protobuf, method panics", encode(TypeProtobuf, panics{}), TypeProtobuf, "encode", "codec.panics"},
		{"raw into a struct", set.Decode(TypeRaw, []byte("x"), &args{}), TypeRaw, "decode", "*codec.args"},
		{"raw into nil", set.Decode(TypeRaw, []byte("x"), (*[]byte)(nil)), TypeRaw, "decode", "*[]uint8"},
		{"json syntax", set.Decode(TypeJSON, []byte("{"), &args{}), TypeJSON, "decode", "*codec.args"},
		{"json, trailing", set.Decode(TypeJSON, []byte("{} {}"), &args{}), TypeJSON, "decode", "*codec.args"},
		{"json, method panics", set.Decode(TypeJSON, []byte("{}"), &panics{}), TypeJSON, "decode", "*codec.panics"},
		{"msgpack of another type", set.Decode(TypeMsgPack, []byte{0xa1, 'x'}, &args{}), TypeMsgPack, "decode", "*codec.args"},
		{"msgpack, not a pointer", set.Decode(TypeMsgPack, []byte{0x80}, args{}), TypeMsgPack, "decode", "codec.args"},
		{"msgpack, unhashable key", set.Decode(TypeMsgPack, []byte{0x81, 0x90, 0x01}, &map[any]int{}), TypeMsgPack, "decode", "*map[interface {}]int"},
		{"msgpack, method panics", set.Decode(TypeMsgPack, []byte{0x80}, &panics{}), TypeMsgPack, "decode", "*codec.panics"},
		{"protobuf into a struct", set.Decode(TypeProtobuf, nil, &args{}), TypeProtobuf, "decode", "*codec.args"},
		{"protobuf garbage", set.Decode(TypeProtobuf, []byte{0xff}, new(structpb.Struct)), TypeProtobuf, "decode", "*structpb.Struct"},
		{"protobuf, method panics", set.Decode(TypeProtobuf, []byte{0xff}, &panics{}), TypeProtobuf, "decode", "*codec.panics"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var e *Error
			if !errors.As(tt.err, &e) {
				t.Fatalf("got %v (%T), want an *Error", tt.err, tt.err)
			}
			if e.Type != tt.typ || e.Op != tt.op || e.Value != tt.val || e.Err == nil {
				t.Errorf("got %+v, want %s %s %s and a cause", e, tt.op, tt.val, tt.typ)
			}
		})
	}
	// The next call must not see what a failed one left in a pool.
	for range 100 {
		if got, err := set.Append(TypeMsgPack, nil, args{10, 20}); err != nil || hex.EncodeToString(got) != "82a1410aa14214" {
			t.Fatalf("after errors: got %x, %v", got, err)
		}
	}
}

func TestSet(t *testing.T) {
	base := New()
	with, err := base.With(9, upper{})
	if err != nil {
		t.Fatal(err)
	}
	if base.Has(9) || !with.Has(9) || !with.Has(TypeMsgPack) {
		t.Error("With changed its receiver, or lost codecs")
	}
	if got, err := with.Append(9, nil, "abc"); err != nil || string(got) != "ABC" {
		t.Errorf("got %q, %v", got, err)
	}
	if s, err := (*Set)(nil).With(9, upper{}); err != nil || !s.Has(9) || s.Has(TypeRaw) {
		t.Errorf("With on a nil set: %v", err)
	}
	if _, err := base.With(16, upper{}); err == nil {
		t.Error("a type that no frame can carry was accepted")
	}
	if _, err := base.With(9, nil); err == nil {
		t.Error("a nil codec was accepted")
	}
	for _, s := range []*Set{nil, {}, base} {
		_, encErr := s.Append(9, nil, 1)
		for _, err := range []error{encErr, s.Decode(9, nil, new(int)), s.Decode(200, nil, new(int))} {
			var unknown *UnknownTypeError
			if !errors.As(err, &unknown) {
				t.Errorf("got %v, want an *UnknownTypeError", err)
			}
		}
	}
	// rpcx's callers know this text.
	if err := base.Decode(7, nil, new(int)); !strings.HasPrefix(fmt.Sprint(err), "can not find codec for 7") {
		t.Errorf("got %v", err)
	}
}

func TestTypeFor(t *testing.T) {
	tests := []struct {
		arg, reply any
		want       Type
	}{
		{args{}, &args{}, TypeMsgPack},
		{wrapperspb.Int64(1), &args{}, TypeProtobuf},
		{[]byte{}, &args{}, TypeRaw},
		{&[]byte{}, &args{}, TypeRaw},
		{"s", nil, TypeMsgPack},
		{nil, wrapperspb.Int64(1), TypeProtobuf},
		{nil, &[]byte{}, TypeRaw},
		{nil, &args{}, TypeMsgPack},
		{nil, nil, TypeMsgPack},
	}
	for _, tt := range tests {
		if got := TypeFor(tt.arg, tt.reply); got != tt.want {
			t.Errorf("TypeFor(%T, %T) = %s, want %s", tt.arg, tt.reply, got, tt.want)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type upper struct{}

func (upper) Append(dst []byte, v any) ([]byte, error) {
	return append(dst, bytes.ToUpper(fmt.Append(nil, v))...), nil
}
func (upper) Decode([]byte, any) error { return nil }

// panics has every method that a codec may call, and each panics.
type panics struct{}

func (panics) MarshalJSON() ([]byte, error)            { panic("oh") }
func (*panics) UnmarshalJSON([]byte) error             { panic("oh") }
func (panics) EncodeMsgpack(e *msgpack.Encoder) error  { _ = e.EncodeInt(1); panic("oh") }
func (*panics) DecodeMsgpack(d *msgpack.Decoder) error { _, _ = d.DecodeMap(); panic("oh") }
func (panics) Marshal() ([]byte, error)                { panic("oh") }
func (*panics) Unmarshal([]byte) error                 { panic("oh") }

type gogoLike struct{ N byte }

func (g *gogoLike) Marshal() ([]byte, error)    { return []byte{0x08, g.N}, nil }
func (g *gogoLike) Unmarshal(data []byte) error { g.N = data[1]; return nil }
func (g *gogoLike) Reset()                      { *g = gogoLike{} }

type msgpLike struct{ N byte }

func (m *msgpLike) MarshalMsg(b []byte) ([]byte, error) { return append(b, 0x91, m.N), nil }
func (m *msgpLike) UnmarshalMsg(b []byte) ([]byte, error) {
	m.N = b[1]
	return b[2:], nil
}
