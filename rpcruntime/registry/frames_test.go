// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func digestOf(b byte) (d policy.Digest) {
	for i := range d {
		d[i] = b
	}
	return d
}

var someAsOf = policy.AsOf{{Kind: "A", Changed: 1, Seen: math.MaxUint64}, {Kind: "B", Seen: 7}} // constant

// messages is one of each kind with every field set.
func messages() []message {
	parts := []policy.PartDigest{{Name: "endpoints", Digest: digestOf(1)}, {Name: "owner", Digest: digestOf(2)}}
	return []message{
		&SubscribeRequest{
			Identity: Identity{Namespace: "web", App: "shop", PodUID: "u-1", Pod: "shop-1", Addresses: []string{"10.0.0.1:80"}},
			Features: []string{"a", "b"}, Version: "v1.2.3",
			Services: []Subscription{
				{Service: "shop/arith", Role: policy.Caller, Digest: digestOf(3), Epoch: "e", AsOf: someAsOf, Parts: parts, Again: true},
				{Service: "shop/other", Role: policy.Server},
			},
			Token: "secret", Trust: digestOf(9),
		},
		&SubscribeReply{
			Epoch: "e", AsOf: someAsOf, Revision: 9,
			Self: Self{Namespace: "web", ServiceAccount: "sa", Pod: "p", Zone: "z", Region: "r",
				Serves: []Serving{{Service: "shop/arith", Port: "8972"}, {Service: "shop/x"}}},
			Accepted: []ServiceRole{{"shop/arith", policy.Caller}},
			Refused:  []Refusal{{Service: "shop/airth", Role: policy.Server, Reason: ReasonNotFound, Message: "m", Near: []string{"shop/arith"}}},
		},
		&AckRequest{Acks: []Ack{{Service: "shop/arith", Role: policy.Caller, Digest: digestOf(4)}, {Service: "s/x", Role: policy.Server, Rejected: "why"}}, Trust: digestOf(9)},
		&RenewRequest{Token: "secret"},
		&RenewReply{},
		&TrustFrame{Bundle: []byte("pem")},
		&cachedTrust{Bundle: []byte("pem"), Against: digestOf(9)},
		&RegisterRequest{Service: "shop/arith", Address: "10.0.0.1:80", PodUID: "u", Zone: "z", Metadata: []KeyValue{{"a", "b"}}, Leave: true},
		&RegisterReply{LeaseMillis: 15000},
		&PartFrame{
			Service: "shop/arith", Part: "endpoints", Digest: digestOf(5), Base: digestOf(6), Chunk: 70000, Last: true,
			Items: []policy.Item{{ID: "a", Bytes: bytes.Repeat([]byte("x"), 300)}, {ID: "b", Bytes: []byte{1}}}, Removed: []string{"c"},
		},
		&ChangeFrame{Service: "shop/arith", Role: policy.Caller, Epoch: "e", Revision: 1 << 40, AsOf: someAsOf, Parts: parts, Digest: digestOf(7)},
		&GoneFrame{Service: "shop/arith", Role: policy.Caller, Epoch: "e", AsOf: someAsOf},
		&BehindFrame{Service: "shop/arith", Role: policy.Server, Epoch: "e", AsOf: someAsOf},
		&SelfFrame{Self: Self{Namespace: "web"}},
		&cacheEntry{Service: "shop/arith", Role: policy.Caller, Namespace: "web", Epoch: "e", AsOf: someAsOf,
			Parts: []policy.Part{{Name: "owner", Items: []policy.Item{{ID: "i", Bytes: []byte("b")}}, Digest: digestOf(8)}}},
	}
}

func zero(m message) message { return reflect.New(reflect.TypeOf(m).Elem()).Interface().(message) }

func mustEncode(t testing.TB, m any) []byte {
	t.Helper()
	b, err := encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, m := range messages() {
		for _, m := range []message{m, zero(m)} {
			b := mustEncode(t, m)
			if again := mustEncode(t, m); !bytes.Equal(b, again) {
				t.Errorf("%T: two encodings differ", m)
			}
			got := zero(m)
			if err := decode(b, "x", got); err != nil {
				t.Errorf("%T: %v", m, err)
			} else if !reflect.DeepEqual(got, m) {
				t.Errorf("got %+v\nwant %+v", got, m)
			}
			for n := range b { // every field is guarded against a short input
				if err := decode(b[:n], "x", zero(m)); err == nil {
					t.Errorf("%T: %d of %d bytes decode", m, n, len(b))
				}
			}
			if err := decode(append(b, 0xc0), "x", zero(m)); err == nil {
				t.Errorf("%T: a byte after the end is accepted", m)
			}
		}
	}
}

// The server's side of the calls decodes through the codec.
func TestMessagesThroughTheCodec(t *testing.T) {
	for _, m := range messages()[:5] {
		b, err := codec.MsgPack{}.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got := zero(m)
		if err := (codec.MsgPack{}).Decode(b, got); err != nil {
			t.Errorf("%T: %v", m, err)
		} else if !reflect.DeepEqual(got, m) {
			t.Errorf("got %+v\nwant %+v", got, m)
		}
	}
}

func TestEncodePushIsAFrame(t *testing.T) {
	for _, m := range messages() {
		p, ok := m.(Push)
		if !ok {
			continue
		}
		b, err := EncodePush(p)
		if err != nil {
			t.Fatal(err)
		}
		f, err := wire.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if string(f.Path) != PushPath || string(f.Method) != p.Kind() || !f.Oneway() || f.Response() || f.Heartbeat() {
			t.Errorf("%T: frame %+v", p, f.Header)
		}
		got, ok, err := DecodePush(string(f.Method), f.Payload)
		if !ok || err != nil || !reflect.DeepEqual(got, p) {
			t.Errorf("%T: got %+v, %v, %v", p, got, ok, err)
		}
	}
	if _, ok, err := DecodePush("weather", []byte{0xff}); ok || err != nil {
		t.Errorf("an unknown kind: %v, %v", ok, err)
	}
}

type kv = map[string]any

func raw(t testing.TB, v any) []byte {
	t.Helper()
	b, err := msgpack.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeRefuses(t *testing.T) {
	long := strings.Repeat("x", maxText+1)
	many := make([]string, 4*MaxSubscriptions)
	for i := range many {
		many[i] = "a"
	}
	tests := []struct {
		name string
		into message
		data []byte
	}{
		{"nothing", new(ChangeFrame), nil},
		{"not a map", new(ChangeFrame), raw(t, []int{1})},
		{"text too long", new(ChangeFrame), raw(t, kv{"s": long})},
		{"number as text", new(ChangeFrame), raw(t, kv{"s": 1})},
		{"text as number", new(ChangeFrame), raw(t, kv{"v": "1"})},
		{"negative number", new(ChangeFrame), raw(t, kv{"v": -1})},
		{"long negative number", new(ChangeFrame), raw(t, kv{"v": int64(math.MinInt64)})},
		{"float as number", new(ChangeFrame), raw(t, kv{"v": 1.5})},
		{"number too large", new(PartFrame), raw(t, kv{"c": uint64(math.MaxUint32) + 1})},
		{"short digest", new(ChangeFrame), raw(t, kv{"d": []byte("short")})},
		{"long digest", new(ChangeFrame), raw(t, kv{"d": make([]byte, 17)})},
		{"number as flag", new(PartFrame), raw(t, kv{"l": 1})},
		{"key twice", new(ChangeFrame), append([]byte{0x82, 0xa1, 's', 0xa1, 'a', 0xa1, 's'}, 0xa1, 'b')},
		{"unknown key twice", new(ChangeFrame), append([]byte{0x82, 0xa1, '?', 0xc0, 0xa1, '?'}, 0xc0)},
		{"key that is no text", new(ChangeFrame), []byte{0x81, 0x01, 0x01}},
		{"too many kinds", new(ChangeFrame), raw(t, kv{"a": many[:policy.MaxKinds+1]})},
		{"kinds not sorted", new(ChangeFrame), raw(t, kv{"a": []kv{{"k": "B"}, {"k": "A"}}})},
		{"too many parts", new(ChangeFrame), raw(t, kv{"p": many[:MaxParts+1]})},
		{"too many subscriptions", new(SubscribeRequest), raw(t, kv{"s": many})},
		{"too many features", new(SubscribeRequest), raw(t, kv{"f": many[:MaxFeatures+1]})},
		{"item without id", new(PartFrame), raw(t, kv{"i": []kv{{"b": []byte("x")}}})},
		{"empty id removed", new(PartFrame), raw(t, kv{"r": []string{""}})},
		{"item too large", new(PartFrame), raw(t, kv{"i": []kv{{"n": "a", "b": make([]byte, policy.MaxItemBytes+1)}}})},
		{"unknown value, too deep", new(ChangeFrame), append([]byte{0x81, 0xa1, '?'}, append(bytes.Repeat([]byte{0x91}, maxDepth+2), 0xc0)...)},
		{"unknown value, code not in use", new(ChangeFrame), []byte{0x81, 0xa1, '?', 0xc1}},
		{"unknown value, cut short", new(ChangeFrame), []byte{0x81, 0xa1, '?', 0xd9, 5, 'a'}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := decode(tt.data, "x", tt.into)
			var frame *FrameError
			if !errors.As(err, &frame) {
				t.Errorf("got %v, want a FrameError", err)
			}
		})
	}
}

func TestUnknownFieldsArePassedOver(t *testing.T) {
	values := kv{
		"nil": nil, "flag": true, "number": 5, "large": uint64(math.MaxUint64), "negative": -5, "lowest": int64(math.MinInt64),
		"single": float32(1), "double": 1.5, "text": "x", "longer": strings.Repeat("x", 70000), "bytes": []byte("x"),
		"longer bytes": make([]byte, 70000), "list": []any{1, "a", []int{2}}, "map": kv{"a": kv{"b": 1}}, "many": make([]int, 20),
		"extension": msgpack.RawMessage{0xd4, 1, 2}, "wide extension": msgpack.RawMessage{0xc7, 3, 1, 2, 3, 4},
	}
	for name, value := range values {
		got := new(GoneFrame)
		if err := decode(raw(t, msgpack.RawMessage(join(raw(t, kv{"?": value}), raw(t, kv{"s": "shop/arith"})))), "x", got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got.Service != "shop/arith" {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// join makes one map of two encoded maps of one pair each.
func join(a, b []byte) []byte { return append(append([]byte{0x82}, a[1:]...), b[1:]...) }

func TestCriticalFieldIsNamed(t *testing.T) {
	err := decode(join(raw(t, kv{"s": "shop/arith"}), raw(t, kv{"!later": 1})), KindChange, new(ChangeFrame))
	var critical *policy.CriticalFieldError
	if !errors.As(err, &critical) || critical.Field != "!later" || critical.Item != KindChange {
		t.Errorf("got %v", err)
	}
}

// bombs are few bytes that claim much.
func bombs() map[string][]byte {
	return map[string][]byte{
		"list":        {0x81, 0xa1, 'i', 0xdd, 0xff, 0xff, 0xff, 0xff},
		"removed":     {0x81, 0xa1, 'r', 0xdd, 0xff, 0xff, 0xff, 0xff, 0xa1, 'a'},
		"map":         {0xdf, 0xff, 0xff, 0xff, 0xff},
		"text":        {0x81, 0xa1, 's', 0xdb, 0xff, 0xff, 0xff, 0xff},
		"bytes":       {0x81, 0xa1, 'd', 0xc6, 0xff, 0xff, 0xff, 0xff},
		"unknown":     {0x81, 0xa1, '?', 0xdd, 0xff, 0xff, 0xff, 0xff},
		"empty items": append([]byte{0x81, 0xa1, 'i', 0xdd, 0, 0x10, 0, 0}, bytes.Repeat([]byte{0x80}, 1<<20)...),
		"empty texts": append([]byte{0x81, 0xa1, 'r', 0xdd, 0, 0x10, 0, 0}, bytes.Repeat([]byte{0xa0}, 1<<20)...),
	}
}

func TestLengthBombsCostNothing(t *testing.T) {
	for name, b := range bombs() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := decode(b, "x", new(PartFrame))
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 64<<10 {
			t.Errorf("%s: %d bytes allocated for %d", name, grown, len(b))
		}
	}
}

// FuzzDecode: whatever comes, there is no panic, memory is bounded by the
// input, and what decodes is what encodes.
func FuzzDecode(f *testing.F) {
	all := messages()
	for i, m := range all {
		f.Add(uint8(i), mustEncode(f, m))
	}
	for _, b := range bombs() {
		f.Add(uint8(5), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		first := zero(all[int(which)%len(all)])
		if err := decode(data, "x", first); err != nil {
			return
		}
		b := mustEncode(t, first)
		second := zero(first)
		if err := decode(b, "x", second); err != nil {
			t.Fatalf("%x of %x: %v", b, data, err)
		}
		if b2 := mustEncode(t, second); !bytes.Equal(b, b2) {
			t.Errorf("%x, then %x", b, b2)
		}
	})
}
