// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"errors"
	"testing"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

func TestJudge(t *testing.T) {
	kill := time.Unix(1000, 0)
	at := kill.Add
	limited := status.New(status.ResourceExhausted, "refused").WithFate(status.FateUnexecuted).WithReason("limit")
	lost := status.New(status.Unavailable, "connection reset")
	tests := []struct {
		name         string
		method       string
		err          error
		began, ended time.Time
		killed       time.Time
		want         outcome
	}{
		{"answered", arith.Add, nil, at(-1), at(1), kill, answered},
		{"refused by a limit", arith.Mul, limited, at(-1), at(1), kill, refused},
		{"refused, but some attempt may have run", arith.Mul, limited.WithFate(status.FateUnknown), at(-1), at(1), kill, failed},
		{"exhausted otherwise", arith.Mul, limited.WithReason("window"), at(-1), at(1), kill, failed},
		{"lost at the kill", arith.Add, lost, at(-1), at(1), kill, unknown},
		{"sent before the kernel said so", arith.Add, lost, at(time.Second), at(time.Second + 1), kill, unknown},
		{"lost, though idempotent", arith.Mul, lost, at(-1), at(1), kill, failed},
		{"lost before the kill", arith.Add, lost, at(-2), at(-1), kill, failed},
		{"lost long after the kill", arith.Add, lost, at(time.Minute), at(time.Minute + 1), kill, failed},
		{"lost without a kill", arith.Add, lost, at(-1), at(1), time.Time{}, failed},
		{"known not to have run, and not sent again", arith.Add, lost.WithFate(status.FateUnexecuted), at(-1), at(1), kill, failed},
		{"timed out", arith.Add, status.New(status.DeadlineExceeded, ""), at(-1), at(1), kill, failed},
		{"a wrong answer", arith.Add, errors.New("the answer is 3, want 4"), at(-1), at(1), kill, failed},
	}
	for _, test := range tests {
		got := judge(&endedCall{method: test.method, err: test.err, began: test.began, ended: test.ended}, test.killed)
		if got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

func TestTallyCountsEachCallOnce(t *testing.T) {
	tl := newTally()
	now := time.Unix(1000, 0)
	call := func(id, method string, err error) *endedCall {
		return &endedCall{id: id, method: method, began: now, ended: now.Add(time.Millisecond), server: "a", pid: 7, err: err}
	}
	limited := status.New(status.ResourceExhausted, "refused").WithFate(status.FateUnexecuted).WithReason("limit")
	tl.record(call("mul-1", arith.Mul, nil))
	tl.record(call("add-1", arith.Add, nil))
	tl.record(call("mul-2", arith.Mul, limited))
	tl.limit(true)
	tl.record(call("mul-3", arith.Mul, limited))
	tl.kill(now)
	tl.record(call("add-2", arith.Add, status.New(status.Unavailable, "lost")))
	tl.record(call("mul-4", arith.Mul, errors.New("wrong")))

	want := counts{calls: 6, failed: 1, refused: 2, unknown: 1, mul: 4}
	if got := tl.now(); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	row := tl.takeRow()
	if row.counts != want || row.answers["a"] != 2 || len(row.took) != 6 {
		t.Errorf("row %+v", row)
	}
	if again := tl.takeRow(); again.calls != 0 {
		t.Errorf("the next row has %+v", again.counts)
	}
	if tl.strays != 1 {
		t.Errorf("%d refusals outside of the window, want 1", tl.strays)
	}
	if n := tl.answersOf(7); n != 2 {
		t.Errorf("pid 7 answered %d", n)
	}
	if !tl.allEnded([]string{"add-1", "add-2"}) || tl.allEnded([]string{"add-1", "add-3"}) {
		t.Error("add-1 and add-2 have ended, add-3 has not")
	}
	if o, ok := tl.outcomeOf("add-2"); !ok || o != unknown {
		t.Errorf("add-2: %d, %v", o, ok)
	}
}

func TestQuantile(t *testing.T) {
	ms := func(n ...int) (list []time.Duration) {
		for _, i := range n {
			list = append(list, time.Duration(i)*time.Millisecond)
		}
		return list
	}
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(100-i) * time.Millisecond
	}
	tests := []struct {
		took []time.Duration
		q    float64
		want time.Duration
	}{
		{nil, 0.99, 0},
		{ms(3), 0.5, 3 * time.Millisecond},
		{ms(3, 1, 2), 0.5, 2 * time.Millisecond},
		{hundred, 0.99, 100 * time.Millisecond},
		{hundred, 0.5, 51 * time.Millisecond},
	}
	for _, test := range tests {
		if got := quantile(test.took, test.q); got != test.want {
			t.Errorf("quantile %v of %d: %s, want %s", test.q, len(test.took), got, test.want)
		}
	}
}

func TestDue(t *testing.T) {
	tests := []struct {
		next       int
		elapsed    time.Duration
		first, end int
	}{
		{0, 0, 0, 0},
		{0, 10 * time.Millisecond, 0, 10},
		{10, 10 * time.Millisecond, 10, 10},
		{10, 15 * time.Millisecond, 10, 15},
		{10, maxLag, 10, 5000},
		{10, maxLag + time.Second, 1000, 6000}, // 990 are too late to be made
		{6000, maxLag + time.Second, 6000, 6000},
	}
	for _, test := range tests {
		first, end := due(test.next, 1000, test.elapsed)
		if end > test.next && (dueAt(end-1, 1000) > test.elapsed || dueAt(end, 1000) <= test.elapsed) {
			t.Errorf("at %s call %d is the latest that is due, and dueAt says %s", test.elapsed, end-1, dueAt(end-1, 1000))
		}
		if first != test.first || end != test.end {
			t.Errorf("due(%d, %s) = %d, %d; want %d, %d", test.next, test.elapsed, first, end, test.first, test.end)
		}
	}
}
