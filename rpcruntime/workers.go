// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"slices"
	"sync"
	"time"
)

const (
	// keepIdle is how many goroutines wait for work however long none comes.
	keepIdle = 256
	// trimEvery is how often those beyond it that nobody needed are let go.
	trimEvery = time.Second
)

// workers runs handlers on reused goroutines, the last to finish first, so that
// grown stacks are used again. How many run is bounded by Admit, not here.
//
// Under load as many are kept as the load needs: a new one costs more than most
// handlers, for its stack has to grow.
type workers struct {
	mu     sync.Mutex
	idle   []chan *task // of capacity 1; the last one to come at the end
	closed bool
	all    sync.WaitGroup
	// least is the fewest that were idle at a time since the last trim: so many
	// nobody needed. Kept only while trimmer stands.
	least int
	// trimmer stands while more than keepIdle are idle, and until it has looked
	// again; else nil.
	trimmer *time.Timer
}

// run hands t to a goroutine. It does not block.
func (w *workers) run(t *task) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.least = min(w.least, n-1)
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
		if !w.rest(mine) {
			return
		}
		var ok bool
		if t, ok = <-mine; !ok {
			return
		}
	}
}

// rest makes a goroutine wait for work, unless there will be none.
func (w *workers) rest(mine chan *task) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.idle = append(w.idle, mine)
	if w.trimmer == nil && len(w.idle) > keepIdle {
		w.least = 0
		w.trimmer = time.AfterFunc(trimEvery, w.trim)
	}
	return true
}

// trim lets go of the goroutines that were idle all the time since the last trim.
func (w *workers) trim() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	n := max(0, min(w.least, len(w.idle)-keepIdle))
	for _, ch := range w.idle[:n] { // those that waited longest
		close(ch)
	}
	w.idle = slices.Delete(w.idle, 0, n)
	w.least, w.trimmer = len(w.idle), nil
	if len(w.idle) > keepIdle {
		w.trimmer = time.AfterFunc(trimEvery, w.trim)
	}
}

// close ends the idle goroutines and waits for the busy ones, at most d; it
// reports whether all have ended.
func (w *workers) close(d time.Duration) bool {
	w.mu.Lock()
	w.closed = true
	if w.trimmer != nil {
		w.trimmer.Stop()
	}
	for _, ch := range w.idle {
		close(ch)
	}
	w.idle = nil
	w.mu.Unlock()
	return waitFor(&w.all, d)
}
