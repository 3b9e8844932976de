// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// full is a service with every field of every type set.
func full(t *testing.T) (owner, overlay, limits, endpoints Part, want Snapshot) {
	t.Helper()
	source := Source{Kind: "RPCCallPolicy", Namespace: "shop", Name: "p", Generation: 7, Created: 1_700_000_000}
	caller := Source{Kind: "RPCCallPolicy", Namespace: "web", Name: "p", Generation: 1, Created: 1}
	want = Snapshot{
		Service: "shop/arith", Role: Caller,
		Endpoints: []Endpoint{
			{ID: "10.0.0.2:80", Addresses: []string{"10.0.0.2:80"}},
			{ID: "uid:80", Addresses: []string{"10.0.0.1:80", "[::1]:80"}, State: Suspect, PodUID: "uid", Zone: "z", Region: "r",
				ZoneHints: []string{"y", "z"}, Weight: 1<<32 - 1, Version: "v1"},
		},
		Methods: Methods{Declared: []Method{{Name: "A.Get", Idempotent: true}, {Name: "A.Put"}}, RefuseUndeclared: true},
		Layers: []Layer{
			{Step: StepOwnerService, Source: source, Fields: CallFields{Timeout: ptr(time.Second), FailMode: Failfast,
				Attempts: ptr(int32(3)), PerTryTimeout: ptr(time.Millisecond), Backoff: &Backoff{Base: 1, Max: MaxDuration},
				Budget: &Budget{Percent: 0, Interval: time.Second}, MinRetryRate: &Rate{Count: 0, Interval: time.Second}, LoadBalancer: Random}},
			{Step: StepCallerMethod, Method: "a/b.Get", Source: caller, Fields: CallFields{Timeout: ptr(time.Duration(0))}},
		},
	}
	must := func(p Part, err error) Part {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Verify(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	endpoints = must(EncodeEndpoints(want.Endpoints))
	owner = must(EncodeOwner(want.Methods, want.Layers[:1]))
	overlay = must(EncodeOverlay("web", want.Layers[1:]))
	limits = must(EncodeLimits(want.Methods, fullLimits()))
	want.Parts = []PartDigest{{"endpoints", endpoints.Digest}, {"overlay/web", overlay.Digest}, {"owner", owner.Digest}}
	want.Digest = ServiceDigest(want.Parts)
	return owner, overlay, limits, endpoints, want
}

func fullLimits() []Limit {
	source := Source{Kind: "RPCLimitPolicy", Namespace: "shop", Name: "l", Generation: 2, Created: 5}
	return []Limit{
		{Source: source, Name: "a", By: ByCaller, CallerNames: Declared, Methods: []string{"A.Get", "A.Put"},
			Rate: &Rate{Count: 1, Interval: time.Hour}, Burst: 9, MaxConcurrent: MaxCount},
		{Source: source, Name: "a", Section: "A.Get", Methods: []string{"A.Get"}, MaxConcurrent: 1},
	}
}

func TestRoundTrip(t *testing.T) {
	owner, overlay, limits, endpoints, want := full(t)
	for _, parts := range [][]Part{{owner, overlay, endpoints}, {endpoints, owner, overlay}} {
		for i := range parts {
			parts[i].Items = slices.Clone(parts[i].Items)
			slices.Reverse(parts[i].Items)
		}
		got, err := Decode("shop/arith", Caller, parts)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*got, want) {
			t.Errorf("got  %+v\nwant %+v", *got, want)
		}
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
	}
	got, err := Decode("shop/arith", Server, []Part{limits})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got.Limits, fullLimits()) || !reflect.DeepEqual(got.Methods, want.Methods) ||
		got.Digest != ServiceDigest([]PartDigest{{"limits", limits.Digest}}) {
		t.Errorf("got %+v", got)
	}
	// Nothing in a service at all is a state too.
	none, err := EncodeEndpoints(nil)
	if err != nil || !none.Digest.IsZero() {
		t.Fatalf("%v %v", none, err)
	}
	bare, err := EncodeOwner(Methods{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode("shop/arith", Caller, []Part{none, bare}); err != nil || len(got.Endpoints)+len(got.Layers) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestEncodeIsStable(t *testing.T) {
	owner, _, _, endpoints, want := full(t)
	slices.Reverse(want.Endpoints)
	slices.Reverse(want.Methods.Declared)
	again, err := EncodeEndpoints(want.Endpoints)
	if err != nil || !reflect.DeepEqual(again, endpoints) {
		t.Errorf("endpoints in another order: %v %v", again, err)
	}
	again, err = EncodeOwner(want.Methods, want.Layers[:1])
	if err != nil || !reflect.DeepEqual(again, owner) {
		t.Errorf("methods in another order: %v %v", again, err)
	}
	var ids []string
	for _, i := range owner.Items {
		ids = append(ids, i.ID)
	}
	if !slices.Equal(ids, []string{"layer/30//shop/p", "methods"}) {
		t.Errorf("ids %q", ids)
	}
	if got := fullLimits()[1].ID(); got != "limit/shop/l/a/A.Get" {
		t.Errorf("id %q", got)
	}
	// Compact: nothing is spent on what is not set.
	p, err := EncodeEndpoints([]Endpoint{{ID: "i", Addresses: []string{"10.0.0.1:80"}}})
	if want := "\x82\xa2id\xa1i\xa1a\x91\xab10.0.0.1:80"; err != nil || string(p.Items[0].Bytes) != want {
		t.Errorf("got %q, want %q, %v", p.Items[0].Bytes, want, err)
	}
	// Steps travel as their numbers, by which an older runtime orders those that it does not know.
	for step, number := range map[Step]string{
		StepOwnerNamespace: "\x14", StepOwnerMethod: "\x28", StepCallerNamespace: "\x32", StepCallerMethod: "\x46",
		StepOverrideMethod: "\x50", StepOverrideService: "\x5a", StepOverrideNamespace: "\x64",
	} {
		p, err := EncodeOwner(Methods{}, []Layer{{Step: step, Source: Source{Namespace: "shop", Name: "p"}, Fields: CallFields{FailMode: Failfast}}})
		if want := "\x83\xa1s" + number + "\xa1o\x82\xa2ns\xa4shop\xa1n\xa1p\xa1f\x81\xa2fm\xa8Failfast"; err != nil || string(p.Items[0].Bytes) != want {
			t.Errorf("step %d: got %q, want %q, %v", step, p.Items[0].Bytes, want, err)
		}
		if want := fmt.Sprintf("layer/%d//shop/p", step); p.Items[0].ID != want {
			t.Errorf("step %d has id %q, want %q", step, p.Items[0].ID, want)
		}
	}
	p, err = EncodeOverlay("web", []Layer{{Step: StepCallerService, Fields: CallFields{Timeout: ptr(300 * time.Nanosecond)}}})
	if want := "\x82\xa1s\x3c\xa1f\x81\xa1t\xcd\x01\x2c"; err != nil || string(p.Items[0].Bytes) != want {
		t.Errorf("got %q, want %q, %v", p.Items[0].Bytes, want, err)
	}
}

func TestEncodeRefuses(t *testing.T) {
	e := Endpoint{ID: "a", Addresses: []string{"10.0.0.1:80"}}
	l := layer(StepOwnerService, "", "p", 1, CallFields{})
	limit := Limit{Name: "l"}
	for name, encode := range map[string]func() (Part, error){
		"endpoint twice":   func() (Part, error) { return EncodeEndpoints([]Endpoint{e, e}) },
		"invalid endpoint": func() (Part, error) { return EncodeEndpoints([]Endpoint{{ID: "a"}}) },
		"layer twice":      func() (Part, error) { return EncodeOverlay("web", []Layer{l, l}) },
		"invalid layer":    func() (Part, error) { return EncodeOwner(Methods{}, []Layer{{}}) },
		"method twice":     func() (Part, error) { return EncodeOwner(Methods{Declared: []Method{{Name: "A"}, {Name: "A"}}}, nil) },
		"limit twice":      func() (Part, error) { return EncodeLimits(Methods{}, []Limit{limit, limit}) },
		"invalid limit":    func() (Part, error) { return EncodeLimits(Methods{}, []Limit{{}}) },
		"large item": func() (Part, error) {
			big := limit
			big.Methods = slices.Repeat([]string{"A.ABCDEFGHIJKLMNOPQRST"}, 50_000)
			return EncodeLimits(Methods{}, []Limit{big})
		},
	} {
		_, err := encode()
		var item *ItemError
		if !errors.As(err, &item) || item.Part == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// encode gives an item out of a map, as another version might send it.
func encode(t *testing.T, id string, value any) Item {
	t.Helper()
	b, err := msgpack.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return Item{ID: id, Bytes: b}
}

type m = map[string]any

func TestDecodeUnknown(t *testing.T) {
	owner, overlay, limits, endpoints, _ := full(t)
	endpoints.Items = append(slices.Clone(endpoints.Items),
		encode(t, "new", m{"id": "new", "a": []string{"10.0.0.9:80"}, "lat": 52.5, "deep": m{"x": []any{m{"y": nil}}, "bin": []byte{1}}}),
		encode(t, "new2", m{"id": "new2", "a": []string{"10.0.0.9:80"}, "lat": 52.5}),
		encode(t, "asleep", m{"id": "asleep", "a": []string{"10.0.0.9:80"}, "s": 7}))
	overlay.Items = append(slices.Clone(overlay.Items),
		encode(t, "layer/60//web/q", m{"s": 60, "o": m{"k": "K", "ns": "web", "n": "q"}, "f": m{"hedge": m{"delay": 5}, "fm": "Failbackup"}}),
		encode(t, "mirror/x", m{"whatever": 1}))
	limits.Items = append(slices.Clone(limits.Items),
		encode(t, "limit/shop/l/k", m{"o": m{"ns": "shop", "n": "l"}, "n": "k", "b": "Key"}),
		encode(t, "limit/shop/l/q", m{"o": m{"ns": "shop", "n": "l"}, "n": "q", "queue": 5}))

	got, err := Decode("shop/arith", Caller, []Part{owner, overlay, endpoints, {Name: "routes"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"endpoint.deep", "endpoint.lat", "endpoint.state 7", "item mirror in part overlay/web", "layer.f.hedge", "part routes"}
	if !slices.Equal(got.UnknownFields, want) {
		t.Errorf("unknown: %q\nwant     %q", got.UnknownFields, want)
	}
	if len(got.Endpoints) != 4 || len(got.Layers) != 3 {
		t.Errorf("what is known must stay: %d endpoints, %d layers", len(got.Endpoints), len(got.Layers))
	}
	// The unknown word went through, and merging answers for it.
	if e := got.Effective("A.Get"); e.FailMode != Failfast || !slices.ContainsFunc(e.Fallbacks, func(f Fallback) bool { return f.Value == "Failbackup" }) {
		t.Errorf("effective: %+v", e)
	}
	if !slices.ContainsFunc(got.Parts, func(p PartDigest) bool { return p.Name == "routes" }) {
		t.Error("a part that is held and not known still counts for the digest")
	}
	got, err = Decode("shop/arith", Server, []Part{limits})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{`limit.by "Key" is none of All, Caller`, "limit.queue"}; !slices.Equal(got.UnknownFields, want) || len(got.Limits) != 3 {
		t.Errorf("unknown: %q, %d limits", got.UnknownFields, len(got.Limits))
	}
}

func TestDecodeCritical(t *testing.T) {
	owner, _, _, endpoints, _ := full(t)
	more := func(p Part, items ...Item) Part {
		p.Items = append(slices.Clone(p.Items), items...)
		return p
	}
	for name, tt := range map[string]struct {
		parts []Part
		want  CriticalFieldError
	}{
		"part": {[]Part{owner, endpoints, {Name: "!routes"}}, CriticalFieldError{Part: "!routes"}},
		"item": {[]Part{more(owner, Item{ID: "!mirror"}), endpoints}, CriticalFieldError{Part: "owner", Item: "!mirror"}},
		"field": {[]Part{owner, more(endpoints, encode(t, "x", m{"id": "x", "a": []string{"10.0.0.9:80"}, "!tls": true}))},
			CriticalFieldError{Part: "endpoints", Item: "x", Field: "!tls"}},
		"inner field": {[]Part{more(owner, encode(t, "layer/30//shop/q", m{"s": 30, "f": m{"!hedge": m{}}})), endpoints},
			CriticalFieldError{Part: "owner", Item: "layer/30//shop/q", Field: "f.!hedge"}},
	} {
		got, err := Decode("shop/arith", Caller, tt.parts)
		var critical *CriticalFieldError
		if !errors.As(err, &critical) || *critical != tt.want || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Inside of something unknown that is not critical, nothing is.
	inner := more(endpoints, encode(t, "x", m{"id": "x", "a": []string{"10.0.0.9:80"}, "tls": m{"!ca": true}}))
	if _, err := Decode("shop/arith", Caller, []Part{owner, inner}); err != nil {
		t.Error(err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	owner, overlay, limits, endpoints, _ := full(t)
	endpoint := func(fields m) []Part {
		for k, v := range (m{"id": "x", "a": []string{"10.0.0.9:80"}}) {
			if _, set := fields[k]; !set {
				fields[k] = v
			}
		}
		return []Part{owner, {Name: "endpoints", Items: []Item{encode(t, "x", fields)}}}
	}
	raw := func(b ...byte) []Part { return []Part{owner, {Name: "endpoints", Items: []Item{{ID: "x", Bytes: b}}}} }
	tests := map[string]struct {
		role  Role
		parts []Part
	}{
		"role":               {"", []Part{owner, endpoints}},
		"no endpoints":       {Caller, []Part{owner}},
		"no owner":           {Caller, []Part{endpoints}},
		"no limits":          {Server, []Part{owner, endpoints}},
		"part twice":         {Caller, []Part{owner, endpoints, endpoints}},
		"two overlays":       {Caller, []Part{owner, endpoints, overlay, {Name: "overlay/shop"}}},
		"nameless overlay":   {Caller, []Part{owner, endpoints, {Name: "overlay/"}}},
		"no methods":         {Caller, []Part{{Name: "owner"}, endpoints}},
		"no server methods":  {Server, []Part{{Name: "limits"}}},
		"item twice":         {Caller, []Part{owner, {Name: "endpoints", Items: append(endpoints.Items, endpoints.Items[0])}}},
		"other id":           {Caller, endpoint(m{"id": "y"})},
		"no address":         {Caller, endpoint(m{"a": []string{}})},
		"bad address":        {Caller, endpoint(m{"a": []string{"nowhere"}})},
		"address as text":    {Caller, endpoint(m{"a": "10.0.0.9:80"})},
		"zone as number":     {Caller, endpoint(m{"z": 1})},
		"zone as nil":        {Caller, endpoint(m{"z": nil})},
		"weight as text":     {Caller, endpoint(m{"w": "1"})},
		"weight as float":    {Caller, endpoint(m{"w": 1.0})},
		"weight negative":    {Caller, endpoint(m{"w": -1})},
		"weight too large":   {Caller, endpoint(m{"w": uint64(1) << 32})},
		"state too large":    {Caller, endpoint(m{"s": 256})},
		"hint in a hint":     {Caller, endpoint(m{"h": []any{[]string{"z"}}})},
		"empty":              {Caller, raw()},
		"nil":                {Caller, raw(0xc0)},
		"a list":             {Caller, raw(0x90)},
		"unused code":        {Caller, raw(0x81, 0xa1, 'q', 0xc1)},
		"key as number":      {Caller, raw(0x81, 0x01, 0x01)},
		"key twice":          {Caller, raw(0x83, 0xa2, 'i', 'd', 0xa1, 'x', 0xa2, 'i', 'd', 0xa1, 'x', 0xa1, 'a', 0x91, 0xa9, '1', '.', '1', '.', '1', '.', '1', ':', '1')},
		"bytes after":        {Caller, []Part{owner, {Name: "endpoints", Items: []Item{{ID: endpoints.Items[0].ID, Bytes: append(slices.Clone(endpoints.Items[0].Bytes), 0)}}}}},
		"cut off":            {Caller, []Part{owner, {Name: "endpoints", Items: []Item{{ID: endpoints.Items[0].ID, Bytes: endpoints.Items[0].Bytes[:9]}}}}},
		"limit of nothing":   {Server, []Part{{Name: "limits", Items: append(limits.Items[:1:1], encode(t, "limit/a/b/c", m{"n": "c", "o": m{"ns": "a", "n": "b"}, "r": m{"c": 0, "i": 1}}))}}},
		"step of defaults":   {Caller, []Part{{Name: "owner", Items: append(slices.Clone(owner.Items), encode(t, "layer/10///", m{"s": 10, "f": m{}}))}, endpoints}},
		"layer of other id":  {Caller, []Part{{Name: "owner", Items: append(slices.Clone(owner.Items), encode(t, "layer/30/A.B/shop/p", m{"s": 30, "o": m{"ns": "shop", "n": "p"}, "f": m{}}))}, endpoints}},
		"item too large":     {Caller, raw(make([]byte, MaxItemBytes+1)...)},
		"unsorted methods":   {Caller, []Part{{Name: "owner", Items: []Item{encode(t, "methods", m{"m": []m{{"n": "B"}, {"n": "A"}}})}}, endpoints}},
		"timeout beyond i64": {Caller, []Part{{Name: "owner", Items: append(slices.Clone(owner.Items), encode(t, "layer/30//shop/q", m{"s": 30, "o": m{"ns": "shop", "n": "q"}, "f": m{"t": uint64(1) << 63}}))}, endpoints}},
	}
	for name, tt := range tests {
		if got, err := Decode("shop/arith", tt.role, tt.parts); err == nil || got != nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
	if _, err := Decode("arith", Caller, []Part{owner, endpoints}); err == nil {
		t.Error("service without a namespace was accepted")
	}
	spoilt := endpoints
	spoilt.Items = spoilt.Items[1:]
	if spoilt.Verify() == nil {
		t.Error("a part that lost an item was verified")
	}
}

// A few bytes that claim to be millions of elements cost a few bytes.
func TestDecodeMemoryIsBounded(t *testing.T) {
	owner, _, _, _, _ := full(t)
	bombs := [][]byte{
		{0x82, 0xa2, 'i', 'd', 0xa1, 'x', 0xa1, 'a', 0xdd, 0xff, 0xff, 0xff, 0xff},
		{0x81, 0xa2, 'i', 'd', 0xdb, 0xff, 0xff, 0xff, 0xff},
		{0xdf, 0xff, 0xff, 0xff, 0xff},
		{0x81, 0xa1, 'q', 0xdd, 0xff, 0xff, 0xff, 0xff},
		{0x81, 0xa1, 'q', 0xc9, 0xff, 0xff, 0xff, 0xff},
		{0x81, 0xa1, 'h', 0xdd, 0x00, 0x10, 0x00, 0x00},
	}
	for i, b := range bombs {
		// The bomb is given the room that a part of many items would have.
		parts := []Part{owner, {Name: "endpoints", Items: []Item{{ID: "x", Bytes: b}}}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode("shop/arith", Caller, parts)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%d: accepted", i)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("%d: %d bytes allocated for %d", i, used, len(b))
		}
	}
	deep := append([]byte{0x81, 0xa1, 'q'}, slices.Repeat([]byte{0x91}, 1<<19)...)
	if _, err := Decode("shop/arith", Caller, []Part{owner, {Name: "endpoints", Items: []Item{{ID: "x", Bytes: append(deep, 0)}}}}); !errors.Is(err, errDeep) {
		t.Errorf("deep nesting: %v", err)
	}
}

// checkDecode holds for all input: what is decoded is valid, and encodes to
// what decodes to the same.
func checkDecode(t *testing.T, role Role, parts []Part) {
	t.Helper()
	s, err := Decode("shop/arith", role, parts)
	if err != nil {
		if s != nil {
			t.Error("half a snapshot")
		}
		return
	}
	if err := s.Validate(); err != nil {
		t.Errorf("decoded and not valid: %v", err)
	}
	checkValid(t, s.Effective("A.B"))
	if len(s.UnknownFields) > maxUnknown {
		t.Errorf("%d unknown fields", len(s.UnknownFields))
	}
	part, err := EncodeEndpoints(s.Endpoints)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := EncodeOwner(s.Methods, s.Layers)
	if err != nil {
		// Owner and overlay may hold the same layer.
		return
	}
	again, err := Decode("shop/arith", Caller, []Part{part, owner})
	if err != nil {
		t.Fatal(err)
	}
	if len(again.UnknownFields) != 0 || len(again.Endpoints) != len(s.Endpoints) || len(again.Layers) != len(s.Layers) {
		t.Errorf("got  %+v\nwant %+v", again, s)
	}
}

// fuzzParts cuts bytes into parts with items; ids are often those that fit.
func fuzzParts(b []byte) []Part {
	p := program{rest: b}
	names := [...]string{"endpoints", "owner", "limits", "overlay/web", "routes", "!x"}
	ids := [...]string{"methods", "x", "layer/30//shop/p", "limit/shop/l/a", "!new", "other/1"}
	var parts []Part
	for len(p.rest) > 0 && len(parts) < 5 {
		part := Part{Name: names[int(p.byte())%len(names)]}
		for range p.byte() % 4 {
			n := min(int(p.byte()), len(p.rest))
			item := Item{ID: ids[int(p.byte())%len(ids)], Bytes: p.rest[:min(n, len(p.rest))]}
			p.rest = p.rest[len(item.Bytes):]
			part.Items = append(part.Items, item)
		}
		parts = append(parts, part)
	}
	return parts
}

func FuzzDecode(f *testing.F) {
	seed := []byte{0, 1, 12, 1, 0x82, 0xa2, 'i', 'd', 0xa1, 'x', 0xa1, 'a', 0x91, 0xa4, ':'}
	f.Add(seed, true)
	f.Add([]byte{1, 1, 1, 0, 0x80, 0, 0}, true)
	f.Add([]byte{2, 1, 1, 0, 0x80}, false)
	f.Fuzz(func(t *testing.T, b []byte, caller bool) {
		role := Server
		if caller {
			role = Caller
		}
		checkDecode(t, role, fuzzParts(b))
	})
}

// Valid parts with a few bytes changed: what a fuzzer takes long to find.
func TestDecodeMutations(t *testing.T) {
	owner, overlay, limits, endpoints, _ := full(t)
	r := rand.New(rand.NewPCG(5, 6))
	for range 3_000 {
		parts := []Part{owner, overlay, endpoints}
		role := Caller
		if r.IntN(3) == 0 {
			parts, role = []Part{limits}, Server
		}
		at := r.IntN(len(parts))
		parts[at].Items = slices.Clone(parts[at].Items)
		item := &parts[at].Items[r.IntN(len(parts[at].Items))]
		item.Bytes = slices.Clone(item.Bytes)
		for range 1 + r.IntN(3) {
			item.Bytes[r.IntN(len(item.Bytes))] = byte(r.Uint32())
		}
		checkDecode(t, role, parts)
	}
}
