// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wheel

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// late is the most that a timer may be late: the rounding up to a tick. In a
// synctest bubble nothing else is late.
const late = resolution

// fire is an owner that is a function.
type fire func()

func (f fire) Expire() { f() }

func TestFiresOnceAndNotEarly(t *testing.T) {
	for _, d := range []time.Duration{
		-time.Hour, 0, 1, time.Microsecond, resolution - 1, resolution, resolution + 1, 63 * resolution, 64 * resolution,
		65 * resolution, 4095 * resolution, 4096*resolution + 1, time.Minute, time.Hour, 100 * 24 * time.Hour,
	} {
		t.Run(d.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := New()
				defer w.Close()
				time.Sleep(1234567 * time.Microsecond) // the start is not a special time
				var timer Timer
				var fired []time.Time
				timer.Init(fire(func() { fired = append(fired, time.Now()) }))
				deadline := time.Now().Add(d)
				due := time.Now().Add(max(d, 0))
				w.Schedule(&timer, deadline)
				time.Sleep(max(d, 0) + time.Hour)
				synctest.Wait()
				if len(fired) != 1 || fired[0].Before(due) || fired[0].After(due.Add(late)) {
					t.Fatalf("fired at %v, want once from %v on", fired, due)
				}
				if w.Stop(&timer) {
					t.Error("Stop says that it kept a timer from firing that has fired")
				}
			})
		})
	}
}

func TestStopAndScheduleAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		var timer Timer
		fired := 0
		timer.Init(fire(func() { fired++ }))
		if w.Stop(&timer) {
			t.Error("Stop of a timer that was never scheduled returned true")
		}
		w.Schedule(&timer, time.Now().Add(time.Second))
		if !w.Stop(&timer) || w.Stop(&timer) {
			t.Error("want Stop to be true once")
		}
		time.Sleep(time.Minute)
		w.Schedule(&timer, time.Now().Add(time.Second))
		w.Schedule(&timer, time.Now().Add(time.Hour)) // later
		time.Sleep(time.Minute)
		synctest.Wait()
		if fired != 0 {
			t.Fatalf("a stopped or moved timer fired %d times", fired)
		}
		w.Schedule(&timer, time.Now().Add(time.Second)) // earlier
		time.Sleep(time.Second + late)
		synctest.Wait()
		if fired != 1 {
			t.Fatalf("fired %d times, want 1", fired)
		}
	})
}

func TestFireMaySchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		var timer Timer
		fired := 0
		timer.Init(fire(func() {
			if fired++; fired < 10 {
				w.Schedule(&timer, time.Now().Add(time.Second))
			}
		}))
		w.Schedule(&timer, time.Now())
		time.Sleep(9*time.Second + 10*late)
		synctest.Wait()
		if fired != 10 {
			t.Fatalf("fired %d times, want 10", fired)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if the goroutine is left
		w := New()
		var timer, after Timer
		timer.Init(fire(func() { t.Error("fired after Close") }))
		after.Init(fire(func() { t.Error("scheduled and fired after Close") }))
		w.Schedule(&timer, time.Now().Add(time.Second))
		w.Close()
		w.Close()
		w.Schedule(&after, time.Now())
		time.Sleep(time.Minute)
	})
}

// Pooled owners meet the wheels of several runtimes, some of them closed.
func TestTimerMovesBetweenWheels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed, first, second := New(), New(), New()
		defer first.Close()
		defer second.Close()
		var timer Timer
		var fired atomic.Int64
		timer.Init(fire(func() { fired.Add(1) }))
		closed.Schedule(&timer, time.Now().Add(time.Hour))
		closed.Close()
		first.Schedule(&timer, time.Now().Add(time.Second))
		second.Schedule(&timer, time.Now().Add(time.Minute)) // and not on the first any more
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if fired.Load() != 0 {
			t.Fatal("fired on a wheel that it had left")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if fired.Load() != 1 {
			t.Fatalf("fired %d times, want 1", fired.Load())
		}
	})
}

// Without timers, or once all have been stopped, there is no time to wake at.
func TestSleepsWithoutTimers(t *testing.T) {
	w := newWheel() // without its goroutine
	if next := w.pass(); next != never {
		t.Errorf("empty: the next tick is %d", next)
	}
	timers := make([]Timer, 1000)
	for i := range timers {
		timers[i].Init(fire(func() { t.Error("fired") }))
		w.Schedule(&timers[i], time.Now().Add(time.Hour))
	}
	if next := w.pass(); next == never || next > w.tick(time.Now().Add(time.Hour)) {
		t.Errorf("with timers: the next tick is %d", next)
	}
	for i := range timers {
		w.Stop(&timers[i])
	}
	if next := w.pass(); next != never {
		t.Errorf("all stopped: the next tick is %d", next)
	}
}

// Only a timer that is earlier than the time to wake at wakes the goroutine.
func TestLaterTimersDoNotWake(t *testing.T) {
	w := newWheel()
	var first, later, earlier Timer
	for _, timer := range []*Timer{&first, &later, &earlier} {
		timer.Init(fire(func() { t.Error("fired") }))
	}
	steps := []struct {
		timer *Timer
		after time.Duration
		wakes bool
	}{{&first, time.Hour, true}, {&later, 2 * time.Hour, false}, {&earlier, time.Minute, true}, {&later, time.Minute, false}}
	for i, s := range steps {
		w.Schedule(s.timer, w.start.Add(s.after))
		if woken := len(w.wake) == 1; woken != s.wakes {
			t.Fatalf("step %d: woken: %v, want %v", i, woken, s.wakes)
		}
		if s.wakes {
			<-w.wake
		}
	}
}

func TestFarthestDeadlines(t *testing.T) {
	w := newWheel()
	for _, at := range []time.Time{w.start.Add(math.MaxInt64), time.Unix(1<<40, 0), w.start.AddDate(200, 0, 0)} {
		if tick := w.tick(at); tick != lastTick {
			t.Errorf("%v: tick %d, want %d", at, tick, int64(lastTick))
		}
	}
	s := new(shard)
	timer := Timer{tick: lastTick}
	s.insert(&timer)
	if got, _ := s.due(lastTick - 1); got != nil {
		t.Error("fired early")
	}
	if got, _ := s.due(lastTick); got != &timer {
		t.Error("did not fire")
	}
}

// A shard against a sorted list, over random operations.
func TestShardAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		s := new(shard)
		now := int64(rng.IntN(1 << 20))
		if _, next := s.due(now); next != never {
			t.Fatal("an empty shard has something due")
		}
		timers := make([]Timer, 50)
		for range 400 {
			timer := &timers[rng.IntN(len(timers))]
			switch op := rng.IntN(10); {
			case op < 4 && !timer.set:
				timer.tick = now + rng.Int64N(1<<rng.IntN(30)) - 2
				s.insert(timer)
			case op < 6 && timer.set:
				s.remove(timer)
			default:
				now += rng.Int64N(1 << rng.IntN(24))
				checkDue(t, s, timers, now)
			}
		}
	}
}

// checkDue takes out what is due at now and compares it with the model: those
// of timers that are set and have such ticks.
func checkDue(t *testing.T, s *shard, timers []Timer, now int64) {
	t.Helper()
	want := map[*Timer]bool{}
	earliest := int64(never)
	for i := range timers {
		if timer := &timers[i]; timer.set && timer.tick <= now {
			want[timer] = true
		} else if timer.set {
			earliest = min(earliest, timer.tick)
		}
	}
	last := int64(0)
	for {
		got, next := s.due(now)
		if got == nil {
			if len(want) > 0 || next > earliest || next <= now || (next == never) != (earliest == never) {
				t.Fatalf("at %d: %d due timers did not come out; next look at %d, earliest deadline %d", now, len(want), next, earliest)
			}
			return
		}
		if !want[got] || got.tick < last || got.set {
			t.Fatalf("at %d: a timer for %d came out after one for %d (wanted: %v, still set: %v)", now, got.tick, last, want[got], got.set)
		}
		delete(want, got)
		last = got.tick
	}
}

// A timer alone is looked at once per level at most.
func TestFewLooks(t *testing.T) {
	for _, tick := range []int64{1, 63, 64, 4095, 4096, 1_000_000, 1<<36 + 12345, lastTick} {
		s := new(shard)
		timer := Timer{tick: tick}
		s.insert(&timer)
		now, looks := int64(0), 0
		for got, next := s.due(0); got == nil; got, next = s.due(now) {
			if next <= now {
				t.Fatalf("tick %d: at %d told to look at %d", tick, now, next)
			}
			now = next
			looks++
		}
		if now != tick || looks > levels {
			t.Errorf("tick %d: came out at %d after %d looks, want at most %d", tick, now, looks, levels)
		}
	}
}

// Random schedules and stops from several goroutines: what was stopped does not
// fire, all else fires once, in time.
func TestWheelAgainstModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Close()
		var group sync.WaitGroup
		for g := range 8 {
			group.Go(func() { oneOwner(t, w, rand.New(rand.NewPCG(uint64(g), 2))) })
		}
		group.Wait()
	})
}

// oneOwner drives timers of its own and checks them against its notes.
func oneOwner(t *testing.T, w *Wheel, rng *rand.Rand) {
	t.Helper()
	type noted struct {
		Timer
		mu    sync.Mutex
		due   []time.Time // deadlines that must be met
		fired []time.Time
	}
	timers := make([]noted, 20)
	for i := range timers {
		n := &timers[i]
		n.Init(fire(func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.fired = append(n.fired, time.Now())
		}))
	}
	for range 500 {
		n := &timers[rng.IntN(len(timers))]
		stopped := w.Stop(&n.Timer)
		n.mu.Lock()
		if stopped {
			n.due = n.due[:len(n.due)-1]
		}
		deadline := time.Now().Add(time.Duration(rng.Int64N(1 << rng.IntN(36))))
		n.due = append(n.due, deadline)
		n.mu.Unlock()
		w.Schedule(&n.Timer, deadline)
		if rng.IntN(3) == 0 {
			time.Sleep(time.Duration(rng.Int64N(1 << rng.IntN(33))))
		}
	}
	time.Sleep(2 * time.Minute) // longer than 2^36 ns
	for i := range timers {
		n := &timers[i]
		n.mu.Lock()
		slices.SortFunc(n.due, time.Time.Compare)
		if len(n.due) != len(n.fired) {
			t.Errorf("fired %d times, want %d", len(n.fired), len(n.due))
		}
		for j := range min(len(n.due), len(n.fired)) {
			if over := n.fired[j].Sub(n.due[j]); over < 0 || over > late {
				t.Errorf("fired %s after its deadline", over)
			}
		}
		n.mu.Unlock()
	}
}

// In real time: nothing early, nothing lost, with contention.
func TestRealTime(t *testing.T) {
	w := New()
	defer w.Close()
	var early, fired, stopped atomic.Int64
	var group sync.WaitGroup
	const perOwner = 200
	for range 4 {
		group.Go(func() {
			done := make(chan struct{}, perOwner)
			timers := make([]Timer, perOwner)
			for i := range timers {
				deadline := time.Now().Add(time.Duration(i%20) * time.Millisecond)
				timers[i].Init(fire(func() {
					if time.Now().Before(deadline) {
						early.Add(1)
					}
					fired.Add(1)
					done <- struct{}{}
				}))
				w.Schedule(&timers[i], deadline)
				if i%3 == 0 && w.Stop(&timers[i]) {
					stopped.Add(1)
					done <- struct{}{}
				}
			}
			for range perOwner {
				<-done
			}
		})
	}
	group.Wait()
	if early.Load() != 0 || fired.Load()+stopped.Load() != 4*perOwner {
		t.Errorf("%d early, %d fired, %d stopped", early.Load(), fired.Load(), stopped.Load())
	}
}
