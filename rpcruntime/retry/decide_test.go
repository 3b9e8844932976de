// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package retry

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

const ms = time.Millisecond

// rules are those of most tests; attempt is the first failed attempt of an
// idempotent call with everything to spare.
var rules = Rules{FailMode: policy.Failover, Attempts: 3, Backoff: policy.Backoff{Base: 10 * ms, Max: 100 * ms}}

func attempt(err *status.Error) Attempt {
	return Attempt{Err: err, Made: 1, Idempotent: true, Untried: true, Remaining: time.Second}
}

func failed(code status.Code, fate status.Fate) *status.Error {
	return status.New(code, "x").WithFate(fate)
}

// ample has room for n retries.
func ample(n int32) *Budget {
	return NewBudget(policy.Budget{}, policy.Rate{Count: n, Interval: time.Hour})
}

func taken(b *Budget) int64 { return b.extra.sum(0) + b.paid.sum(0) }

func TestDecide(t *testing.T) {
	lost := failed(status.Unavailable, status.FateUnknown)
	unexecuted := failed(status.Unavailable, status.FateUnexecuted)
	refused := failed(status.ResourceExhausted, status.FateUnexecuted).WithRetryAfter(time.Hour)
	answered := failed(status.Unavailable, status.FateExecuted)
	with := func(err *status.Error, change func(*Attempt)) Attempt {
		a := attempt(err)
		change(&a)
		return a
	}
	notIdempotent := func(a *Attempt) { a.Idempotent = false }
	notTaken := func(a *Attempt) { a.NotTaken = true }
	const most = math.MaxUint64 // the longest delay that jitter can give

	free := Decision{Retry: true, Free: true, AllowTried: true, Reason: Resent}
	tests := []struct {
		name string
		r    Rules
		a    Attempt
		want Decision
	}{
		{"connection lost", rules, attempt(lost), Decision{Retry: true, Delay: 10 * ms, Reason: Unknown}},
		{"connection lost, not idempotent", rules, with(lost, notIdempotent), stop(StopUnsafe)},
		{"attempt timed out", rules, attempt(failed(status.DeadlineExceeded, status.FateUnknown)), Decision{Retry: true, Delay: 10 * ms, Reason: Unknown}},
		{"unexecuted, not idempotent", rules, with(unexecuted, notIdempotent), Decision{Retry: true, Delay: 10 * ms, Reason: Unexecuted}},
		{"unknown method", rules, attempt(failed(status.Unimplemented, status.FateUnexecuted)), stop(StopError)},
		{"not authenticated", rules, attempt(failed(status.Unauthenticated, status.FateUnexecuted)), stop(StopError)},
		{"application's error", rules, attempt(failed(status.NotFound, status.FateExecuted)), stop(StopError)},
		{"application aborted", rules, attempt(failed(status.Aborted, status.FateExecuted)), stop(StopError)},
		{"application out of a resource", rules, attempt(failed(status.ResourceExhausted, status.FateExecuted)), stop(StopError)},
		{"application unavailable", rules, attempt(answered), Decision{Retry: true, Delay: 10 * ms, Reason: Unavailable}},
		{"application unavailable, not idempotent", rules, with(answered, notIdempotent), stop(StopUnsafe)},
		{"advice of the application", rules, attempt(answered.WithRetryAfter(300 * ms)), Decision{Retry: true, Delay: 300 * ms, Reason: Unavailable}},
		{"answered never", rules, attempt(answered.WithNoRetry()), stop(StopNever)},
		{"unexecuted, but never", rules, with(unexecuted.WithNoRetry(), notTaken), stop(StopNever)},
		{"canceled", rules, attempt(failed(status.Canceled, status.FateUnexecuted)), stop(StopCaller)},
		{"caller is gone", rules, with(unexecuted, func(a *Attempt) { a.CallerDone, a.NotTaken = true, true }), stop(StopCaller)},
		{"deadline has passed", rules, with(unexecuted, func(a *Attempt) { a.Remaining, a.NotTaken = 0, true }), stop(StopDeadline)},
		{"deadline within the delay", rules, with(lost, func(a *Attempt) { a.Remaining = 10 * ms }), stop(StopDeadline)},
		{"deadline just after the delay", rules, with(lost, func(a *Attempt) { a.Remaining = 10*ms + 1 }), Decision{Retry: true, Delay: 10 * ms, Reason: Unknown}},
		{"no deadline", rules, with(lost, func(a *Attempt) { a.Remaining = NoDeadline }), Decision{Retry: true, Delay: 10 * ms, Reason: Unknown}},
		{"second retry waits longer", rules, with(lost, func(a *Attempt) { a.Made = 2 }), Decision{Retry: true, Delay: 20 * ms, Reason: Unknown}},
		{"last attempt", rules, with(lost, func(a *Attempt) { a.Made = 3 }), stop(StopAttempts)},
		{"all endpoints tried", rules, with(lost, func(a *Attempt) { a.Untried = false }), stop(StopEndpoints)},
		{"failfast", Rules{FailMode: policy.Failfast, Attempts: 3}, attempt(lost), stop(StopAttempts)},
		{"zero rules", Rules{}, attempt(lost), stop(StopAttempts)},
		{"refused by a limit", rules, attempt(refused), Decision{Retry: true, Reason: Refused}},
		{"refused, never free", rules, with(refused, notTaken), Decision{Retry: true, Reason: Refused}},
		{"refused everywhere", rules, with(refused, func(a *Attempt) { a.Untried = false }), stop(StopEndpoints)},
		{"not taken", rules, with(unexecuted, notTaken), free},
		{"not taken, not idempotent", rules, with(unexecuted, func(a *Attempt) { a.NotTaken, a.Idempotent = true, false }), free},
		{"not taken, whatever the code", rules, with(failed(status.FailedPrecondition, status.FateUnexecuted), notTaken), free},
		{"not taken, failfast", Rules{FailMode: policy.Failfast}, with(unexecuted, notTaken), free},
		{"not taken, last attempt", rules, with(unexecuted, func(a *Attempt) { a.NotTaken, a.Made = true, 3 }), free},
		{"not taken, all endpoints tried", rules, with(unexecuted, func(a *Attempt) { a.NotTaken, a.Untried = true, false }), free},
		{"not taken again", rules, with(unexecuted, func(a *Attempt) { a.NotTaken, a.FreeUsed = true, true }), Decision{Retry: true, Delay: 10 * ms, Reason: Unexecuted}},
		{"not taken again, failfast", Rules{FailMode: policy.Failfast}, with(unexecuted, func(a *Attempt) { a.NotTaken, a.FreeUsed = true, true }), stop(StopAttempts)},
		{"claimed not taken, but unknown", rules, with(lost, func(a *Attempt) { a.NotTaken, a.Idempotent = true, false }), stop(StopUnsafe)},
		{"no error", rules, attempt(nil), stop(StopError)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := ample(1)
			if got := Decide(tt.r, tt.a, b, 0, most); got != tt.want {
				t.Errorf("got %+v (%v), want %+v (%v)", got, got.Reason, tt.want, tt.want.Reason)
			}
			wantTaken := int64(0)
			if tt.want.Retry && !tt.want.Free {
				wantTaken = 1
			}
			if got := taken(b); got != wantTaken {
				t.Errorf("took %d from the budget, want %d", got, wantTaken)
			}
			if wantTaken == 0 {
				return
			}
			for _, none := range []*Budget{nil, ample(0), b} {
				if got := Decide(tt.r, tt.a, none, 0, most); got != stop(StopBudget) {
					t.Errorf("without budget: got %+v", got)
				}
			}
		})
	}
}

// TestDecideInvariants walks random attempts, of every code and fate.
func TestDecideInvariants(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	yes := func() bool { return rng.IntN(2) == 0 }
	retried := 0
	for range 50_000 {
		err := failed(status.Code(1+rng.IntN(16)), status.Fate(rng.IntN(3)))
		if rng.IntN(8) == 0 {
			err = err.WithNoRetry()
		}
		if rng.IntN(4) == 0 {
			err = err.WithRetryAfter(time.Duration(rng.IntN(2000)) * ms)
		}
		a := Attempt{
			Err: err, Made: 1 + rng.IntN(4), Idempotent: yes(), CallerDone: rng.IntN(8) == 0, NotTaken: yes(),
			FreeUsed: yes(), Untried: yes(), Remaining: time.Duration(rng.IntN(2000)-100) * ms,
		}
		r := rules
		if yes() {
			r.FailMode = policy.Failfast
		}
		b := ample(int32(rng.IntN(2)))
		room := b.Room(0)
		d := Decide(r, a, b, 0, rng.Uint64())
		if d.Retry == d.Reason.stops() {
			t.Fatalf("%+v: %v does not fit", d, d.Reason)
		}
		if taken(b) != 0 && (!d.Retry || d.Free) {
			t.Fatalf("%+v took from the budget", d)
		}
		if !d.Retry {
			if d.Free || d.AllowTried || d.Delay != 0 {
				t.Fatalf("%+v stops and goes on", d)
			}
			continue
		}
		retried++
		if err.Fate() != status.FateUnexecuted && !a.Idempotent {
			t.Fatalf("%+v after %v (%v): may run twice", d, err, err.Fate())
		}
		if a.CallerDone || err.NoRetry() || d.Delay >= a.Remaining {
			t.Fatalf("%+v after %+v", d, a)
		}
		if d.Free && (a.FreeUsed || !a.NotTaken || err.Code() == status.ResourceExhausted || d.Delay != 0) {
			t.Fatalf("%+v after %+v is free", d, a)
		}
		if !d.Free && (!room || taken(b) != 1 || !a.Untried || r.FailMode == policy.Failfast || a.Made >= r.Attempts) {
			t.Fatalf("%+v after %+v", d, a)
		}
	}
	if retried < 1000 {
		t.Fatalf("only %d retries: the test shows little", retried)
	}
}

func TestBackoff(t *testing.T) {
	tests := []struct {
		b     policy.Backoff
		made  int
		bound time.Duration
	}{
		{policy.Backoff{Base: 10 * ms, Max: time.Second}, 1, 10 * ms},
		{policy.Backoff{Base: 10 * ms, Max: time.Second}, 4, 80 * ms},
		{policy.Backoff{Base: 10 * ms, Max: time.Second}, 8, time.Second},
		{policy.Backoff{Base: 10 * ms, Max: time.Second}, 1000, time.Second},
		{policy.Backoff{Base: time.Second, Max: 10 * ms}, 1, 10 * ms},
		{policy.Backoff{Base: 1, Max: math.MaxInt64}, 1000, math.MaxInt64},
		{policy.Backoff{}, 5, 0},
	}
	for _, tt := range tests {
		if got := backoff(tt.b, tt.made, math.MaxUint64); got != tt.bound {
			t.Errorf("%+v after %d: longest delay %v, want %v", tt.b, tt.made, got, tt.bound)
		}
		if got := backoff(tt.b, tt.made, 0); got != 0 {
			t.Errorf("%+v after %d: shortest delay %v, want 0", tt.b, tt.made, got)
		}
		if got := backoff(tt.b, tt.made, 1<<63); got < tt.bound/2-1 || got > tt.bound/2+1 {
			t.Errorf("%+v after %d: middle delay %v, want %v", tt.b, tt.made, got, tt.bound/2)
		}
	}
}

func TestAttemptTimeout(t *testing.T) {
	const perTry, remaining = 100 * ms, 300 * ms
	r := rules
	r.PerTryTimeout = perTry
	next := NextAttempt{Number: 1, Idempotent: true, OtherUntried: true, Remaining: remaining}
	tests := []struct {
		name   string
		change func(*Rules, *NextAttempt)
		budget *Budget
		want   time.Duration
	}{
		{"another is possible", func(*Rules, *NextAttempt) {}, ample(1), perTry},
		{"no per-try timeout", func(r *Rules, _ *NextAttempt) { r.PerTryTimeout = 0 }, ample(1), remaining},
		{"less remains", func(_ *Rules, n *NextAttempt) { n.Remaining = 50 * ms }, ample(1), 50 * ms},
		{"no deadline", func(_ *Rules, n *NextAttempt) { n.Remaining = NoDeadline }, ample(1), perTry},
		{"not idempotent", func(_ *Rules, n *NextAttempt) { n.Idempotent = false }, ample(1), remaining},
		{"last attempt", func(_ *Rules, n *NextAttempt) { n.Number = 3 }, ample(1), remaining},
		{"failfast", func(r *Rules, _ *NextAttempt) { r.FailMode = policy.Failfast }, ample(1), remaining},
		{"no other endpoint", func(_ *Rules, n *NextAttempt) { n.OtherUntried = false }, ample(1), remaining},
		{"no budget", func(*Rules, *NextAttempt) {}, ample(0), remaining},
		{"nil budget", func(*Rules, *NextAttempt) {}, nil, remaining},
	}
	for _, tt := range tests {
		r, n := r, next
		tt.change(&r, &n)
		if got := AttemptTimeout(r, n, tt.budget, 0); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestReasonNamesAreDistinct(t *testing.T) {
	seen := map[string]Reason{}
	for r := range Reason(255) {
		name := r.String()
		if other, ok := seen[name]; ok && name != "invalid" {
			t.Errorf("%d and %d are both called %s", other, r, name)
		}
		seen[name] = r
	}
	if len(seen) != 13+1 {
		t.Errorf("%d names: %v", len(seen), seen)
	}
}

func TestSaysNever(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want bool
	}{
		{"nil", nil, false},
		{"not a call's error", errTest, false},
		{"connection lost", failed(status.Unavailable, status.FateUnknown), true},
		{"timed out", failed(status.DeadlineExceeded, status.FateUnknown), true},
		{"never sent", failed(status.Unavailable, status.FateUnexecuted), true},
		{"refused by a limit", failed(status.ResourceExhausted, status.FateUnexecuted), true},
		{"answered unavailable", failed(status.Unavailable, status.FateExecuted), true},
		{"answered never", failed(status.Aborted, status.FateExecuted).WithNoRetry(), true},
		{"application's answer", failed(status.NotFound, status.FateExecuted), false},
		{"aborted, for a higher level", failed(status.Aborted, status.FateExecuted), false},
	}
	for _, tt := range tests {
		for _, err := range []error{tt.err, wrap(tt.err)} {
			if got := SaysNever(err); got != tt.want {
				t.Errorf("%s (%v): %v, want %v", tt.name, err, got, tt.want)
			}
		}
	}
}

// TestChainRetriesOnce: three hops, a leaf that is always unavailable. Only the
// hop above the leaf retries.
func TestChainRetriesOnce(t *testing.T) {
	leaf := 0
	var call func(depth int) *status.Error
	call = func(depth int) *status.Error {
		if depth == 0 {
			leaf++
			return failed(status.Unavailable, status.FateExecuted)
		}
		b := ample(100)
		for made := 1; ; made++ {
			err := call(depth - 1)
			a := attempt(err)
			a.Made = made
			if d := Decide(rules, a, b, 0, 0); d.Retry {
				continue
			}
			answer := status.New(err.Code(), err.Message()).WithFate(status.FateExecuted)
			if SaysNever(err) {
				answer = answer.WithNoRetry()
			}
			return answer
		}
	}
	call(3)
	if leaf != rules.Attempts {
		t.Errorf("the leaf was called %d times, want %d", leaf, rules.Attempts)
	}
}
