// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import "sync/atomic"

// latch is something that happens once, for others to wait for. It makes a channel
// only when somebody asks for one: most connections are idle, and a channel weighs
// as much as twelve of these. The zero latch has not happened.
//
// Safe for concurrent use.
type latch struct {
	// ch is nil while nobody asked, and &happened once it has.
	ch atomic.Pointer[chan struct{}]
}

// happened stands for every latch that has.
var happened = func() chan struct{} { // constant
	ch := make(chan struct{})
	close(ch)
	return ch
}()

// fire makes it happen; again does nothing.
func (l *latch) fire() {
	if ch := l.ch.Swap(&happened); ch != nil && ch != &happened {
		close(*ch)
	}
}

// done returns a channel that is closed once it has happened.
func (l *latch) done() <-chan struct{} {
	if ch := l.ch.Load(); ch != nil {
		return *ch
	}
	ch := make(chan struct{})
	l.ch.CompareAndSwap(nil, &ch) // else somebody else asked, or it happened
	return *l.ch.Load()
}

// fired reports whether it has happened.
func (l *latch) fired() bool { return l.ch.Load() == &happened }
