// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"
)

// docs/wire-protocol.md §8; the bytes are typed from there.
func TestBytesOfControlPayloads(t *testing.T) {
	for name, tt := range map[string]struct {
		wrote []byte
		want  string
	}{
		"cancel":                      {AppendCancel([]byte("kept"), 0x0102030405060708), "kept\x01\x02\x03\x04\x05\x06\x07\x08"},
		"window":                      {AppendWindow(nil, Window{Calls: 16384, Bytes: 64 << 20}), "\x00\x00\x40\x00\x04\x00\x00\x00"},
		"load":                        {AppendLoad(nil, Load{InFlight: 3, QueueDelay: 1500 * time.Microsecond, Utilisation: 250}), "\x00\x00\x00\x03\x00\x00\x05\xdc\x00\x00\x00\xfa"},
		"load with a negative delay":  {AppendLoad(nil, Load{QueueDelay: -1}), "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		"load with the longest delay": {AppendLoad(nil, Load{QueueDelay: math.MaxInt64}), "\x00\x00\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00"},
		"drain":                       {AppendDrain(nil, 23*time.Second), "\x00\x00\x59\xd8"},
		"bye":                         {AppendBye(nil, 300), "\x00\x00\x00\x00\x00\x00\x01\x2c"},
	} {
		if string(tt.wrote) != tt.want {
			t.Errorf("%s: wrote %x, want %x", name, tt.wrote, tt.want)
		}
	}
}

// What is longer than it needs to be is read, what is shorter is not.
func TestParseControlPayloads(t *testing.T) {
	payload := []byte("\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03")
	for n := range len(payload) + 1 {
		b := payload[:n]
		if grace, ok := ParseDrain(b); ok != (n >= 4) || (ok && grace != time.Millisecond) {
			t.Errorf("drain of %d bytes: %s, %v", n, grace, ok)
		}
		if read, ok := ParseBye(b); ok != (n >= 8) || (ok && read != 1<<32|2) {
			t.Errorf("bye of %d bytes: %d, %v", n, read, ok)
		}
		if seq, ok := ParseCancel(b); ok != (n >= 8) || (ok && seq != 1<<32|2) {
			t.Errorf("cancel of %d bytes: %d, %v", n, seq, ok)
		}
		if w, ok := ParseWindow(b); ok != (n >= 8) || (ok && w != Window{1, 2}) {
			t.Errorf("window of %d bytes: %+v, %v", n, w, ok)
		}
		if l, ok := ParseLoad(b); ok != (n >= 12) || (ok && l != Load{1, 2 * time.Microsecond, 3}) {
			t.Errorf("load of %d bytes: %+v, %v", n, l, ok)
		}
	}
}

// FuzzControl: what is inside frames never panics, and what is read is what is
// written again.
func FuzzControl(f *testing.F) {
	for _, seed := range []string{
		"", "\x00\x00\x00\x01", "\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03", "1;00000000deadbeef;drain,cancel;caller=a/b;to=c/d;uid=e",
		"00000000deadbeef;drain,window", "unexecuted;after=100;reason=limit", ";;;;", "1;7;,", "\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if seq, ok := ParseCancel(b); ok && !bytes.Equal(AppendCancel(nil, seq), b[:8]) {
			t.Error("cancel")
		}
		if read, ok := ParseBye(b); ok && !bytes.Equal(AppendBye(nil, read), b[:8]) {
			t.Error("bye")
		}
		if w, ok := ParseWindow(b); ok && !bytes.Equal(AppendWindow(nil, w), b[:8]) {
			t.Error("window")
		}
		if l, ok := ParseLoad(b); ok && !bytes.Equal(AppendLoad(nil, l), b[:12]) {
			t.Error("load")
		}
		if d, ok := ParseDrain(b); ok && !bytes.Equal(AppendDrain(nil, d), b[:4]) {
			t.Error("drain")
		}
		if a, ok := ParseAnnouncement(b); ok {
			again, ok := ParseAnnouncement(AppendAnnouncement(nil, a))
			if !ok || again.Seq != a.Seq || again.To != a.To || again.UID != a.UID || again.Caller != a.Caller || len(again.Features) != len(a.Features) {
				t.Errorf("%+v written and read is %+v", a, again)
			}
		}
		if h, ok := ParseHello(b); ok {
			if again, ok := ParseHello(AppendHello(nil, h)); !ok || again.Seq != h.Seq || len(again.Features) != len(h.Features) {
				t.Errorf("%+v written and read is %+v", h, again)
			}
		}
		r := ParseRetry(b)
		if again := ParseRetry(AppendRetry(nil, r)); again != r {
			t.Errorf("%+v written and read is %+v", r, again)
		}
	})
}

// FuzzMeta: a block is whole entries or refused, and nothing is lost of it.
func FuzzMeta(f *testing.F) {
	entry := func(k, v string) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(k)))
		b = binary.BigEndian.AppendUint32(append(b, k...), uint32(len(v)))
		return append(b, v...)
	}
	f.Add([]byte{})
	f.Add(entry("key", "value"))
	f.Add(append(entry("key", "1"), entry("key", "2")...))
	f.Add(entry("", ""))
	f.Add(entry("key", "value")[:9])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0, 0, 0, 1, 'k', 0xff, 0xff, 0xff, 0xfc})
	f.Fuzz(func(t *testing.T, b []byte) {
		m := Meta(b)
		var again []byte
		n, last := 0, map[string]string{}
		for k, v := range m.All() {
			again = append(again, entry(string(k), string(v))...)
			last[string(k)] = string(v)
			n++
		}
		if whole := m.check() == nil; whole != bytes.Equal(again, b) {
			t.Fatalf("whole: %v, but its entries are %x of %x", whole, again, b)
		}
		if !bytes.HasPrefix(b, again) || m.Entries() != n {
			t.Fatalf("%d entries, %x of %x", n, again, b)
		}
		for k, want := range last {
			if v, ok := m.Get(k); !ok || string(v) != want {
				t.Fatalf("%q is %q, %v; want %q", k, v, ok, want)
			}
		}
	})
}
