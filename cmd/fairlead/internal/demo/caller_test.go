// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// A call is judged alike on both sides of the pipe, however the pipe cuts it.
func TestCallsSurviveThePipe(t *testing.T) {
	began := time.Now()
	errs := []error{
		nil,
		errors.New("the answer is 3, want 4"),
		status.New(status.DeadlineExceeded, "late"),
		status.New(status.Unavailable, "lost"),
		status.New(status.Unavailable, "never sent").WithFate(status.FateUnexecuted),
		status.New(status.ResourceExhausted, "refused").WithFate(status.FateUnexecuted).WithReason("limit"),
		status.New(status.ResourceExhausted, "full").WithFate(status.FateUnexecuted).WithReason("window"),
		fmt.Errorf("wrapped: %w", status.New(status.Unavailable, "lost")),
	}
	var pipe bytes.Buffer
	out := newReporter(&pipe)
	var want []outcome
	for i, err := range errs {
		c := &endedCall{id: fmt.Sprint("add-", i), method: arith.Add, began: began, ended: began.Add(time.Second), server: "a", pid: 7, err: err}
		out.send(&news{Call: newCallNews(c)})
		want = append(want, judge(c, began))
	}
	out.send(&news{Pulse: &pulse{Digest: "5b56bb4c", Ready: 3, Missed: 2, Late: int64(time.Second)}})
	out.flush()
	if out.err != nil {
		t.Fatal(out.err)
	}
	for _, size := range []int{1, 7, pipe.Len()} {
		tl := newTally()
		tl.kill(began)
		c := newCaller(tl, time.Second)
		for text := pipe.Bytes(); len(text) > 0; {
			n := min(size, len(text))
			if _, err := c.Write(text[:n]); err != nil {
				t.Fatal(err)
			}
			text = text[n:]
		}
		for i := range want {
			if got, ok := tl.outcomeOf(fmt.Sprint("add-", i)); !ok || got != want[i] {
				t.Errorf("%v: %d, %v; want %d", errs[i], got, ok, want[i])
			}
		}
		if tl.answersOf(7) != 1 || tl.took[0] != time.Second {
			t.Errorf("pid 7 answered %d, the first within %s", tl.answersOf(7), tl.took[0])
		}
		if !c.allReady() || c.digest() != "5b56bb4c" || c.pulse().Missed != 2 {
			t.Errorf("%+v", c.pulse())
		}
	}
	if _, err := newCaller(newTally(), time.Second).Write([]byte("panic: no news\n")); err == nil {
		t.Error("a line that is no news was taken")
	}
}

// A load that falls behind is known by what it says, and by its silence.
func TestLateness(t *testing.T) {
	c := newCaller(newTally(), time.Second)
	for _, late := range []time.Duration{3 * time.Millisecond, 300 * time.Millisecond, time.Millisecond} {
		c.take(&news{Pulse: &pulse{Late: int64(late)}})
	}
	if got := c.lateness(c.heard); got != 300*time.Millisecond {
		t.Errorf("%s after calls that were 300ms late", got)
	}
	c.resetLateness()
	if got := c.lateness(c.heard.Add(40 * time.Millisecond)); got != 40*time.Millisecond {
		t.Errorf("%s after 40ms of silence", got)
	}
}

func TestMeasured(t *testing.T) {
	tests := []struct {
		name string
		m    measured
		good bool
	}{
		{"as many as there should be", measured{4 * time.Second, 4800, 2400, 600}, true},
		{"a tenth too few", measured{4 * time.Second, 4800, 2160, 600}, true},
		{"more than a tenth too few", measured{4 * time.Second, 4800, 2159, 600}, false},
		{"more than a tenth too many", measured{4 * time.Second, 4800, 2641, 600}, false},
		{"a window that took longer", measured{5 * time.Second, 4800, 2400, 600}, false},
		{"no limit", measured{4 * time.Second, 4800, 0, 600}, false},
		{"no load", measured{4 * time.Second, 2000, 0, 600}, false},
	}
	for _, test := range tests {
		if got := test.m.good(); got != test.good {
			t.Errorf("%s: %v: %s", test.name, got, test.m)
		}
	}
}
