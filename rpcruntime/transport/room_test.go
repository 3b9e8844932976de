// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fullWriter is a writer whose buffer is full, and whose data nobody writes.
func fullWriter() *writer {
	return &writer{writing: &writing{data: make([]byte, 2*roomOfOne)}, cfg: &Config{WriteBuffer: 2 * roomOfOne, Counters: new(Counters)}, busy: true}
}

// drained takes out what waits, as a write does.
func (w *writer) drained() {
	w.mu.Lock()
	w.data = nil
	w.makeSpaceLocked()
	w.mu.Unlock()
}

func TestRoomIsGivenInTheOrderOfComing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fullWriter()
		var got []int
		var all sync.WaitGroup
		for i := range 9 {
			all.Go(func() {
				if err := w.admit(t.Context(), time.Time{}); err != nil {
					t.Error(err)
					return
				}
				got = append(got, i)
				w.data = append(w.data, make([]byte, roomOfOne)...)
				w.mu.Unlock()
			})
			synctest.Wait()
		}
		for n := 0; n < 9; {
			w.drained()
			synctest.Wait()
			came := len(got) - n
			if n += came; came != min(2, 9-n+came) {
				t.Fatalf("%d came into room for two", came)
			}
		}
		all.Wait()
		for i := range got {
			got[i] /= 2 // two are called at once
		}
		if !slices.IsSorted(got) || w.held != 0 || w.queue != nil {
			t.Errorf("came as %v; held %d, queue %v", got, w.held, w.queue)
		}
	})
}

// Whoever comes when others wait does not pass them, though there is room.
func TestRoomIsHeldForThoseWhoWereCalled(t *testing.T) {
	w := fullWriter()
	first := &waiter{called: make(chan struct{}, 1)}
	w.queue = []*waiter{first, {called: make(chan struct{}, 1)}, {called: make(chan struct{}, 1)}}
	w.drained()
	if len(w.queue) != 1 || w.held != 2*roomOfOne || w.fitsLocked() {
		t.Errorf("%d wait, %d held", len(w.queue), w.held)
	}
}

// Somebody appended less than was held for them: the rest is not the next comer's.
func TestRoomIsNotTakenFromThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fullWriter()
		w.data = nil
		w.queue = []*waiter{{called: make(chan struct{}, 1)}}
		ended := make(chan error, 1)
		go func() { ended <- w.admit(t.Context(), time.Time{}) }()
		synctest.Wait()
		if w.mu.Lock(); len(w.queue) != 2 {
			t.Errorf("%d wait", len(w.queue))
		}
		w.mu.Unlock()
		w.close(errClosed)
		<-ended
	})
}

func TestRoomOfThoseWhoLeaveIsTheNextOnes(t *testing.T) {
	for _, calledFirst := range []bool{false, true} {
		t.Run(fmt.Sprint("called first ", calledFirst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := fullWriter()
				w.cfg.WriteBuffer = 1 // room for one at a time
				ctx, cancel := context.WithCancel(t.Context())
				left, came := make(chan error, 1), make(chan error, 1)
				go func() { left <- w.admit(ctx, time.Time{}) }()
				synctest.Wait()
				go func() { came <- w.admit(t.Context(), time.Now().Add(time.Minute)) }()
				synctest.Wait()
				if calledFirst { // both at once: whichever it sees, nobody may be stuck
					w.mu.Lock()
					w.data = nil
					cancel()
					w.callLocked()
					w.mu.Unlock()
					if err := <-left; err == nil {
						w.data = nil
						w.makeSpaceLocked()
						w.mu.Unlock()
					}
				} else {
					cancel()
					if err := <-left; err == nil {
						t.Fatal("no error")
					}
					w.drained()
				}
				if err := <-came; err != nil {
					t.Fatal(err)
				}
				if w.held != 0 || len(w.queue) > 0 {
					t.Errorf("held %d, %d wait", w.held, len(w.queue))
				}
				w.mu.Unlock()
			})
		})
	}
}

func TestRoomAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fullWriter()
		errs := make(chan error, 3)
		for range 3 {
			go func() { errs <- w.admit(t.Context(), time.Time{}) }()
		}
		synctest.Wait()
		w.close(errClosed)
		for range 3 {
			if err := <-errs; err != errClosed { //nolint:errorlint // the very one
				t.Error(err)
			}
		}
		if err := w.admit(t.Context(), time.Time{}); err != errClosed { //nolint:errorlint // the very one
			t.Error(err)
		}
		if w.held != 0 || len(w.queue) > 0 {
			t.Errorf("held %d, %d wait", w.held, len(w.queue))
		}
	})
}

// Who fills a batch writes it in the place of one who lets others append first.
func TestFullBatchIsWrittenAtOnce(t *testing.T) {
	c, _, _ := connect(t, newCallee(), Config{}, Config{})
	if _, err := echo(t.Context(), c, "first"); err != nil {
		t.Fatal(err)
	}
	c.w.settle()
	c.w.mu.Lock()
	c.w.busy, c.w.yielding = true, true // somebody yields, and does not come back
	c.w.wakeLocked()
	c.w.mu.Unlock()
	small := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "small")
		small <- err
	}()
	if _, err := echo(t.Context(), c, strings.Repeat("x", fullBatch)); err != nil {
		t.Fatal(err)
	}
	if err := <-small; err != nil {
		t.Fatal(err)
	}
}
