// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package limit

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

const ms = time.Millisecond

func rate(count int32, interval time.Duration) *policy.Rate {
	return &policy.Rate{Count: count, Interval: interval}
}

func one(l policy.Limit) *Limiter { return New([]policy.Limit{l}) }

// TestRateAgainstModel compares with a bucket of exact fractions, at random
// times and with random parameters, and checks each window of what was admitted.
func TestRateAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		count := 1 + rng.Int32N(int32(1)<<rng.IntN(20))
		interval := 1 + time.Duration(rng.Int64N(int64(time.Second)<<rng.IntN(12)))
		burst := rng.Int32N(30)
		limiter := one(policy.Limit{Name: "x", Rate: rate(count, interval), Burst: burst})
		if burst == 0 {
			burst = count
		}
		// In units of 1/interval of a token, per nanosecond count of them come.
		token := big.NewInt(int64(interval))
		whole := new(big.Int).Mul(token, big.NewInt(int64(burst)))
		have := new(big.Int).Set(whole)
		slack := new(big.Int).Add(token, new(big.Int).Div(token, big.NewInt(1000))) // a token and a bit

		var admitted []time.Duration
		now := time.Duration(rng.Int64N(int64(1000 * time.Hour)))
		step := 2 * max(int64(interval)/int64(count), 1)
		for range 1000 {
			passed := rng.Int64N(step + 1)
			if rng.IntN(100) == 0 {
				passed = int64(interval)
			}
			now += time.Duration(passed)
			have.Add(have, new(big.Int).Mul(big.NewInt(passed), big.NewInt(int64(count))))
			if have.Cmp(whole) > 0 {
				have.Set(whole)
			}
			_, d := limiter.Admit(CallInfo{}, now)
			if d.Verdict == Run {
				if have.Cmp(token) < 0 {
					t.Fatalf("seed %d: %d per %v, burst %d: admitted at %v without a token", seed, count, interval, burst, now)
				}
				have.Sub(have, token)
				admitted = append(admitted, now)
			} else if have.Cmp(slack) >= 0 && step > 2 {
				// At less than a nanosecond per token rounding takes more than a bit.
				t.Fatalf("seed %d: %d per %v, burst %d: refused at %v with a token", seed, count, interval, burst, now)
			}
		}
		checkWindows(t, admitted, count, interval, burst)
	}
}

// checkWindows: in any time t no more than burst + t * count / interval.
func checkWindows(t *testing.T, admitted []time.Duration, count int32, interval time.Duration, burst int32) {
	t.Helper()
	for i := range admitted {
		for j := i; j < len(admitted); j += 1 + (j-i)/8 {
			n := big.NewInt(int64(j - i + 1 - int(burst)))
			n.Mul(n, big.NewInt(int64(interval)))
			most := big.NewInt(int64(admitted[j] - admitted[i]))
			most.Mul(most, big.NewInt(int64(count)))
			if n.Cmp(most) > 0 {
				t.Fatalf("%d admitted in %v, at %d per %v and burst %d", j-i+1, admitted[j]-admitted[i], count, interval, burst)
			}
		}
	}
}

func TestAfterIsExact(t *testing.T) {
	for _, r := range []*policy.Rate{rate(1000, time.Second), rate(3, time.Second), rate(1, 24*time.Hour), rate(7, 13*ms)} {
		limiter := one(policy.Limit{Name: "x", Rate: r, Burst: 2})
		start := 5 * time.Hour
		for range 2 {
			if _, d := limiter.Admit(CallInfo{}, start); d.Verdict != Run {
				t.Fatalf("%+v: the burst was refused", *r)
			}
		}
		_, d := limiter.Admit(CallInfo{}, start)
		want := (r.Interval + time.Duration(r.Count) - 1) / time.Duration(r.Count)
		if d.Verdict != Refuse || d.After < want || d.After > want+1 || d.Limit == nil || d.Limit.Name != "x" {
			t.Fatalf("%+v: %+v, want to be refused for %v", *r, d, want)
		}
		if _, early := limiter.Admit(CallInfo{}, start+d.After-1); early.Verdict != Refuse || early.After != 1 {
			t.Errorf("%+v: just before the end of the delay: %+v", *r, early)
		}
		if _, due := limiter.Admit(CallInfo{}, start+d.After); due.Verdict != Run {
			t.Errorf("%+v: at the end of the delay: %+v", *r, due)
		}
	}
}

func TestRateAtTheEdges(t *testing.T) {
	tests := []struct {
		name  string
		rate  *policy.Rate
		burst int32
		first bool // admits a call at all
	}{
		{"nothing", rate(0, time.Second), 5, false},
		{"no interval", rate(5, 0), 5, false},
		{"negative", rate(-5, -time.Second), -5, false},
		{"very slow, very large bucket", rate(1, 24*time.Hour), math.MaxInt32, true},
		{"very fast", rate(math.MaxInt32, 1), math.MaxInt32, true},
		{"longest", rate(1, math.MaxInt64), 1, true},
	}
	for _, tt := range tests {
		for _, now := range []time.Duration{-1, 0, time.Hour, math.MaxInt64} {
			limiter := one(policy.Limit{Name: "x", Rate: tt.rate, Burst: tt.burst})
			_, d := limiter.Admit(CallInfo{}, now)
			if (d.Verdict == Run) != tt.first {
				t.Errorf("%s at %v: %+v", tt.name, now, d)
			}
			if d.Verdict == Refuse && d.After <= 0 {
				t.Errorf("%s at %v: advises %v", tt.name, now, d.After)
			}
		}
	}
}

func TestConcurrency(t *testing.T) {
	limiter := one(policy.Limit{Name: "x", MaxConcurrent: 3})
	var running []Ticket
	rng := rand.New(rand.NewPCG(1, 1))
	for range 5000 {
		if rng.IntN(2) == 0 && len(running) > 0 {
			i := rng.IntN(len(running))
			running[i].Done()
			running[i].Done() // a second one does nothing
			running = append(running[:i], running[i+1:]...)
			continue
		}
		ticket, d := limiter.Admit(CallInfo{}, 0)
		if (d.Verdict == Run) != (len(running) < 3) {
			t.Fatalf("with %d running: %+v", len(running), d)
		}
		if d.Verdict == Run {
			running = append(running, ticket)
		} else if ticket.Done(); d.After != SlotAdvice {
			t.Fatalf("advises %v", d.After)
		}
	}
}

// TestRefusedLeavesNothing: a limit that refuses takes back what those before
// it, and itself, had given.
func TestRefusedLeavesNothing(t *testing.T) {
	for _, by := range []policy.By{policy.ByAll, policy.ByCaller} {
		var limits []policy.Limit
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} { // more than a ticket holds inline
			limits = append(limits, policy.Limit{Name: name, By: by, Rate: rate(10, time.Hour), MaxConcurrent: 10})
		}
		limits = append(limits, policy.Limit{Name: "full", By: by, MaxConcurrent: 1})
		limits = append(limits, policy.Limit{Name: "dry", By: by, MaxConcurrent: 100, Rate: rate(4, time.Hour)})
		limiter := New(limits)
		call := CallInfo{Caller: "a/b", Proven: true}
		for i := range 4 {
			ticket, d := limiter.Admit(call, 0)
			if d.Verdict != Run {
				t.Fatalf("%s: call %d: %+v", by, i, d)
			}
			for range 20 {
				if _, d := limiter.Admit(call, 0); d.Verdict != Refuse || d.Limit.Name != "full" {
					t.Fatalf("%s: %+v, want to be refused by full", by, d)
				}
			}
			ticket.Done()
			ticket.Done() // a second one does nothing
		}
		for range 20 {
			if _, d := limiter.Admit(call, 0); d.Verdict != Refuse || d.Limit.Name != "dry" {
				t.Fatalf("%s: %+v, want to be refused by dry", by, d)
			}
		}
		for _, r := range limiter.rules {
			e := &r.counts.shared
			if by == policy.ByCaller {
				e = r.counts.proven.only(t)
			}
			if e.running.Load() != 0 || e.full.Load() != 4*r.counts.cost {
				t.Errorf("%s: %s has %d running and lacks %d ticks of %d", by, r.limit.Name, e.running.Load(), e.full.Load(), r.counts.cost)
			}
		}
	}
}

// only returns the one entry of a table.
func (t *table) only(tb testing.TB) *entry {
	tb.Helper()
	var found *entry
	for i := range t.chains {
		for e := t.chains[i].Load(); e != nil; e = e.next.Load() {
			if found != nil {
				tb.Fatal("more than one entry")
			}
			found = e
		}
	}
	if found == nil {
		tb.Fatal("no entry")
	}
	return found
}

func TestMethods(t *testing.T) {
	limiter := New([]policy.Limit{
		{Name: "writes", Methods: []string{"A.Put", "A.Delete"}, Rate: rate(2, time.Hour)},
		{Name: "put", Methods: []string{"A.Put"}, Rate: rate(1, time.Hour)},
		{Name: "all", Rate: rate(4, time.Hour)},
	})
	steps := []struct{ method, refusedBy string }{
		{"A.Put", ""}, {"A.Put", "put"}, {"A.Delete", ""}, {"A.Delete", "writes"}, {"A.Put", "writes"},
		{"A.Get", ""}, {"A.Other", ""}, {"A.Get", "all"}, {"A.Delete", "writes"},
	}
	for i, s := range steps {
		_, d := limiter.Admit(CallInfo{Method: s.method}, 0)
		got := ""
		if d.Limit != nil {
			got = d.Limit.Name
		}
		if got != s.refusedBy || (d.Verdict == Refuse) != (s.refusedBy != "") {
			t.Errorf("step %d: %s is refused by %q, want %q", i, s.method, got, s.refusedBy)
		}
	}
}

func TestNoLimits(t *testing.T) {
	for _, limiter := range []*Limiter{nil, {}, New(nil), New([]policy.Limit{{Name: "says nothing"}}), (*Limiter)(nil).With(nil)} {
		ticket, d := limiter.Admit(CallInfo{Method: "A.B"}, 0)
		if d != (Decision{}) {
			t.Errorf("%+v", d)
		}
		ticket.Done()
	}
}

func TestWith(t *testing.T) {
	a := policy.Limit{Source: policy.Source{Namespace: "n", Name: "p"}, Name: "a", Rate: rate(1, time.Hour), Methods: []string{"A.B"}}
	call := CallInfo{Method: "A.B"}
	admits := func(l *Limiter) bool {
		_, d := l.Admit(call, 0)
		return d.Verdict == Run
	}
	tests := []struct {
		name   string
		change func(*policy.Limit)
		anew   bool
	}{
		{"nothing", func(*policy.Limit) {}, false},
		{"generation", func(l *policy.Limit) { l.Source.Generation = 7 }, false},
		{"equal rate elsewhere in memory", func(l *policy.Limit) { l.Rate = rate(1, time.Hour) }, false},
		{"name", func(l *policy.Limit) { l.Name = "b" }, true},
		{"policy", func(l *policy.Limit) { l.Source.Name = "q" }, true},
		{"rate", func(l *policy.Limit) { l.Rate = rate(1, 2*time.Hour) }, true},
		{"burst", func(l *policy.Limit) { l.Burst = 1 }, true},
		{"methods", func(l *policy.Limit) { l.Methods = []string{"A.B", "A.C"} }, true},
		{"by", func(l *policy.Limit) { l.By = policy.ByCaller }, true},
		{"names", func(l *policy.Limit) { l.CallerNames = policy.Declared }, true},
		{"concurrency", func(l *policy.Limit) { l.MaxConcurrent = 1 }, true},
		{"no rate", func(l *policy.Limit) { l.Rate, l.MaxConcurrent = nil, 1 }, true},
	}
	for _, tt := range tests {
		before := New([]policy.Limit{a})
		if !admits(before) || admits(before) {
			t.Fatal("the first limiter does not count")
		}
		changed := a
		tt.change(&changed)
		after := before.With([]policy.Limit{{Name: "another", MaxConcurrent: 10}, changed})
		if got := admits(after); got != tt.anew {
			t.Errorf("%s changed: starts anew is %v, want %v", tt.name, got, tt.anew)
		}
		if _, d := after.Admit(call, 0); d.Limit != nil && d.Limit.Source.Generation != changed.Source.Generation {
			t.Errorf("%s changed: a refusal names generation %d", tt.name, d.Limit.Source.Generation)
		}
	}
}

// TestCallsOutliveTheirLimiter: calls are released where they were counted.
func TestCallsOutliveTheirLimiter(t *testing.T) {
	limits := []policy.Limit{{Name: "kept", MaxConcurrent: 2}, {Name: "changed", MaxConcurrent: 2}, {Name: "removed", MaxConcurrent: 2}}
	before := New(limits)
	ticket, _ := before.Admit(CallInfo{}, 0)
	limits[1].MaxConcurrent = 3
	after := before.With(limits[:2])
	second, _ := after.Admit(CallInfo{}, 0)
	if got := after.rules[0].counts.shared.running.Load(); got != 2 {
		t.Errorf("kept limit has %d running, want 2", got)
	}
	if got := after.rules[1].counts.shared.running.Load(); got != 1 {
		t.Errorf("changed limit has %d running, want 1", got)
	}
	ticket.Done()
	second.Done()
	for _, l := range []*Limiter{before, after} {
		for _, r := range l.rules {
			if got := r.counts.shared.running.Load(); got != 0 {
				t.Errorf("%s has %d running after all are done", r.limit.Name, got)
			}
		}
	}
}
