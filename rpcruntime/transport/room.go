// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"slices"
	"time"
)

// waiters are the goroutines that wait for room in the buffer, in the order in
// which they came. Waking all of them at each write, for the quickest to win, was
// tried: with large messages callers waited some ten times each, and some were
// served four times as often as others.
//
// Guarded by the writer's mu.
type waiters struct {
	// queue are those that wait. Invariant: empty once the writer is closed.
	queue []*waiter
	// held is the room of those that were called and have not come yet.
	held int
}

// waiter waits for room in the buffer.
type waiter struct {
	called chan struct{} // capacity 1; gets a value with the room
	has    bool
}

// roomOfOne is the room that one waiter is called for: what it will append is not
// known to the writer, and more than this goes by reference mostly. Bytes.
const roomOfOne = byReference

// admit waits until there is room for data, and returns with mu held and nil,
// or without mu and the reason. A nil ctx and zero deadline wait as long as the
// connection lives, which the write timeout bounds.
func (w *writer) admit(ctx context.Context, deadline time.Time) error {
	w.mu.Lock()
	if w.closed == nil && len(w.queue) == 0 && w.fitsLocked() {
		return nil
	}
	err := w.closed
	if err == nil {
		err = w.queueUp(ctx, deadline)
	}
	if err != nil {
		w.mu.Unlock()
	}
	return err
}

// queueUp waits for room. It is called, and returns, with mu held.
func (w *writer) queueUp(ctx context.Context, deadline time.Time) (err error) {
	me := &waiter{called: make(chan struct{}, 1)}
	w.queue = append(w.queue, me)
	w.mu.Unlock()
	w.cfg.Counters.WriteWaits.Add(1)
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-me.called:
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout:
		err = context.DeadlineExceeded
	}
	w.mu.Lock()
	if me.has {
		w.held -= roomOfOne
	} else if i := slices.Index(w.queue, me); i >= 0 {
		w.queue = slices.Delete(w.queue, i, i+1)
	}
	if err == nil {
		err = w.closed
	}
	if err != nil {
		w.callLocked() // the room is the next one's
	}
	return err
}

// fitsLocked reports whether one more may append.
func (w *writer) fitsLocked() bool { return w.waiting()+w.held < w.cfg.WriteBuffer }

// callLocked calls as many as there is room for; all of them once no room will be.
func (w *writer) callLocked() {
	for len(w.queue) > 0 && (w.closed != nil || w.fitsLocked()) {
		next := w.queue[0]
		w.queue = w.queue[1:]
		next.has = true
		w.held += roomOfOne
		next.called <- struct{}{}
	}
	if len(w.queue) == 0 {
		w.queue = nil
	}
}
