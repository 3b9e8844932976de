// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"net"
	"runtime"
	"sync"

	"github.com/fairlead/fairlead/bench/internal/order"
)

// combiner writes what many goroutines append, in few writes: who finds nobody
// writing writes what is there, and what others append meanwhile.
type combiner struct {
	conn net.Conn

	mu      sync.Mutex
	buf     []byte // appended, not yet written
	writing bool
	err     error // the first failure of a write, for good

	// Invariant: only who set writing touches spare.
	spare []byte
}

func (w *combiner) bytes(h head, payload []byte) error {
	w.mu.Lock()
	w.buf = appendBytes(w.buf, h, payload)
	return w.release()
}

func (w *combiner) order(h head, m *order.Order) error {
	w.mu.Lock()
	var err error
	if w.buf, err = appendOrder(w.buf, h, m); err != nil {
		w.mu.Unlock()
		return err
	}
	return w.release()
}

// release gives the lock back, and writes if nobody else does.
func (w *combiner) release() error {
	if w.writing || w.err != nil {
		err := w.err
		w.mu.Unlock()
		return err
	}
	w.writing = true
	w.mu.Unlock()
	// Others who are ready to run append first, so that one write carries all.
	runtime.Gosched()
	w.mu.Lock()
	for len(w.buf) > 0 && w.err == nil {
		out := w.buf
		w.buf = w.spare[:0]
		w.mu.Unlock()
		_, err := w.conn.Write(out)
		w.spare = out
		w.mu.Lock()
		w.err = err
	}
	w.writing = false
	err := w.err
	w.mu.Unlock()
	return err
}
