// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/fairlead/fairlead/bench/internal/order"
	"github.com/fairlead/fairlead/bench/internal/peer"
)

// fake is a peer in this process, which answers as answer says.
type fake struct {
	calls  atomic.Int64
	open   atomic.Int64 // callers that were not closed
	answer func(call int64, m *order.Order, b []byte) error
}

func (f *fake) Caller() (peer.Caller, error) {
	f.open.Add(1)
	return fakeCaller{f}, nil
}

func (*fake) Close() error { return nil }

type fakeCaller struct{ *fake }

func (c fakeCaller) Order(_ context.Context, _ peer.Handler, req *order.Order) (*order.Order, error) {
	reply := proto.Clone(req).(*order.Order)
	return reply, c.answer(c.calls.Add(1), reply, nil)
}

func (c fakeCaller) Bytes(_ context.Context, _ peer.Handler, req, _ []byte) ([]byte, error) {
	reply := slices.Clone(req)
	return reply, c.answer(c.calls.Add(1), nil, reply)
}

func (c fakeCaller) Close() error {
	c.open.Add(-1)
	return nil
}

func echo(int64, *order.Order, []byte) error { return nil }

func TestClosedCountsEveryCall(t *testing.T) {
	for _, size := range []int{0, order.Bytes} {
		f := &fake{answer: echo}
		out, err := Closed(t.Context(), Job{Client: f, Bytes: size, Callers: 3, Duration: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if made := f.calls.Load(); out.Calls != made || out.Errors != 0 || int64(out.Latency.Count()) != made {
			t.Errorf("made %d calls; counted %d, %d errors, %d latencies", made, out.Calls, out.Errors, out.Latency.Count())
		}
		if out.InTime < out.Calls-3 || out.Most < 1 || out.Least > out.Most || out.Spent.Mallocs <= 0 {
			t.Errorf("%d of %d calls in time, by caller %d to %d, %d allocations", out.InTime, out.Calls, out.Least, out.Most, out.Spent.Mallocs)
		}
		if f.open.Load() != 0 {
			t.Errorf("%d callers are open", f.open.Load())
		}
	}
}

func TestWrongRepliesAreErrors(t *testing.T) {
	failure := errors.New("refused")
	wrong := map[string]func(call int64, m *order.Order, b []byte) error{
		"an error": func(int64, *order.Order, []byte) error { return failure },
		"a stamp": func(_ int64, m *order.Order, b []byte) error {
			if m != nil {
				m.Stamp++
			} else {
				b[7]++
			}
			return nil
		},
		"a field or byte": func(_ int64, m *order.Order, b []byte) error {
			if m != nil {
				m.Partner = nil
			} else {
				b[len(b)-1]++
			}
			return nil
		},
	}
	for name, answer := range wrong {
		for _, size := range []int{0, order.Bytes} {
			out, err := Closed(t.Context(), Job{Client: &fake{answer: answer}, Bytes: size, Callers: 2, Duration: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			if out.Calls != 0 || out.Errors != 2*giveUp || out.Failure == nil {
				t.Errorf("%s, %d bytes: %d calls, %d errors, the first: %v", name, size, out.Calls, out.Errors, out.Failure)
			}
		}
	}
}

func TestAllOfSomeRepliesIsLookedAt(t *testing.T) {
	spoil := func(_ int64, m *order.Order, b []byte) error {
		if m != nil {
			m.City = "elsewhere"
		} else {
			b[len(b)/2]++
		}
		return nil
	}
	for _, size := range []int{0, order.Bytes} {
		j := Job{Client: &fake{answer: spoil}, Bytes: size}
		c, err := j.Client.Caller()
		if err != nil {
			t.Fatal(err)
		}
		call, failed := j.prepare(c, 1), 0
		for range 2 * thoroughEvery {
			if call(t.Context()) != nil {
				failed++
			}
		}
		if failed != 2 {
			t.Errorf("%d bytes: %d of %d replies were seen to be spoiled, want 2", size, failed, 2*thoroughEvery)
		}
	}
}

func TestPayloadsMustBeAsLong(t *testing.T) {
	sent := make([]byte, 20)
	for _, length := range []int{0, 8, 19, 21} {
		if checkPayload(sent, make([]byte, length), false) == nil {
			t.Errorf("a reply of %d bytes passes for one of %d", length, len(sent))
		}
	}
	if err := checkPayload(sent, make([]byte, 20), true); err != nil {
		t.Error(err)
	}
}

func TestBlockedLeavesBlockersOut(t *testing.T) {
	f := &blocking{fake: fake{answer: echo}}
	out, err := Blocked(t.Context(), Job{Client: f, Callers: 2, Duration: 20 * time.Millisecond}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if f.blocked.Load() == 0 || out.Calls != f.calls.Load() || out.Errors != 0 {
		t.Errorf("%d blocked, %d did not, counted %d with %d errors", f.blocked.Load(), f.calls.Load(), out.Calls, out.Errors)
	}
}

// blocking counts calls of the handler that blocks apart.
type blocking struct {
	fake
	blocked atomic.Int64
}

func (b *blocking) Caller() (peer.Caller, error) { return blockingCaller{fakeCaller{&b.fake}, b}, nil }

type blockingCaller struct {
	fakeCaller
	of *blocking
}

func (c blockingCaller) Order(ctx context.Context, h peer.Handler, req *order.Order) (*order.Order, error) {
	if h == peer.Block {
		c.of.blocked.Add(1)
		return proto.Clone(req).(*order.Order), nil
	}
	return c.fakeCaller.Order(ctx, h, req)
}

func TestOpenCallsAtItsRate(t *testing.T) {
	f := &fake{answer: echo}
	out, _, err := Open(t.Context(), Job{Client: f, Duration: 200 * time.Millisecond}, 1000, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if out.Calls != 200 || out.Errors != 0 || f.calls.Load() != 200 {
		t.Errorf("%d calls and %d errors were counted, %d made; want 200", out.Calls, out.Errors, f.calls.Load())
	}
	if f.open.Load() != 0 {
		t.Errorf("%d callers are open", f.open.Load())
	}
}

func TestOpenTellsTheFirstError(t *testing.T) {
	var once sync.Once
	first, later := errors.New("first"), errors.New("later")
	f := &fake{answer: func(int64, *order.Order, []byte) error {
		err := later
		once.Do(func() { err = first })
		return err
	}}
	out, _, err := Open(t.Context(), Job{Client: f, Duration: 50 * time.Millisecond}, 100, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if out.Calls != 0 || out.Errors != 5 || out.Failure == nil {
		t.Errorf("%d calls, %d errors, the first: %v", out.Calls, out.Errors, out.Failure)
	}
}
