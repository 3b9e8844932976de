// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wheel

import (
	"math"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// resolution is the length of a tick.
const resolution = time.Millisecond

// never is a tick that does not come.
const never = math.MaxInt64

// maxShards bounds the memory of a wheel, some 3 KiB per shard.
const maxShards = 16

// Expirer is what a Timer is the deadline of. It is an interface and not a
// function, for a bound method would cost an allocation per owner.
type Expirer interface {
	// Expire is called when the deadline passes.
	Expire()
}

// Timer is one deadline, embedded in what it is the deadline of. It stands on
// one wheel at a time.
type Timer struct {
	owner Expirer
	// shard is where the timer stands, or stood last.
	shard *shard

	// The rest is guarded by shard.mu.

	next, prev *Timer
	tick       int64
	// Invariant: the timer is linked in shard.slots[level][slot] exactly if set.
	set         bool
	level, slot uint8
}

// Init sets whose deadline it is. It must be called once, before the first
// Schedule.
func (t *Timer) Init(owner Expirer) { t.owner = owner }

// Wheel is a timing wheel: sharded, so that calls do not share a lock, and
// hierarchical, so that a far deadline costs as little as a near one.
//
// The runtime's own timers would do the same with an allocation, or a Reset
// under the lock of a heap, per call; a wheel links and unlinks.
type Wheel struct {
	start  time.Time
	shards []*shard
	// assigned counts the timers that were given a shard.
	assigned atomic.Uint32
	// wakeAt is the tick that the goroutine sleeps until. Whoever schedules an
	// earlier one lowers it and sends to wake.
	wakeAt  atomic.Int64
	wake    chan struct{} // never closed; holds one wake-up
	closing chan struct{} // closed by the first Close
	done    chan struct{} // closed by the goroutine when it returns
	once    sync.Once
}

// New returns a wheel whose goroutine runs until Close.
func New() *Wheel {
	w := newWheel()
	go w.run()
	return w
}

func newWheel() *Wheel {
	w := &Wheel{
		start:   time.Now(),
		wake:    make(chan struct{}, 1),
		closing: make(chan struct{}),
		done:    make(chan struct{}),
	}
	for n := 1 << bits.Len(uint(runtime.GOMAXPROCS(0)-1)); len(w.shards) < min(n, maxShards); {
		w.shards = append(w.shards, &shard{wheel: w})
	}
	w.wakeAt.Store(never)
	return w
}

// Close ends the wheel's goroutine and waits for it. Timers that are set do not
// fire any more, nor do those that are scheduled later.
func (w *Wheel) Close() {
	w.once.Do(func() { close(w.closing) })
	<-w.done
}

// Schedule makes t fire at the given time, or at once if it has passed. A timer
// that is set already is set anew.
func (w *Wheel) Schedule(t *Timer, at time.Time) {
	if t.shard == nil || t.shard.wheel != w {
		w.Stop(t) // it may stand on another wheel
		t.shard = w.shards[int(w.assigned.Add(1))&(len(w.shards)-1)]
	}
	tick := w.tick(at)
	t.shard.mu.Lock()
	if t.set {
		t.shard.remove(t)
	}
	t.tick = tick
	t.shard.insert(t)
	t.shard.mu.Unlock()
	for {
		until := w.wakeAt.Load()
		if tick >= until {
			return
		}
		if w.wakeAt.CompareAndSwap(until, tick) {
			break
		}
	}
	select {
	case w.wake <- struct{}{}:
	default: // one is on its way
	}
}

// Stop keeps t from firing. It returns false if t was not set: never scheduled,
// stopped before, or about to fire, firing or fired.
func (w *Wheel) Stop(t *Timer) bool {
	if t.shard == nil {
		return false
	}
	t.shard.mu.Lock()
	set := t.set
	if set {
		t.shard.remove(t)
	}
	t.shard.mu.Unlock()
	return set
}

// tick returns the first tick that is not before at; for what is more than 139
// years ahead, the last one there is.
func (w *Wheel) tick(at time.Time) int64 {
	d := at.Sub(w.start)
	if d <= 0 {
		return 0
	}
	return min(int64((d-1)/resolution)+1, lastTick)
}

// run fires timers until the wheel is closed.
func (w *Wheel) run() {
	defer close(w.done)
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		next := w.pass()
		alarm.Stop()
		if next != never {
			alarm.Reset(time.Until(w.start.Add(time.Duration(next) * resolution)))
		}
		select {
		case <-w.closing:
			return
		case <-w.wake:
		case <-alarm.C:
		}
	}
}

// pass fires what is due and returns the tick to wake at.
func (w *Wheel) pass() int64 {
	// From here on every Schedule sends a wake-up: we may have looked at its
	// shard already.
	w.wakeAt.Store(never)
	next := int64(never)
	for _, s := range w.shards {
		next = min(next, w.expire(s))
	}
	w.wakeAt.Store(next)
	return next
}

// expire fires what is due in s and returns the tick to look again at.
func (w *Wheel) expire(s *shard) int64 {
	for {
		now := int64(time.Since(w.start) / resolution)
		s.mu.Lock()
		t, next := s.due(now)
		s.mu.Unlock()
		if t == nil {
			return next
		}
		select {
		case <-w.closing:
			return never
		default:
			t.owner.Expire()
		}
	}
}
