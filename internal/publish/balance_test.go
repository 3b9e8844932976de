// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

func TestSurplus(t *testing.T) {
	for _, tt := range []struct {
		all       Totals
		own, want int
	}{
		{Totals{}, 10, 0},
		{Totals{Clients: 10, Replicas: 1}, 10, 0},
		{Totals{Clients: 0, Replicas: 2}, 0, 0},
		{Totals{Clients: 1, Replicas: 2}, 1, 0},
		{Totals{Clients: 2, Replicas: 2}, 2, 1},
		{Totals{Clients: 3, Replicas: 2}, 2, 0}, // and not to and fro
		{Totals{Clients: 3, Replicas: 2}, 3, 1},
		{Totals{Clients: 9, Replicas: 2}, 6, 1}, // 1.2 times 4.5 are 5.4
		{Totals{Clients: 24, Replicas: 2}, 24, 10},
		{Totals{Clients: 24, Replicas: 2}, 14, 0},
		{Totals{Clients: 24, Replicas: 2}, 15, 1},
		{Totals{Clients: 10_000, Replicas: 3}, 10_000, 6_000},
		{Totals{Clients: 4, Replicas: 2}, 24, 10}, // 20 have come since
	} {
		if got := tt.all.surplus(tt.own); got != tt.want {
			t.Errorf("of %+v, %d have %d too many, want %d", tt.all, tt.own, got, tt.want)
		}
	}
}

// TestSurplusHasToLast plays rounds of totals to one replica.
func TestSurplusHasToLast(t *testing.T) {
	var b balance
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		after time.Duration
		all   Totals
		own   int
		want  int
	}{
		{2 * time.Second, Totals{Clients: 24, Replicas: 2}, 24, 0}, // once is not enough
		{2 * time.Second, Totals{Clients: 24, Replicas: 2}, 24, 3}, // a quarter of 10, rounded up
		{time.Millisecond, Totals{Clients: 24, Replicas: 2}, 24, 0},
		{2 * time.Second, Totals{Clients: 24, Replicas: 2}, 15, 1},
		{2 * time.Second, Totals{Clients: 24, Replicas: 2}, 14, 0},
		{2 * time.Second, Totals{Clients: 24, Replicas: 2}, 16, 0}, // 14 before
		{2 * time.Second, Totals{Clients: 9000, Replicas: 2}, 9000, 1},
		{2 * time.Second, Totals{Clients: 9000, Replicas: 2}, 9000, maxSent},
	} {
		now = now.Add(step.after)
		if got := b.judge(step.all, step.own, now); got != step.want {
			t.Errorf("step %d: %d are sent away, want %d", i, got, step.want)
		}
	}
	if b.sent != 3+1+1+maxSent {
		t.Errorf("%d were sent away in all", b.sent)
	}
}

// TestTheOldestAreSentAway has clients that came one after the other, and a
// connection that subscribes to nothing.
func TestTheOldestAreSentAway(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.ready()
		b.client(registry.Config{}).SetServing([]string{"10.0.0.1:80"})
		synctest.Wait()
		for range 4 {
			b.watch(b.client(registry.Config{}), arith, policy.Caller)
		}
		before := s.service.staying()
		if len(before) != 4 {
			t.Fatalf("%d subscribe, want 4", len(before))
		}
		for range 2 {
			s.service.level(Totals{Clients: 4, Replicas: 4}, time.Now())
			time.Sleep(judging)
		}
		// Nobody has looked at what becomes of the connection yet.
		if after := s.service.staying(); len(after) < 3 || !slices.Equal(after[:3], before[1:]) {
			t.Errorf("%d stay, want all but the oldest", len(after))
		}
	})
}

// TestUnreadyReplicasSayNothing has one that nobody can subscribe at.
func TestUnreadyReplicasSayNothing(t *testing.T) {
	bubble(t, func(t *testing.T, b *world) {
		s := b.stack("reg:1", StoreConfig{}, nil)
		s.service.cfg.IsPeer = func(context.Context) bool { return true }
		if reply, err := s.service.Summary(t.Context(), &SummaryRequest{}); err != nil || reply.Clients != nil {
			t.Errorf("got %+v, %v", reply, err)
		}
	})
}

// TestClientsGoToOtherReplicas has all clients at one of two replicas, as after
// the other was away.
func TestClientsGoToOtherReplicas(t *testing.T) {
	const clients = 12
	bubble(t, func(t *testing.T, b *world) {
		here, there := b.ready(), b.stack("reg:2", StoreConfig{}, nil)
		b.net.serve("reg:2", nil)
		there.publish(t, arith, 1, shape{endpoints: two(), timeout: time.Second})
		there.store.SetReady()
		for _, s := range []*stack{here, there} {
			s.service.cfg.IsPeer = func(context.Context) bool { return true }
		}
		watchers := make([]*recorder, clients)
		for i := range watchers {
			watchers[i] = b.watch(b.client(registry.Config{Addresses: []string{"reg:1", "reg:2"}}), arith, policy.Caller)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := here.service.Connections(); n != clients {
			t.Fatalf("%d clients, want %d", n, clients)
		}
		for _, w := range watchers {
			w.take()
		}
		b.net.serve("reg:2", there.front)
		for range 60 { // rounds of the writer of statuses
			all := Totals{Clients: here.service.Connections() + there.service.Connections(), Replicas: 2}
			before, sent := len(here.service.staying()), here.service.Sent()
			for _, s := range []*stack{here, there} {
				reply, err := s.service.Summary(t.Context(), &SummaryRequest{All: all})
				if err != nil || reply.Clients == nil {
					t.Fatalf("%+v, %v", reply, err)
				}
			}
			if now := len(here.service.staying()); now != before-int(here.service.Sent()-sent) {
				t.Errorf("%d were to stay of %d, after %d were sent away", now, before, here.service.Sent()-sent)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		n, m := here.service.Connections(), there.service.Connections()
		if n+m != clients || max(n, m) > 7 {
			t.Errorf("clients are %d and %d, want at most 7 of %d at one", n, m, clients)
		}
		if sent := here.service.Sent(); sent < 5 || sent > 40 {
			t.Errorf("%d were sent away", sent)
		}
		for i, w := range watchers {
			// Between two connections there may be none.
			if events := w.take(); events != "" && events != "ambient" {
				t.Errorf("client %d was told %s: %v", i, events, w.problem())
			}
		}
	})
}
