// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package identity

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// complainAgain is after how long the same is said again of the same bearer.
	complainAgain = 10 * time.Minute
	// complainAtMost bounds the bearers that are told apart, complainBurst and
	// complainEvery what strangers, who may call themselves anything, can have
	// logged.
	complainAtMost = 1024
	complainBurst  = 20
	complainEvery  = 3 * time.Second
)

// complaints decides which refusals are logged: the first of a bearer, one for
// another reason, and one for the same reason now and then. A refused client
// tries again every few seconds, for as long as it runs.
type complaints struct {
	now func() time.Time

	mu sync.Mutex // guards what follows
	// Invariant: len(last) <= complainAtMost.
	last map[bearer]complaint
	room *rate.Limiter
	// unsaid counts the refusals since one was logged last, of anybody.
	unsaid int
}

type complaint struct {
	reason string
	at     time.Time
}

func newComplaints(now func() time.Time) *complaints {
	return &complaints{now: now, last: map[bearer]complaint{}, room: rate.NewLimiter(rate.Every(complainEvery), complainBurst)}
}

// about says whether a refusal is to be logged, and if so how many were not since
// one was. Safe for concurrent use.
func (c *complaints) about(who bearer, reason string) (unsaid int, say bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	last, known := c.last[who]
	if known && last.reason == reason && now.Sub(last.at) < complainAgain || !c.room.AllowN(now, 1) {
		c.unsaid++
		return 0, false
	}
	if !known && len(c.last) >= complainAtMost {
		c.forget(now)
	}
	c.last[who] = complaint{reason, now}
	unsaid, c.unsaid = c.unsaid, 0
	return unsaid, true
}

// forget makes room: what is old goes, or the oldest.
func (c *complaints) forget(now time.Time) {
	var oldest bearer
	at := now
	for who, last := range c.last {
		switch {
		case now.Sub(last.at) >= complainAgain:
			delete(c.last, who)
		case !last.at.After(at):
			oldest, at = who, last.at
		}
	}
	if len(c.last) >= complainAtMost {
		delete(c.last, oldest)
	}
}
