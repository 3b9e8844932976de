// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAnnouncement(t *testing.T) {
	full := Announcement{Seq: 0xdeadbeef, Features: []string{"drain", "x-1"}, Caller: "shop/web", To: "shop/cart", UID: "0a1b-2c"}
	tests := []struct {
		name string
		a    Announcement
		text string
	}{
		{"all", full, "1;00000000deadbeef;drain,x-1;caller=shop/web;to=shop/cart;uid=0a1b-2c"},
		{"nothing", Announcement{}, "1;0000000000000000;"},
		{"largest seq", Announcement{Seq: math.MaxUint64}, "1;ffffffffffffffff;"},
		{"some", Announcement{Seq: 1, To: "shop/cart"}, "1;0000000000000001;;to=shop/cart"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(AppendAnnouncement([]byte("kept"), tt.a)); got != "kept"+tt.text {
				t.Errorf("wrote %q, want %q", got, tt.text)
			}
			value := []byte(tt.text)
			got, ok := ParseAnnouncement(value)
			clear(value) // the result must not point into it
			if !ok || !reflect.DeepEqual(got, tt.a) {
				t.Errorf("read %+v, %v; want %+v", got, ok, tt.a)
			}
		})
	}
}

func TestAnnouncementLeavesOutWhatDoesNotFit(t *testing.T) {
	for _, bad := range []string{"a;b", "a b", "grün", "a\nb", "a\x00", "\x7f", strings.Repeat("x", MaxAnnouncement)} {
		got := AppendAnnouncement(nil, Announcement{Seq: 1, Caller: bad, To: "ns/to", UID: bad})
		if string(got) != "1;0000000000000001;;to=ns/to" {
			t.Errorf("with %q: %q", bad, got)
		}
	}
	name := strings.Repeat("n", 253) + "/" + strings.Repeat("m", 253)
	a := Announcement{Seq: 1, Features: []string{FeatureDrain}, Caller: name, To: name, UID: strings.Repeat("u", 253)}
	if got, ok := ParseAnnouncement(AppendAnnouncement(nil, a)); !ok || !reflect.DeepEqual(got, a) {
		t.Errorf("the longest names of Kubernetes: %v", ok)
	}
}

func TestParseAnnouncement(t *testing.T) {
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"seq without padding", "1;7;drain", true},
		{"unknown fields, any order", "1;7;drain;zone=a;uid=u;;caller=a/b;=;x", true},
		{"empty", "", false},
		{"another version", "2;7;drain", false},
		{"version alone", "1", false},
		{"no features part", "1;7", false},
		{"no seq", "1;;drain", false},
		{"seq in upper case", "1;A;", false},
		{"seq of 17 digits", "1;00000000000000001;", false},
		{"seq with a prefix", "1;0x7;", false},
		{"empty feature", "1;7;drain,", false},
		{"feature with a blank", "1;7;dr ain", false},
		{"a field twice", "1;7;;to=a/b;to=a/c", false},
		{"a field with a control byte", "1;7;;to=a\n", false},
		{"a field that is empty", "1;7;;to=", false},
		{"a field without a value", "1;7;;to", false},
		{"17 features", "1;7;" + strings.Repeat("f,", MaxFeatures) + "f", false},
		{"16 features", "1;7;" + strings.Repeat("f,", MaxFeatures-1) + "f", true},
		{"too long", "1;7;;x=" + strings.Repeat("y", MaxAnnouncement), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := ParseAnnouncement([]byte(tt.text))
			if ok != tt.ok {
				t.Errorf("read as %+v, %v", got, ok)
			}
			if !ok && !reflect.DeepEqual(got, Announcement{}) {
				t.Errorf("refused, but with %+v", got)
			}
			if ok && got.Seq != 7 {
				t.Errorf("seq %d", got.Seq)
			}
		})
	}
}

func TestHello(t *testing.T) {
	h := Hello{Seq: 7, Features: []string{FeatureDrain, "later"}}
	text := "0000000000000007;drain,later"
	if got := string(AppendHello(nil, h)); got != text {
		t.Errorf("wrote %q, want %q", got, text)
	}
	for _, s := range []string{text, text + ";", text + ";more=1;" + strings.Repeat("x", MaxAnnouncement), "7;drain,later"} {
		if got, ok := ParseHello([]byte(s)); !ok || !reflect.DeepEqual(got, h) {
			t.Errorf("%.40q: read %+v, %v", s, got, ok)
		}
	}
	if got, ok := ParseHello([]byte("7;")); !ok || got.Seq != 7 || got.Features != nil {
		t.Errorf("no features: %+v, %v", got, ok)
	}
	for _, s := range []string{"", ";", "7", "g;", "7;,", "7;a,,b", "7;" + strings.Repeat("x", MaxAnnouncement)} {
		if got, ok := ParseHello([]byte(s)); ok {
			t.Errorf("%.40q: read as %+v", s, got)
		}
	}
	if !Has(h.Features, FeatureDrain) || Has(h.Features, "window") || Has(nil, FeatureDrain) {
		t.Error("Has")
	}
}

func TestRetry(t *testing.T) {
	tests := []struct {
		r    Retry
		text string
	}{
		{Retry{}, "unknown"},
		{Retry{Word: RetryUnexecuted}, "unexecuted"},
		{Retry{Word: RetryNever}, "never"},
		{Retry{Word: RetryExecuted, After: time.Second}, "executed;after=1000"},
		{Retry{RetryUnexecuted, 250 * time.Millisecond, ReasonLimit}, "unexecuted;after=250;reason=limit"},
		{Retry{Word: RetryUnexecuted, Reason: ReasonWrongEndpoint}, "unexecuted;reason=wrong-endpoint"},
	}
	for _, tt := range tests {
		if got := string(AppendRetry([]byte("kept"), tt.r)); got != "kept"+tt.text {
			t.Errorf("wrote %q, want %q", got, tt.text)
		}
		if got := ParseRetry([]byte(tt.text)); got != tt.r {
			t.Errorf("%q: read %+v, want %+v", tt.text, got, tt.r)
		}
	}
	for text, want := range map[string]Retry{
		"":                                     {},
		"Unexecuted":                           {},
		"unexecuted ":                          {},
		"perhaps;after=5":                      {After: 5 * time.Millisecond},
		"never;x;=;y=1;after=5;":               {Word: RetryNever, After: 5 * time.Millisecond},
		"unexecuted;after=-5":                  {Word: RetryUnexecuted},
		"unexecuted;after=5s":                  {Word: RetryUnexecuted},
		"unexecuted;after=":                    {Word: RetryUnexecuted},
		"unexecuted;after=9999999999":          {Word: RetryUnexecuted},
		"unexecuted;reason=a b;reason=":        {Word: RetryUnexecuted},
		"unexecuted;reason=" + long(maxReason): {Word: RetryUnexecuted, Reason: long(maxReason)},
		"unexecuted;reason=" + long(65):        {Word: RetryUnexecuted},
	} {
		if got := ParseRetry([]byte(text)); got != want {
			t.Errorf("%q: read %+v, want %+v", text, got, want)
		}
	}
	for r, want := range map[Retry]string{
		{After: 1}:                    "unknown;after=1", // rounded up: 0 would advise nothing
		{After: time.Millisecond + 1}: "unknown;after=2",
		{After: -1}:                   "unknown",
		{After: math.MaxInt64}:        "unknown;after=999999999",
		{Word: 200, Reason: "a;b"}:    "unknown",
		{Reason: long(65)}:            "unknown",
	} {
		if got := string(AppendRetry(nil, r)); got != want {
			t.Errorf("%+v: wrote %q, want %q", r, got, want)
		}
	}
}

func long(n int) string { return strings.Repeat("r", n) }

func TestControlPayloads(t *testing.T) {
	for d, want := range map[time.Duration]time.Duration{
		0: 0, 23 * time.Second: 23 * time.Second, -1: 0, time.Millisecond - 1: 0, math.MaxInt64: math.MaxUint32 * time.Millisecond,
	} {
		payload := AppendDrain(nil, d)
		for _, p := range [][]byte{payload, append(payload, "later"...)} {
			if got, ok := ParseDrain(p); !ok || got != want || len(payload) != 4 {
				t.Errorf("drain %s: %x is %s, %v", d, p, got, ok)
			}
		}
	}
	for _, n := range []uint64{0, 1, math.MaxUint64} {
		payload := AppendBye(nil, n)
		for _, p := range [][]byte{payload, append(payload, "later"...)} {
			if got, ok := ParseBye(p); !ok || got != n || len(payload) != 8 {
				t.Errorf("bye %d: %x is %d, %v", n, p, got, ok)
			}
		}
	}
	if _, ok := ParseDrain(make([]byte, 3)); ok {
		t.Error("a drain of 3 bytes was read")
	}
	if _, ok := ParseBye(make([]byte, 7)); ok {
		t.Error("a bye of 7 bytes was read")
	}
}

func FuzzAnnouncement(f *testing.F) {
	for _, s := range []string{"1;00000000deadbeef;drain,x;caller=a/b;to=c/d;uid=u", "1;7;", "1;7;;to=a;to=b", "2;7;", "1;7;drain;x=y;;", "1;g;"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := ParseAnnouncement(b); ok {
			again, ok := ParseAnnouncement(AppendAnnouncement(nil, a))
			if len(a.Features) > MaxFeatures || !ok && len(b) < MaxAnnouncement-16 || ok && !reflect.DeepEqual(a, again) {
				t.Fatalf("%q is %+v, written and read again %+v, %v", b, a, again, ok)
			}
		}
		if h, ok := ParseHello(b); ok {
			if again, ok := ParseHello(AppendHello(nil, h)); len(b) < MaxAnnouncement-16 && (!ok || !reflect.DeepEqual(h, again)) {
				t.Fatalf("%q is %+v, written and read again %+v, %v", b, h, again, ok)
			}
		}
	})
}

func FuzzRetry(f *testing.F) {
	for _, s := range []string{"unexecuted;after=250;reason=limit", "never", "unknown;x=y", "executed;after=999999999", ";;after=;"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := ParseRetry(b)
		if r.After < 0 || len(r.Reason) > maxReason {
			t.Fatalf("%q is %+v", b, r)
		}
		if again := ParseRetry(AppendRetry(nil, r)); again != r {
			t.Fatalf("%q is %+v, written and read again %+v", b, r, again)
		}
	})
}
