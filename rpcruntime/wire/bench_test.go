// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"testing"
)

func BenchmarkParse(b *testing.B) {
	whole := base.build()
	l := Limits{}.WithDefaults()
	b.SetBytes(int64(len(whole)))
	b.ReportAllocs()
	for b.Loop() {
		f, err := Parse(whole)
		if err != nil || l.Check(f) != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMetaGet(b *testing.B) {
	f, err := Parse(base.build())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, ok := f.Meta.Get("key"); !ok {
			b.Fatal("absent")
		}
	}
}

// BenchmarkBuild appends a request, with payloads of some sizes.
func BenchmarkBuild(b *testing.B) {
	for _, size := range []int{7, 581, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			buf := make([]byte, 0, size+256)
			payload := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				f := Begin(buf[:0], RequestHeader(1, SerializeRaw, false), "Arith", "Mul")
				f.Meta(KeyServerTimeout, "1500")
				buf = f.Payload(payload)
			}
		})
	}
}
