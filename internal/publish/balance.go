// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/transport"
)

const (
	// most is how many clients a replica keeps, in percent of its share.
	most = 120
	// judging is the least time between two looks at the totals: one asker may
	// find a replica at several addresses, and ask at each.
	judging = time.Second
	// maxSent bounds the clients that are sent away at once: all of them come to
	// the other replicas, with a handshake and a proof.
	maxSent = 100
)

// Totals are what all replicas of a registry have together.
type Totals struct {
	// Clients are connections that subscribe to something.
	Clients int `msgpack:"n"`
	// Replicas is 0 when it is not known what all have.
	Replicas int `msgpack:"r"`
}

// surplus is how many of its own clients a replica has beyond what it keeps: 1.2
// times its share, and a whole client where shares are fractions.
func (t Totals) surplus(own int) int {
	if t.Replicas < 2 {
		return 0
	}
	clients := max(t.Clients, own) // some may have come since
	return max(0, own-max((clients+t.Replicas-1)/t.Replicas, clients*most/100/t.Replicas))
}

// balance is what a Service knows of its share. Its methods are safe for
// concurrent use.
//
// To send the whole surplus away at once was rejected: where connections go is
// for the network to choose, and half of them come back.
type balance struct {
	mu sync.Mutex // guards what follows
	// judged is when totals were looked at last, surplus what was found then.
	judged  time.Time
	surplus int
	// sent counts the clients that were sent away so far.
	sent int64
}

// judge says how many clients are to be sent away now: a part of what was too
// many this time and the time before, for totals are as old as the last round.
func (b *balance) judge(all Totals, own int, now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.judged) < judging {
		return 0
	}
	surplus := all.surplus(own)
	lasting := min(surplus, b.surplus)
	b.judged, b.surplus = now, surplus
	n := min((lasting+3)/4, maxSent)
	b.sent += int64(n)
	return n
}

// Sent counts the clients that were sent to other replicas.
func (s *Service) Sent() int64 {
	s.balance.mu.Lock()
	defer s.balance.mu.Unlock()
	return s.balance.sent
}

// level sends clients away if this replica has more than its share: those that
// have been here longest, so that one that comes back is left alone.
func (s *Service) level(all Totals, now time.Time) {
	if all.Replicas == 0 {
		return
	}
	own := s.staying()
	n := s.balance.judge(all, len(own), now)
	if n == 0 {
		return
	}
	s.cfg.Log.Info("clients are sent to other replicas: this one has more than its share",
		"sent", n, "clients", len(own), "clientsOfAll", all.Clients, "replicas", all.Replicas)
	for _, conn := range own[:n] {
		s.sendAway(conn)
	}
}

// staying are the connections that subscribe to something and were not sent away,
// oldest first.
func (s *Service) staying() []*transport.ServerConn {
	type one struct {
		conn *transport.ServerConn
		sub  *subscriber
	}
	var all []one
	s.mu.Lock()
	for conn, sub := range s.subscribers {
		if !sub.away {
			all = append(all, one{conn, sub})
		}
	}
	s.mu.Unlock()
	all = slices.DeleteFunc(all, func(o one) bool { return !o.sub.subscribes() })
	slices.SortFunc(all, func(a, b one) int { return cmp.Compare(a.sub.id, b.sub.id) })
	conns := make([]*transport.ServerConn, len(all))
	for i := range all {
		conns[i] = all[i].conn
	}
	return conns
}

// sendAway drains a connection. The Service waits for it.
func (s *Service) sendAway(conn *transport.ServerConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.drain(conn)
	}
}

// drain is sendAway for those who hold the lock, and know that the Service is not
// closed.
func (s *Service) drain(conn *transport.ServerConn) {
	if sub := s.subscribers[conn]; sub != nil {
		sub.away = true
	}
	s.running.Go(func() { conn.Drain(time.Second, drainProof) })
}
