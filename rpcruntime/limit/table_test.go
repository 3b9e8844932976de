// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

func byCaller(names policy.CallerNames) policy.Limit {
	return policy.Limit{Name: "x", By: policy.ByCaller, CallerNames: names, Rate: rate(1, time.Hour)}
}

// TestWhoSharesWithWhom: each call of a list comes at the same time to a limit
// of one call, so it is admitted if it shares its count with none before it.
func TestWhoSharesWithWhom(t *testing.T) {
	proven := func(name string) CallInfo { return CallInfo{Caller: name, Proven: true} }
	declared := func(name string) CallInfo { return CallInfo{Caller: name} }
	calls := []CallInfo{
		proven("a"), proven("b"), proven("a"),
		declared("a"), declared("c"), declared("c"), declared(""), proven(""),
	}
	tests := []struct {
		limit policy.Limit
		want  string // + admitted, - refused
	}{
		{policy.Limit{Name: "x", Rate: rate(1, time.Hour)}, "+-------"},
		{policy.Limit{Name: "x", Rate: rate(1, time.Hour), CallerNames: policy.Declared}, "+-------"},
		{byCaller(""), "++-+----"},
		{byCaller(policy.Proven), "++-+----"},
		{byCaller(policy.Declared), "++-++-+-"},
	}
	for _, tt := range tests {
		limiter := one(tt.limit)
		got := ""
		for _, c := range calls {
			if _, d := limiter.Admit(c, 0); d.Verdict == Run {
				got += "+"
			} else {
				got += "-"
			}
		}
		if got != tt.want {
			t.Errorf("by %q with names %q: %s, want %s", tt.limit.By, tt.limit.CallerNames, got, tt.want)
		}
	}
}

// TestFloodOfNames: names beyond the table share, and a flood neither grows it
// nor takes a proven caller's share.
func TestFloodOfNames(t *testing.T) {
	limiter := one(byCaller(policy.Declared))
	flood := 0
	for i := range 10_000 {
		if _, d := limiter.Admit(CallInfo{Caller: fmt.Sprint("flood", i)}, 0); d.Verdict == Run {
			flood++
		}
	}
	if flood != MaxDeclared+1 {
		t.Errorf("%d of the flood admitted, want %d and one for the rest", flood, MaxDeclared)
	}
	if got := limiter.rules[0].counts.declared.size; got != MaxDeclared {
		t.Errorf("the table has %d names", got)
	}
	if _, d := limiter.Admit(CallInfo{Caller: "flood1", Proven: true}, 0); d.Verdict != Run {
		t.Error("the flood spent a proven caller's share")
	}
	// The flood's buckets are full again after an hour: they make room.
	if _, d := limiter.Admit(CallInfo{Caller: "late"}, 2*time.Hour); d.Verdict != Run {
		t.Error("a new name found no room though the others are idle")
	}
	if _, d := limiter.Admit(CallInfo{Caller: "late"}, 2*time.Hour); d.Verdict != Refuse {
		t.Error("the new name has no count of its own")
	}
}

func TestFullTablePausesItsSearch(t *testing.T) {
	c := &counts{max: 1}
	table := newTable(1, 1024)
	e, _, _ := table.admit(c, "first", 0)
	if _, _, found := table.admit(c, "second", 0); found {
		t.Fatal("two names in a table of one")
	}
	e.release()
	table.hand = int((e.hash + 1024 - sweepFull/2) % 1024)
	if _, _, found := table.admit(c, "second", sweepPause-1); found {
		t.Error("searched again within the pause")
	}
	if _, _, found := table.admit(c, "second", sweepPause); !found {
		t.Error("found no room after the pause")
	}
}

// TestRetire: an entry is retired only when a new one would be just the same, and
// whoever still finds it then is told so.
func TestRetire(t *testing.T) {
	const now = 1000 * ticksPerNano
	for name, l := range map[string]policy.Limit{
		"slots":  {MaxConcurrent: 1},
		"tokens": {Rate: rate(1, 100)},
		"both":   {MaxConcurrent: 1, Rate: rate(1, 100)},
	} {
		e := &newCounts(&l).shared
		if o, _ := e.take(now); o != taken {
			t.Fatalf("%s: not taken", name)
		}
		if e.retire(now) {
			t.Errorf("%s: retired in use", name)
		}
		if o, _ := e.take(now); o != refused {
			t.Errorf("%s: what was not retired does not count any more", name)
		}
		e.release()
		if l.Rate != nil && e.retire(now+100*ticksPerNano-1) {
			t.Errorf("%s: retired with a bucket that was not full", name)
		}
		if !e.retire(now + 100*ticksPerNano) {
			t.Errorf("%s: not retired when idle", name)
		}
		if o, _ := e.take(now + 200*ticksPerNano); o != retired {
			t.Errorf("%s: counts on though retired", name)
		}
	}
}

// TestIdleNamesAreForgotten: a table stays about as large as its active names,
// and forgets nobody who has something running or a bucket that is not full.
func TestIdleNamesAreForgotten(t *testing.T) {
	limit := byCaller(policy.Proven)
	limit.Rate, limit.MaxConcurrent = rate(1, time.Second), 1
	limiter := one(limit)
	call := func(name string, now time.Duration) (Ticket, Decision) {
		return limiter.Admit(CallInfo{Caller: name, Proven: true}, now)
	}
	longRunning, _ := call("long-running", 0)
	// One new name each millisecond, so that 1,000 buckets at a time are not full.
	for i := range 15_000 {
		now := time.Duration(i) * ms
		ticket, d := call(fmt.Sprint("name", i), now)
		if d.Verdict != Run {
			t.Fatalf("name %d: %+v", i, d)
		}
		ticket.Done()
		if _, d := call(fmt.Sprint("name", i-900), now); i >= 900 && d.Verdict != Refuse {
			t.Fatalf("name %d was forgotten before its bucket was full", i-900)
		}
	}
	if got := limiter.rules[0].counts.proven.size; got > 5000 {
		t.Errorf("%d names in the table, of which 1000 are active", got)
	}
	if _, d := call("long-running", time.Hour); d.Verdict != Refuse {
		t.Error("a caller with a running call was forgotten")
	}
	longRunning.Done()
	if _, d := call("long-running", time.Hour); d.Verdict != Run {
		t.Errorf("after its end: %+v", d)
	}
}

func TestNamesAreCopied(t *testing.T) {
	limiter := one(byCaller(policy.Proven))
	frame := []byte("web/shop")
	limiter.Admit(CallInfo{Caller: unsafe.String(&frame[0], len(frame)), Proven: true}, 0)
	copy(frame, "XXXXXXXX")
	if _, d := limiter.Admit(CallInfo{Caller: "web/shop", Proven: true}, 0); d.Verdict != Refuse {
		t.Error("the name changed with the frame that brought it")
	}
}

// TestConcurrentAdmission counts at the handlers: never more than max at once,
// never more than the bucket holds, and in the end nothing is left.
func TestConcurrentAdmission(t *testing.T) {
	limiter := New([]policy.Limit{
		{Name: "slots", MaxConcurrent: 3},
		{Name: "bucket", Rate: rate(5000, 24*time.Hour)},
	})
	var running, most, admitted atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5000 {
				ticket, d := limiter.Admit(CallInfo{}, 0)
				if d.Verdict != Run {
					continue
				}
				n := running.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				admitted.Add(1)
				running.Add(-1)
				ticket.Done()
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 {
		t.Errorf("%d ran at once, at most 3", most.Load())
	}
	if got := admitted.Load(); got > 5000 || got == 0 {
		t.Errorf("%d admitted of a bucket of 5000", got)
	}
	if got := limiter.rules[0].counts.shared.running.Load(); got != 0 {
		t.Errorf("%d running after all are done", got)
	}
	if c := limiter.rules[1].counts; c.shared.full.Load() != admitted.Load()*c.cost {
		t.Errorf("the bucket lacks %d tokens after %d calls", c.shared.full.Load()/c.cost, admitted.Load())
	}
}

// TestForgettingUnderLoad: entries are forgotten and made anew all the time, and
// still no caller runs more than its slots, nor spends more than its tokens.
func TestForgettingUnderLoad(t *testing.T) {
	for name, l := range map[string]policy.Limit{
		"slots":  {MaxConcurrent: 1},
		"tokens": {Rate: rate(1, 10)},
		"both":   {MaxConcurrent: 1, Rate: rate(1, 10)},
	} {
		t.Run(name, func(t *testing.T) {
			l.Name, l.By = "x", policy.ByCaller
			limiter := one(l)
			c := limiter.rules[0].counts
			var clock, admitted atomic.Int64
			var running [4]atomic.Int32
			stop, swept := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(swept)
				for {
					select {
					case <-stop:
						return
					default:
					}
					c.proven.mu.Lock()
					for i := range c.proven.chains {
						c.proven.sweep(&c.proven.chains[i], ticks(time.Duration(clock.Load())))
					}
					c.proven.mu.Unlock()
				}
			}()
			var wg sync.WaitGroup
			for g := range 4 {
				wg.Go(func() {
					for i := range 5000 {
						who := (g + i) % len(running)
						ticket, d := limiter.Admit(CallInfo{Caller: string(rune('a' + who)), Proven: true}, time.Duration(clock.Add(1)))
						if d.Verdict != Run {
							continue
						}
						admitted.Add(1)
						if n := running[who].Add(1); l.MaxConcurrent > 0 && n > l.MaxConcurrent {
							t.Errorf("%d calls of one caller run at once", n)
						}
						running[who].Add(-1)
						ticket.Done()
					}
				})
			}
			wg.Wait()
			close(stop)
			<-swept
			got := admitted.Load()
			if most := int64(len(running)) * (1 + clock.Load()/10); l.Rate != nil && got > most {
				t.Errorf("%d admitted, at most %d", got, most)
			}
			if got == 0 {
				t.Error("nothing was admitted")
			}
			for i := range c.proven.chains {
				for e := c.proven.chains[i].Load(); e != nil; e = e.next.Load() {
					if n := e.running.Load(); n != 0 {
						t.Errorf("%s has %d running after all are done", e.name, n)
					}
				}
			}
		})
	}
}
