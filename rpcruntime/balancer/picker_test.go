// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package balancer

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

var allKinds = []policy.LoadBalancer{policy.Random, policy.RoundRobin, policy.LeastRequest}

// pool returns candidates of n ready endpoints.
func pool(n int) (Candidates, []*EndpointState) {
	var table Table
	table.Replace(endpoints(n, policy.Ready))
	c := table.Usable()
	return c, c.primary.all()
}

func forKinds(t *testing.T, f func(*testing.T, policy.LoadBalancer)) {
	for _, kind := range allKinds {
		t.Run(string(kind), func(t *testing.T) { f(t, kind) })
	}
}

func TestNothingToPick(t *testing.T) {
	forKinds(t, func(t *testing.T, kind policy.LoadBalancer) {
		if s, ok := Build(kind, Candidates{}, 0).Pick(PickInfo{Rand: 1}); ok || s != nil {
			t.Errorf("picked %v out of nothing", s)
		}
	})
}

// TestClassOrder takes away one class after the other and sees the next used.
func TestClassOrder(t *testing.T) {
	const now = time.Second
	forKinds(t, func(t *testing.T, kind policy.LoadBalancer) {
		c, s := pool(5)
		s[1].Drain()
		for s[2].DialFailed(now, 0) < now {
		}
		s[3].Avoid(now, time.Millisecond)
		s[4].Drop(now)
		p := Build(kind, c, rand.Uint64())
		var tried []*EndpointState
		for want := range 4 {
			for range 50 {
				got, ok := p.Pick(PickInfo{Tried: tried, Now: now, Rand: rand.Uint64()})
				if !ok || got != s[want] {
					t.Fatalf("with %d tried: picked %v, want %s", want, got, s[want].ID())
				}
				got.Done(Answered)
			}
			tried = append(tried, s[want])
		}
		if got, ok := p.Pick(PickInfo{Tried: tried, Now: now, Rand: 1}); ok {
			t.Errorf("picked %s, which was tried or dropped", got.ID())
		}
		if got, ok := p.Pick(PickInfo{Tried: tried, AllowTried: true, Now: now, Rand: 1}); !ok || got != s[0] {
			t.Errorf("picked %v, want the best of the tried ones", got)
		}
		if got, ok := p.Pick(PickInfo{Tried: tried[:3], AllowTried: true, Now: now, Rand: 1}); !ok || got != s[3] {
			t.Errorf("picked %v, want the untried one, bad as it is", got)
		}
	})
}

func TestWorstClassCounts(t *testing.T) {
	s := newState(&policy.Endpoint{ID: "a"})
	s.Drain()
	s.Avoid(0, 10)
	if got := s.class(5, false); got != classAvoided {
		t.Errorf("class is %d, want avoided", got)
	}
	s.DialFailed(5, 0)
	if got := s.class(10, false); got != classDialBackoff {
		t.Errorf("class is %d, want dial-backoff", got)
	}
}

// TestTriedAreNeverPicked at sizes that take the fast way, the probes and the scan.
func TestTriedAreNeverPicked(t *testing.T) {
	forKinds(t, func(t *testing.T, kind policy.LoadBalancer) {
		for _, n := range []int{1, 2, 3, 10, 40, 600} {
			c, s := pool(n)
			p := Build(kind, c, rand.Uint64())
			tried := s[:min(n, 5)]
			for range 500 {
				got, ok := p.Pick(PickInfo{Tried: tried, Rand: rand.Uint64()})
				if ok != (n > 5) {
					t.Fatalf("of %d: ok is %v", n, ok)
				}
				if ok {
					for _, x := range tried {
						if x == got {
							t.Fatalf("of %d: picked %s again", n, got.ID())
						}
					}
					got.Done(Answered)
				}
			}
		}
	})
}

// TestFewUsable: the only clean endpoint is found, whatever the number of others.
func TestFewUsable(t *testing.T) {
	forKinds(t, func(t *testing.T, kind policy.LoadBalancer) {
		for _, n := range []int{2, 33, scanLimit} {
			c, s := pool(n)
			for i := range s {
				if i != n/2 {
					s[i].Avoid(0, time.Hour)
				}
			}
			p := Build(kind, c, 7)
			for range 200 {
				got, ok := p.Pick(PickInfo{Rand: rand.Uint64()})
				if !ok || got != s[n/2] {
					t.Fatalf("of %d: picked %v", n, got)
				}
				got.Done(Answered)
			}
		}
	})
}

// shares counts how calls that end at once spread.
func shares(p Picker, s []*EndpointState, calls int, tried []*EndpointState) []int {
	rng := rand.New(rand.NewPCG(1, 2))
	at := map[*EndpointState]int{}
	for i, x := range s {
		at[x] = i
	}
	count := make([]int, len(s))
	for range calls {
		got, ok := p.Pick(PickInfo{Rand: rng.Uint64(), Tried: tried})
		if ok {
			count[at[got]]++
			got.Done(Answered)
		}
	}
	return count
}

// TestEvenSpread: whatever is out of use, the others bear the same load. A run of
// dead endpoints must not fall upon its successor, least of all when idle.
func TestEvenSpread(t *testing.T) {
	forKinds(t, func(t *testing.T, kind policy.LoadBalancer) {
		for _, n := range []int{2, 3, 10, 50} {
			for _, dead := range []int{0, 1, n / 2, n - 1} {
				c, s := pool(n)
				for i := range dead {
					s[i].Drain()
				}
				const perEndpoint = 1000
				count := shares(Build(kind, c, rand.Uint64()), s, perEndpoint*(n-dead), nil)
				for i, got := range count {
					want := perEndpoint
					if i < dead {
						want = 0
					}
					// Five standard deviations of a uniform choice are 158.
					if got < want-170 || got > want+170 {
						t.Errorf("%d of %d dead: endpoint %d got %d calls, want about %d", dead, n, i, got, want)
					}
				}
			}
		}
	})
}

func TestRoundRobinIsExactWhenAllAreClean(t *testing.T) {
	c, s := pool(7)
	for i, got := range shares(Build(policy.RoundRobin, c, 12345), s, 700, nil) {
		if got != 100 {
			t.Errorf("endpoint %d got %d of 700 calls", i, got)
		}
	}
	first := func(rand uint64) *EndpointState {
		got, _ := Build(policy.RoundRobin, c, rand).Pick(PickInfo{})
		return got
	}
	if first(1) == first(2) {
		t.Error("walks start at the same endpoint whatever the randomness")
	}
}

// TestLeastRequestShunsTheLoaded: with two choices, an endpoint busier than all
// others is picked only when it is drawn twice, which cannot happen.
func TestLeastRequestShunsTheLoaded(t *testing.T) {
	for _, drained := range []bool{false, true} {
		c, s := pool(40)
		s[3].inFlight.Store(100)
		if drained { // the slow way must do the same
			for i := range 20 {
				s[i+20].Drain()
			}
		}
		if got := shares(Build(policy.LeastRequest, c, 0), s, 10_000, nil)[3]; got != 0 {
			t.Errorf("drained %v: the busy endpoint got %d calls", drained, got)
		}
	}
}

// TestLeastRequestBalance throws calls that do not end: two choices keep the
// fullest endpoint within a few of the mean, one choice does not.
func TestLeastRequestBalance(t *testing.T) {
	worst := func(kind policy.LoadBalancer) int {
		c, s := pool(1000)
		p := Build(kind, c, 0)
		rng := rand.New(rand.NewPCG(3, 4))
		for range 20_000 {
			p.Pick(PickInfo{Rand: rng.Uint64()})
		}
		most := 0
		for _, x := range s {
			most = max(most, x.InFlight())
		}
		return most
	}
	if two := worst(policy.LeastRequest); two > 23 {
		t.Errorf("two choices: fullest has %d, mean is 20", two)
	}
	if one := worst(policy.Random); one < 30 {
		t.Errorf("one choice: fullest has %d: this test cannot tell the two apart", one)
	}
}

func TestUnknownKindIsLeastRequest(t *testing.T) {
	c, s := pool(2)
	s[0].inFlight.Store(5)
	if got := shares(Build("FromTheFuture", c, 0), s, 100, nil)[0]; got != 0 {
		t.Errorf("the busy endpoint got %d of 100 calls", got)
	}
}

// TestPickWhileEverythingChanges is for the race detector.
func TestPickWhileEverythingChanges(t *testing.T) {
	var table Table
	list := endpoints(100, policy.Ready)
	table.Replace(list)
	pickers := make(chan Picker, 1)
	stop := make(chan struct{})
	finished := make(chan int64)
	for range 2 {
		go func() {
			p := <-pickers
			var picked int64
			for {
				select {
				case <-stop:
					finished <- picked
					return
				case p = <-pickers:
				default:
				}
				s, ok := p.Pick(PickInfo{Rand: rand.Uint64(), Now: time.Duration(picked)})
				if !ok {
					continue
				}
				picked++
				switch picked % 16 {
				case 0:
					s.Avoid(time.Duration(picked), 10)
				case 1:
					s.Drain()
				case 2:
					s.DialFailed(time.Duration(picked), 3)
				case 3:
					s.Disconnected()
				default:
					s.Connected()
				}
				s.Done(Outcome(picked % 3))
			}
		}()
	}
	for i := range 150 {
		list[i%100].State = policy.EndpointState(i % 3)
		table.Apply(list[i%100:i%100+1], nil)
		pickers <- Build(allKinds[i%3], table.Usable(), rand.Uint64())
	}
	close(stop)
	if n := <-finished + <-finished; n == 0 {
		t.Error("nothing was picked")
	}
	for id, s := range table.byID {
		if s.InFlight() != 0 {
			t.Errorf("%s has %d calls in flight", id, s.InFlight())
		}
	}
}
