// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"sync"
	"time"
)

// keepIdle is how many goroutines wait for work between calls.
const keepIdle = 256

// workers runs handlers on reused goroutines, the last to finish first, so that
// grown stacks are used again. How many run is bounded by Admit, not here.
type workers struct {
	mu     sync.Mutex
	idle   []chan *task // of capacity 1
	closed bool
	all    sync.WaitGroup
}

// run hands t to a goroutine. It does not block.
func (w *workers) run(t *task) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		next <- t
		return
	}
	w.all.Add(1)
	w.mu.Unlock()
	go w.work(t)
}

func (w *workers) work(t *task) {
	defer w.all.Done()
	mine := make(chan *task, 1)
	for {
		t.serve()
		w.mu.Lock()
		if w.closed || len(w.idle) >= keepIdle {
			w.mu.Unlock()
			return
		}
		w.idle = append(w.idle, mine)
		w.mu.Unlock()
		var ok bool
		if t, ok = <-mine; !ok {
			return
		}
	}
}

// close ends the idle goroutines and waits for the busy ones, at most d; it
// reports whether all have ended.
func (w *workers) close(d time.Duration) bool {
	w.mu.Lock()
	w.closed = true
	for _, ch := range w.idle {
		close(ch)
	}
	w.idle = nil
	w.mu.Unlock()
	return waitFor(&w.all, d)
}
