// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package wire

import (
	"testing"
	"time"
)

// The race detector allocates on its own, hence the build tag.
func TestAllocations(t *testing.T) {
	whole := base.build()
	l := Limits{}.WithDefaults()
	buf := make([]byte, 0, 4096)
	payload := []byte("payload")
	announcement := Announcement{Seq: 7, Features: []string{FeatureDrain}, Caller: "shop/web", To: "shop/cart", UID: "u"}
	for name, f := range map[string]func(){
		"parse": func() {
			f, err := Parse(whole)
			if err == nil {
				err = l.Check(f)
			}
			if v, ok := f.Meta.Get("key"); err != nil || !ok || len(v) != 5 {
				t.Error(f, err)
			}
		},
		"build": func() {
			b := Begin(buf, RequestHeader(1, SerializeJSON, false), "Arith", "Mul")
			b.Meta("key", "value")
			b.MetaBytes("key", payload)
			buf = b.Payload(payload)[:0]
		},
		"announcement": func() { buf = AppendAnnouncement(buf[:0], announcement) },
		"hello":        func() { buf = AppendHello(buf[:0], Hello{Seq: 7, Features: announcement.Features}) },
		"retry":        func() { buf = AppendRetry(buf[:0], Retry{RetryUnexecuted, time.Second, ReasonLimit}) },
		"parse retry":  func() { _ = ParseRetry([]byte("unexecuted;after=1000")) },
		"drain and bye": func() {
			buf = AppendBye(AppendDrain(buf[:0], time.Second), 5)
			_, _ = ParseDrain(buf)
			_, _ = ParseBye(buf[4:])
		},
		"cancel, window and load": func() {
			buf = AppendLoad(AppendWindow(AppendCancel(buf[:0], 7), Window{1, 2}), Load{1, 2, 3})
			_, _ = ParseCancel(buf)
			_, _ = ParseWindow(buf[8:])
			_, _ = ParseLoad(buf[16:])
		},
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
