// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wheel

import (
	"testing"
	"time"
)

func TestAllocatesNothing(t *testing.T) {
	w := New()
	defer w.Close()
	var timer Timer
	timer.Init(fire(func() {}))
	deadline := time.Now().Add(time.Hour)
	w.Schedule(&timer, deadline)
	if n := testing.AllocsPerRun(1000, func() {
		w.Schedule(&timer, deadline)
		w.Stop(&timer)
	}); n != 0 {
		t.Errorf("%v allocations per Schedule and Stop", n)
	}
}

// Each iteration sets one deadline and takes it back, as a call does.
func BenchmarkScheduleStop(b *testing.B) {
	b.Run("wheel", func(b *testing.B) {
		w := New()
		defer w.Close()
		var timer Timer
		timer.Init(fire(func() {}))
		deadline := time.Now().Add(time.Hour)
		b.ReportAllocs()
		for b.Loop() {
			w.Schedule(&timer, deadline)
			w.Stop(&timer)
		}
	})
	b.Run("wheel/parallel", func(b *testing.B) {
		w := New()
		defer w.Close()
		deadline := time.Now().Add(time.Hour)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			timer := new(Timer)
			timer.Init(fire(func() {}))
			for pb.Next() {
				w.Schedule(timer, deadline)
				w.Stop(timer)
			}
		})
	})
	b.Run("AfterFunc", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			time.AfterFunc(time.Hour, func() {}).Stop()
		}
	})
	b.Run("Reset", func(b *testing.B) {
		timer := time.AfterFunc(time.Hour, func() {})
		b.ReportAllocs()
		for b.Loop() {
			timer.Reset(time.Hour)
			timer.Stop()
		}
	})
	b.Run("Reset/parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			timer := time.AfterFunc(time.Hour, func() {})
			for pb.Next() {
				timer.Reset(time.Hour)
				timer.Stop()
			}
		})
	})
}
