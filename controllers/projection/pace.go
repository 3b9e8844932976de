// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package projection

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

// The pace of writing numbers.
const (
	numbersInterval  = 10 * time.Second
	numbersPerSecond = 20
)

// Pace spreads the writes of numbers.
type Pace struct {
	mu sync.Mutex // guards what follows
	// last is when the numbers of an object were written for their own sake. Older entries than numbersInterval mean
	// nothing, and go when there are many.
	last map[item]time.Time
	// slot is when an object's turn comes to write numbers.
	slot  map[item]time.Time
	turns *rate.Limiter
	sweep int
}

// item is an object among all kinds.
type item struct {
	kind string
	key  types.NamespacedName
}

// NewPace gives one on which nothing was written yet.
func NewPace() *Pace {
	return &Pace{
		last: map[item]time.Time{}, slot: map[item]time.Time{}, turns: rate.NewLimiter(numbersPerSecond, 1), sweep: 1024,
	}
}

// numbers says how long to wait before the numbers of an object may be written;
// 0 for now.
func (p *Pace) numbers(of item, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, ok := p.last[of]; ok {
		if wait := last.Add(numbersInterval).Sub(now); wait > 0 {
			return wait
		}
	}
	slot, ok := p.slot[of]
	if !ok {
		slot = now.Add(p.turns.ReserveN(now, 1).DelayFrom(now))
		p.slot[of] = slot
	}
	return max(0, slot.Sub(now))
}

// wrote notes a write of numbers. Verdicts take the numbers along, at no cost to
// them: those that follow a verdict, say of who has it, are what people wait for.
func (p *Pace) wrote(of item, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.slot, of)
	p.last[of] = now
	if len(p.last) < p.sweep {
		return
	}
	for i, at := range p.last {
		if now.Sub(at) >= numbersInterval {
			delete(p.last, i)
		}
	}
	p.sweep = max(1024, 2*len(p.last))
}

// forget drops an object's turn.
func (p *Pace) forget(of item) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.slot, of)
	delete(p.last, of)
}
