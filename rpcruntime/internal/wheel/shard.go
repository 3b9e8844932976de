// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package wheel

import (
	"math/bits"
	"sync"
)

const (
	levelBits = 6
	slotCount = 1 << levelBits
	levels    = 7
	// lastTick is the farthest tick that there is a slot for.
	lastTick = 1<<(levelBits*levels) - 1
)

// shard is a hierarchical wheel. Level l has a slot for each value of the l-th
// group of levelBits bits of a tick. A timer stands at the level of the highest
// group in which its tick differs from now, at the slot of that group's value.
// So all timers of a level are due before those of the next one, and the slots
// of a level are due in their order: the earliest is found by its lowest bit,
// and no slot is ever visited in vain.
type shard struct {
	wheel *Wheel

	mu sync.Mutex // guards what follows
	// now is the tick up to which all timers have been fired.
	// Invariant: now <= tick of each timer, and no slot is due before now.
	now int64
	// Invariant: bit s of used[l] is set exactly if slots[l][s] is not empty.
	used  [levels]uint64
	slots [levels][slotCount]*Timer
}

// insert links t by its tick, which is at most lastTick.
func (s *shard) insert(t *Timer) {
	t.tick = max(t.tick, s.now)
	t.level = uint8((bits.Len64(uint64(t.tick^s.now)|1) - 1) / levelBits)
	t.slot = uint8(t.tick >> (levelBits * t.level) & (slotCount - 1))
	head := &s.slots[t.level][t.slot]
	t.next, t.prev, t.set = *head, nil, true
	if t.next != nil {
		t.next.prev = t
	}
	*head = t
	s.used[t.level] |= 1 << t.slot
}

// remove unlinks t, which is set.
func (s *shard) remove(t *Timer) {
	head := &s.slots[t.level][t.slot]
	if t.next != nil {
		t.next.prev = t.prev
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else if *head = t.next; t.next == nil {
		s.used[t.level] &^= 1 << t.slot
	}
	t.next, t.prev, t.set = nil, nil, false
}

// first returns the earliest slot that is not empty and the tick it is due at.
func (s *shard) first() (level, slot int, tick int64) {
	for level, used := range s.used {
		if used != 0 {
			slot := bits.TrailingZeros64(used)
			above := s.now >> (levelBits * (level + 1)) << levelBits
			return level, slot, (above | int64(slot)) << (levelBits * level)
		}
	}
	return 0, 0, never
}

// due unlinks and returns a timer whose tick is not after now; nil, and the tick
// to ask again at, if there is none.
func (s *shard) due(now int64) (t *Timer, next int64) {
	for {
		level, slot, tick := s.first()
		if tick > now {
			s.now = max(s.now, now)
			return nil, tick
		}
		s.now = max(s.now, tick)
		t := s.slots[level][slot]
		if level == 0 {
			s.remove(t)
			return t, tick
		}
		for ; t != nil; t = s.slots[level][slot] { // to lower levels
			s.remove(t)
			s.insert(t)
		}
	}
}
