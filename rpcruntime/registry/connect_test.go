// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

func TestNothingIsTouchedBeforeAWatch(t *testing.T) {
	bubble(t, Config{CacheDir: "/nowhere"}, func(t *testing.T, f *fake, c *Client) {
		f.pause(time.Minute)
		if len(f.dials) != 0 {
			t.Errorf("%d dials", len(f.dials))
		}
	})
}

func TestStoppingTheLastWatchEndsTheConnection(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		stop := c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		stop()
		synctest.Wait()
		<-f.last().conn.Done()
		f.pause(time.Minute)
		if len(f.dials) != 1 || c.Status().Connected {
			t.Errorf("%d dials, status %+v", len(f.dials), c.Status())
		}
	})
}

func TestFirstOutcomeComesSoon(t *testing.T) {
	t.Run("the registry refuses connections", func(t *testing.T) {
		bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
			f.down = true
			var n notes
			c.Watch(arith, policy.Caller, &n)
			if got := n.one(t, "ambient"); status.CodeOf(got.err) != status.Unavailable || !strings.Contains(got.err.Error(), "reg:1") {
				t.Errorf("got %v", got.err)
			}
		})
	})
	t.Run("the registry does not answer", func(t *testing.T) {
		bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
			hold := make(chan struct{})
			f.answer = func(*SubscribeRequest) (*SubscribeReply, error) {
				f.mu.Unlock()
				<-hold
				f.mu.Lock()
				return nil, status.New(status.Unavailable, "too late")
			}
			var n notes
			c.Watch(arith, policy.Caller, &n)
			n.none(t)
			f.pause(firstOutcome)
			n.one(t, "ambient")
			var second notes
			c.Watch(arith, policy.Caller, &second)
			second.one(t, "ambient")
			close(hold)
		})
	})
	t.Run("no address", func(t *testing.T) {
		bubble(t, Config{Addresses: []string{}}, func(t *testing.T, f *fake, c *Client) {
			var n notes
			c.Watch(arith, policy.Caller, &n)
			f.pause(firstOutcome)
			n.one(t, "ambient")
			if len(f.dials) != 0 {
				t.Error("dialled nobody")
			}
		})
	})
}

func TestReconnectsWithFullJitter(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		f.down = true
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		f.pause(5 * time.Minute)
		var longest time.Duration
		for i := 1; i < len(f.dials); i++ {
			gap, window := f.dials[i].Sub(f.dials[i-1]), min(retryMax, retryBase<<min(i-1, 10))
			if gap >= window {
				t.Errorf("attempt %d after %s, not below %s", i, gap, window)
			}
			longest = max(longest, gap)
		}
		expected := int(5 * time.Minute / (retryMax / 2))
		if longest < retryMax/2 || len(f.dials) < expected*2/3 || len(f.dials) > expected*3/2 {
			t.Errorf("longest wait %s, %d attempts", longest, len(f.dials))
		}
		if got := len(n.take()); got != len(f.dials) {
			t.Errorf("%d outcomes for %d attempts", got, len(f.dials))
		}
	})
}

// A client that is refused tries on for as long as it runs, and does not fill the
// log of its program with it.
func TestRefusalIsLoggedOnChange(t *testing.T) {
	var mu sync.Mutex
	var lines []string
	cfg := Config{Addresses: []string{"a:1", "b:1"}, Log: funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, args)
	}, funcr.Options{})}
	bubble(t, cfg, func(t *testing.T, f *fake, c *Client) {
		why := "expired: the token"
		f.answer = func(*SubscribeRequest) (*SubscribeReply, error) { return nil, status.New(status.Unauthenticated, why) }
		said := func(what string, want int) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if len(lines) != want {
				t.Errorf("%s: %d lines: %q", what, len(lines), lines)
			}
			lines = nil
		}
		c.Watch(arith, policy.Caller, &notes{})
		f.pause(sayAgain - time.Minute)
		if n := len(f.dials); n < 50 {
			t.Fatalf("%d attempts only", n)
		}
		said("one reason", 1)
		f.mu.Lock()
		why = "audience: the token"
		f.mu.Unlock()
		f.pause(time.Minute)
		said("another", 1)
		f.pause(sayAgain)
		said("the same, much later", 1)
	})
}

func TestResumesByDigest(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		all := state(service(t, time.Second, "a"), at(1))
		f.push(all...)
		n.one(t, "changed")
		f.cut()
		n.one(t, "ambient")
		if s := c.Status(); s.Connected || s.Err == nil || s.AsOf != time.Now() {
			t.Errorf("status %+v", s)
		}
		f.pause(time.Second)
		s, change := f.lastSub(), all[2].(*ChangeFrame)
		if s.Digest != change.Digest || len(s.Parts) != 2 || s.Epoch != "e1" || s.AsOf.Behind(change.AsOf) {
			t.Errorf("resumes with %+v", s)
		}
		f.push(change)
		n.none(t) // it has the newest
		if s := c.Status(); !s.Connected || s.Err != nil || s.Epoch != "e1" {
			t.Errorf("status %+v", s)
		}
		next := service(t, time.Second, "a", "b")
		f.push(state(next, at(2))[0], state(next, at(2))[2]) // one part is enough
		if got := n.one(t, "changed"); len(got.snap.Endpoints) != 2 {
			t.Errorf("got %+v", got.snap)
		}
	})
}

func TestTriesAllAddresses(t *testing.T) {
	bubble(t, Config{Addresses: []string{"a:1", "b:1", "c:1"}}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		seen := make(map[string]int)
		for range 6 {
			f.pause(retryMax)
			synctest.Wait()
			seen[f.last().address]++
			f.cut()
		}
		if len(seen) != 3 || seen["a:1"] != 2 || seen["b:1"] != 2 {
			t.Errorf("tried %v", seen)
		}
	})
}

func TestDrainingConnectionIsReplacedFirst(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		all := state(service(t, time.Second, "a"), at(1))
		f.push(all...)
		n.one(t, "changed")
		old := f.last()
		// A request that never ends keeps the drain from going on.
		hold := make(chan struct{})
		f.set(func() {
			f.register = func(*RegisterRequest) (*RegisterReply, error) {
				f.mu.Unlock()
				<-hold
				f.mu.Lock()
				return &RegisterReply{LeaseMillis: 15000}, nil
			}
		})
		c.Register(Registration{Service: arith, Address: "10.0.0.1:80"})
		synctest.Wait()
		done := make(chan struct{})
		go func() { old.conn.Drain(20*time.Second, 25*time.Second); close(done) }()
		synctest.Wait()
		f.pushRaw(old, mustFrames(t, state(service(t, 2*time.Second, "a"), at(2)))...)
		n.one(t, "changed") // it still serves
		f.set(func() { f.register = nil })
		f.pause(time.Second)
		if f.last() == old || !c.Status().Connected {
			t.Fatalf("not replaced: %+v", c.Status())
		}
		n.none(t) // nobody noticed
		close(hold)
		<-done
		f.push(state(service(t, 3*time.Second, "a"), at(3))...)
		n.one(t, "changed")
		if n := len(f.conns); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
}

func mustFrames(t *testing.T, pushes []Push) (frames [][]byte) {
	t.Helper()
	for _, p := range pushes {
		b, err := EncodePush(p)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, b)
	}
	return frames
}

// The only replica says drain on each new connection until it is gone: it must
// not be dialled all the time.
func TestDrainOnEachConnectionIsNoStorm(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		hold := make(chan struct{})
		f.register = func(*RegisterRequest) (*RegisterReply, error) {
			f.mu.Unlock()
			<-hold
			f.mu.Lock()
			return nil, status.New(status.Unavailable, "late")
		}
		c.Register(Registration{Service: arith, Address: "10.0.0.1:80"})
		synctest.Wait()
		for drained := range 100 {
			seen := f.count(func() int { return len(f.conns) })
			if drained == seen {
				f.pause(100 * time.Millisecond)
				continue
			}
			go f.last().conn.Drain(20*time.Second, 25*time.Second)
			synctest.Wait()
			f.pause(100 * time.Millisecond)
		}
		if n := len(f.dials); n > 25 {
			t.Errorf("%d dials in ten seconds", n)
		}
		close(hold)
		synctest.Wait()
	})
}

// A connection that served for a while ends the row of failures before it, be it
// cut or drained.
func TestLongServiceForgetsFailures(t *testing.T) {
	for name, end := range map[string]func(f *fake){
		"cut":     func(f *fake) { f.cut() },
		"drained": func(f *fake) { go f.last().conn.Drain(time.Second, 5*time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{Rand: func() uint64 { return uint64(retryMax) - 1 }}, func(t *testing.T, f *fake, c *Client) {
				f.down = true
				var n notes
				c.Watch(arith, policy.Caller, &n)
				f.pause(time.Minute)
				f.set(func() { f.down = false })
				f.pause(retryMax)
				if !c.Status().Connected {
					t.Fatal("not connected")
				}
				f.pause(settledAfter)
				dials, ended := len(f.dials), time.Now()
				end(f)
				f.pause(retryMax)
				if len(f.dials) != dials+1 {
					t.Fatalf("%d dials", len(f.dials)-dials)
				}
				if gap := f.dials[dials].Sub(ended); gap >= retryBase {
					t.Errorf("dialled after %s", gap)
				}
			})
		})
	}
}
