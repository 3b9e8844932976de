// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

func TestChangeIsAppliedWhole(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		n.none(t)
		all := state(service(t, time.Second, "a"), at(1))
		f.push(all[0], all[1])
		n.none(t) // parts alone mean nothing
		f.push(all[2])
		got := n.one(t, "changed")
		if got.origin != Live || got.snap.Service != arith || got.snap.Epoch != "e1" || len(got.snap.Endpoints) != 1 {
			t.Errorf("got %+v", got)
		}
		if d := all[2].(*ChangeFrame).Digest; got.snap.Digest != d {
			t.Errorf("digest %s, want %s", got.snap.Digest, d)
		}
		f.push(all[2])
		n.none(t) // the same again
	})
}

func TestSecondWatcherGetsWhatIsKnown(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var first, second notes
		stop := c.Watch(arith, policy.Caller, &first)
		synctest.Wait()
		f.push(state(service(t, time.Second, "a"), at(1))...)
		first.one(t, "changed")
		c.Watch(arith, policy.Caller, &second)
		second.one(t, "changed")
		stop()
		f.push(state(service(t, 2*time.Second, "a"), at(2))...)
		second.one(t, "changed")
		first.none(t)
		if n := len(f.subs); n != 1 {
			t.Errorf("%d subscriptions were sent", n)
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

func TestInvalidNames(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		for _, tt := range []struct {
			service string
			role    policy.Role
		}{{"arith", policy.Caller}, {"shop/", policy.Caller}, {arith, "Boss"}} {
			var n notes
			c.Watch(tt.service, tt.role, &n)
			if got := n.one(t, "invalid"); status.CodeOf(got.err) != status.InvalidArgument {
				t.Errorf("%q as %q: %v", tt.service, tt.role, got.err)
			}
		}
		if len(f.dials) != 0 {
			t.Error("dialled for nothing")
		}
	})
}

func TestOlderChangeIsRefusedUnlessTheEpochDiffers(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		f.push(state(service(t, time.Second, "a"), at(10))...)
		n.one(t, "changed")

		f.push(state(service(t, 2*time.Second, "a"), at(9))...)
		var behind *BehindError
		if got := n.take(); len(got) == 0 || !errors.As(got[0].err, &behind) {
			t.Fatalf("got %+v", got)
		}
		if s := f.lastSub(); !s.Again || s.AsOf.Get("Thing").Changed != 10 || s.Epoch != "e1" {
			t.Errorf("subscribed with %+v", s)
		}
		n.take()

		older := state(service(t, 3*time.Second, "a"), at(1))
		older[2].(*ChangeFrame).Epoch = "e2"
		f.push(older...)
		if got := n.one(t, "changed"); got.snap.Effective("").Timeout != 3*time.Second || got.snap.Epoch != "e2" {
			t.Errorf("got %+v", got.snap)
		}
	})
}

func TestBehindLeavesWhatIsHeld(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		f.push(&BehindFrame{Service: arith, Role: policy.Caller, Epoch: "e1", AsOf: at(1)})
		var behind *BehindError
		if got := n.one(t, "ambient"); !errors.As(got.err, &behind) || behind.Service != arith {
			t.Errorf("got %v", got.err)
		}
	})
}

func TestMissingPartAsksAgain(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		all := state(service(t, time.Second, "a"), at(1))
		f.push(all[0], all[2])
		n.none(t)
		if s := f.lastSub(); !s.Again {
			t.Errorf("subscribed with %+v", s)
		}
		before := len(f.subs)
		for range 20 { // a registry that never gets it right is not asked all the time
			f.push(all[2])
		}
		if len(f.subs) > before+1 {
			t.Errorf("asked %d times more at once", len(f.subs)-before)
		}
		f.pause(2 * againInterval)
		f.push(all...)
		n.take()
		if s := c.Status(); !s.Connected {
			t.Errorf("status %+v", s)
		}
	})
}

// What cannot be right ends the connection with a named error, and what is held
// stays.
func TestBrokenFrames(t *testing.T) {
	good := state(service(t, time.Second, "a"), at(1))
	next := state(service(t, 2*time.Second, "b"), at(2))
	lost := *next[0].(*PartFrame)
	lost.Items = nil
	wrongSum := *next[2].(*ChangeFrame)
	wrongSum.Digest = digestOf(1)
	encodePush := func(p Push) []byte {
		b, err := EncodePush(p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	tests := []struct {
		name   string
		frames [][]byte
		// named: the watcher learns it as Invalid, since the service is known.
		named bool
	}{
		{"garbage", [][]byte{frameOf(KindChange, []byte("garbage"))}, false},
		{"a bomb", [][]byte{frameOf(KindPart, bombs()["list"])}, false},
		{"an item lost", [][]byte{encodePush(&lost), encodePush(next[1]), encodePush(next[2])}, true},
		{"the wrong sum", [][]byte{encodePush(next[0]), encodePush(next[1]), encodePush(&wrongSum)}, true},
		{"a chunk from nowhere", [][]byte{encodePush(&PartFrame{Service: arith, Part: "endpoints", Chunk: 3})}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
				var n notes
				c.Watch(arith, policy.Caller, &n)
				synctest.Wait()
				f.push(good...)
				n.one(t, "changed")
				broken := f.last()
				f.pushRaw(broken, tt.frames...)
				<-broken.conn.Done()
				got := n.take()
				if tt.named != (got[0].what == "invalid") {
					t.Errorf("got %+v", got)
				}
				var frame *FrameError
				for _, g := range got {
					if !errors.As(g.err, &frame) {
						t.Errorf("got %v", g.err)
					}
				}
				f.pause(time.Second)
				if s := f.lastSub(); s.Digest != good[2].(*ChangeFrame).Digest {
					t.Errorf("comes back with %s", s.Digest.Short())
				}
				f.push(next...)
				if got := n.take(); got[len(got)-1].what != "changed" {
					t.Errorf("got %+v", got)
				}
			})
		})
	}
}

// An item that does not decode is no reason to end the connection, which would
// only bring it again.
func TestItemThatDoesNotDecode(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		good := state(service(t, time.Second, "a"), at(1))
		f.push(good...)
		n.one(t, "changed")
		f.pause(3 * ackInterval)
		acks := len(f.acks)

		bad := service(t, time.Second, "a")
		bad[0] = partOf(t, policy.PartEndpoints, "a is no endpoint")
		f.push(state(bad, at(2))...)
		got := n.one(t, "invalid")
		var item *policy.ItemError
		if !errors.As(got.err, &item) || status.CodeOf(got.err) != status.Internal {
			t.Errorf("got %v", got.err)
		}
		if len(f.acks) != acks+1 { // no time has passed
			t.Fatalf("%d acks", len(f.acks)-acks)
		}
		if a := f.acks[acks].Acks[0]; a.Rejected == "" || a.Digest != good[2].(*ChangeFrame).Digest {
			t.Errorf("acked %+v", a)
		}
		f.push(state(service(t, time.Second, "b"), at(3))...)
		n.one(t, "changed")
		if len(f.conns) != 1 {
			t.Errorf("%d connections", len(f.conns))
		}
	})
}

func TestCriticalFields(t *testing.T) {
	good := state(service(t, time.Second, "a"), at(1))
	change := join(raw(t, kv{"s": arith}), raw(t, kv{"!later": 1}))
	change[0]++ // a third pair
	change = append(change[:1:1], append(append([]byte{0xa1, 'r', 0xa6}, "Caller"...), change[1:]...)...)
	part := join(raw(t, kv{"s": arith}), raw(t, kv{"p": policy.PartEndpoints}))
	part[0]++
	part = append(part, raw(t, kv{"!later": 1})[1:]...)
	tests := []struct {
		name   string
		frames func() [][]byte
	}{
		{"in a change", func() [][]byte { return [][]byte{frameOf(KindChange, change)} }},
		{"in a part that a change names", func() [][]byte {
			next := state(service(t, time.Second, "b"), at(2))
			b, err := EncodePush(next[2])
			if err != nil {
				t.Fatal(err)
			}
			return [][]byte{frameOf(KindPart, part), b}
		}},
		{"as a kind", func() [][]byte { return [][]byte{frameOf("!later", nil)} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
				var n notes
				c.Watch(arith, policy.Caller, &n)
				synctest.Wait()
				f.push(good...)
				n.one(t, "changed")
				f.pushRaw(f.last(), tt.frames()...)
				got := n.one(t, "invalid")
				var critical *policy.CriticalFieldError
				if !errors.As(got.err, &critical) || status.CodeOf(got.err) != status.FailedPrecondition {
					t.Errorf("got %v", got.err)
				}
				var late notes
				c.Watch("shop/late", policy.Caller, &late)
				if got := late.take(); tt.name == "as a kind" && (len(got) != 1 || !errors.As(got[0].err, &critical)) {
					t.Errorf("a late watcher gets %+v", got)
				}
				if len(f.conns) != 1 || len(f.subs) > 2 {
					t.Errorf("%d connections, %d subscriptions", len(f.conns), len(f.subs))
				}
			})
		})
	}
}

func TestUnknownPushesAreCounted(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		f.pushRaw(f.last(), frameOf("weather", []byte{0xff}))
		n.none(t)
		if c.UnknownPushes() != 1 {
			t.Errorf("counted %d", c.UnknownPushes())
		}
		f.push(state(service(t, time.Second, "a"), at(1))...)
		n.one(t, "changed")
	})
}

func TestNotFound(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		f.answer = func(*SubscribeRequest) (*SubscribeReply, error) {
			return &SubscribeReply{Epoch: "e1", Revision: 5, Refused: []Refusal{
				{Service: "shop/airth", Role: policy.Caller, Reason: ReasonNotFound, Near: []string{arith}},
			}}, nil
		}
		var n notes
		c.Watch("shop/airth", policy.Caller, &n)
		got := n.one(t, "invalid")
		var missing *NotFoundError
		if !errors.As(got.err, &missing) || status.CodeOf(got.err) != status.NotFound {
			t.Fatalf("got %v", got.err)
		}
		// The text is the product.
		want := `no service "shop/airth" in the registry reg:1 (as of ` + time.Now().Format(time.TimeOnly) + `); did you mean "shop/arith"?`
		if missing.Error() != want {
			t.Errorf("got  %s\nwant %s", missing, want)
		}
	})
}

// A refusal that was made before a change and comes after it means nothing.
func TestRefusalDoesNotOvertakeAChange(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		hold := make(chan struct{})
		f.answer = func(*SubscribeRequest) (*SubscribeReply, error) {
			f.mu.Unlock()
			<-hold
			f.mu.Lock()
			return &SubscribeReply{Epoch: "e1", Revision: 4, Refused: []Refusal{{Service: arith, Role: policy.Caller, Reason: ReasonNotFound}}}, nil
		}
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		all := state(service(t, time.Second, "a"), at(1))
		all[2].(*ChangeFrame).Revision = 5
		f.push(all...)
		n.one(t, "changed")
		close(hold)
		n.none(t)
	})
}

func TestGoneIsKeptForAWhile(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n, late notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		all := state(service(t, time.Second, "a"), at(1))
		f.push(all...)
		n.one(t, "changed")
		gone := &GoneFrame{Service: arith, Role: policy.Caller, Epoch: "e1", AsOf: at(0)}
		f.push(gone)
		n.one(t, "ambient") // from one that has not seen what is held
		gone.AsOf = at(2)
		f.push(gone)
		var err *GoneError
		if got := n.one(t, "invalid"); !errors.As(got.err, &err) || err.Forgotten || status.CodeOf(got.err) != status.NotFound {
			t.Fatalf("got %v", got.err)
		}
		c.Watch(arith, policy.Caller, &late)
		if got := late.take(); len(got) != 2 || got[0].what != "changed" || got[1].what != "invalid" {
			t.Errorf("a late watcher gets %+v", got)
		}
		f.pause(forgetAfter - time.Second)
		n.none(t)
		f.pause(time.Second)
		if got := n.one(t, "invalid"); !errors.As(got.err, &err) || !err.Forgotten {
			t.Errorf("got %v", got.err)
		}
		f.push(all...)
		n.one(t, "changed") // it came back
		f.pause(2 * forgetAfter)
		n.none(t)
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
		// 120 waits of 2.5 s on average.
		if longest < retryMax/2 || len(f.dials) < 80 || len(f.dials) > 180 {
			t.Errorf("longest wait %s, %d attempts", longest, len(f.dials))
		}
		if got := len(n.take()); got != len(f.dials) {
			t.Errorf("%d outcomes for %d attempts", got, len(f.dials))
		}
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

func TestAcks(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		began := time.Now()
		var last policy.Digest
		for i := range 50 { // five seconds of changes
			all := state(service(t, time.Duration(i+1)*time.Second, "a"), at(uint64(i+1))) //nolint:gosec // small
			f.push(all...)
			last = all[2].(*ChangeFrame).Digest
			f.pause(100 * time.Millisecond)
		}
		f.pause(3 * ackInterval)
		if len(f.acks) < 3 || len(f.acks) > 7 {
			t.Errorf("%d acks in %s", len(f.acks), time.Since(began))
		}
		for i := 1; i < len(f.ackTimes); i++ {
			if gap := f.ackTimes[i].Sub(f.ackTimes[i-1]); gap < ackInterval {
				t.Errorf("%s between acks", gap)
			}
		}
		if a := f.acks[len(f.acks)-1].Acks[0]; a.Digest != last || a.Rejected != "" {
			t.Errorf("acked %+v", a)
		}
		before := len(f.acks)
		f.pause(time.Minute)
		if len(f.acks) != before {
			t.Error("acks without news")
		}
	})
}

func TestSelf(t *testing.T) {
	var told []Self
	bubble(t, Config{OnSelf: func(s Self) { told = append(told, s) }}, func(t *testing.T, f *fake, c *Client) {
		if _, ok := c.Self(); ok {
			t.Error("known before it was asked")
		}
		f.answer = func(req *SubscribeRequest) (*SubscribeReply, error) {
			return &SubscribeReply{Self: Self{Zone: req.Identity.Addresses[0]}}, nil
		}
		c.SetServing([]string{"10.0.0.1:80"}) // connects with nothing watched
		synctest.Wait()
		if s, ok := c.Self(); !ok || s.Zone != "10.0.0.1:80" {
			t.Errorf("got %+v, %v", s, ok)
		}
		c.SetServing([]string{"10.0.0.1:80"})
		c.SetServing([]string{"10.0.0.1:81"})
		synctest.Wait()
		f.push(&SelfFrame{Self: Self{Zone: "b", Serves: []Serving{{Service: arith}}}})
		if s, _ := c.Self(); len(s.Serves) != 1 {
			t.Errorf("got %+v", s)
		}
		if len(told) != 3 || len(f.subs) != 2 {
			t.Errorf("told %+v by %d subscriptions", told, len(f.subs))
		}
		c.SetServing(nil)
		synctest.Wait()
		<-f.last().conn.Done()
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

func TestRegister(t *testing.T) {
	bubble(t, Config{Identity: Identity{PodUID: "u"}}, func(t *testing.T, f *fake, c *Client) {
		f.register = func(r *RegisterRequest) (*RegisterReply, error) {
			if r.Leave {
				return new(RegisterReply), nil
			}
			return &RegisterReply{LeaseMillis: 15000}, nil
		}
		var told []error
		leave := c.Register(Registration{
			Service: arith, Address: "10.0.0.1:80", Zone: "z", Metadata: map[string]string{"b": "2", "a": "1"},
			OnError: func(err error) { told = append(told, err) },
		})
		synctest.Wait()
		if len(f.regs) != 1 || len(told) != 1 || told[0] != nil {
			t.Fatalf("registered %+v, told %v", f.regs, told)
		}
		if r := f.regs[0]; r.Service != arith || r.PodUID != "u" || r.Zone != "z" || len(r.Metadata) != 2 || r.Metadata[0].Key != "a" {
			t.Errorf("registered %+v", r)
		}
		f.pause(31 * time.Second)
		if n := len(f.regs); n != 7 { // renewed every 5 s
			t.Errorf("%d registrations in 31 s", n)
		}
		f.cut()
		f.pause(time.Second)
		if n := len(f.regs); n != 8 || len(f.conns) != 2 {
			t.Errorf("%d registrations on %d connections", n, len(f.conns))
		}
		f.pause(time.Millisecond)
		if err := leave(context.Background()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if r := f.regs[len(f.regs)-1]; !r.Leave {
			t.Errorf("left with %+v", r)
		}
		before := len(f.regs)
		f.pause(time.Minute)
		if len(f.regs) != before || c.Status().Connected {
			t.Errorf("%d more registrations, status %+v", len(f.regs)-before, c.Status())
		}
		if err := leave(context.Background()); err != nil {
			t.Error(err) // twice does no harm
		}
	})
}

func TestRegisterRefusedIsToldOnceAndTriedAgain(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var told []error
		leave := c.Register(Registration{Service: arith, Address: "10.0.0.1:80", OnError: func(err error) { told = append(told, err) }})
		f.pause(time.Minute)
		if len(told) != 1 || status.CodeOf(told[0]) != status.Unimplemented {
			t.Errorf("told %v", told)
		}
		if n := len(f.regs); n < 10 || n > 40 {
			t.Errorf("%d attempts", n)
		}
		f.set(func() {
			f.register = func(*RegisterRequest) (*RegisterReply, error) { return &RegisterReply{LeaseMillis: 15000}, nil }
		})
		f.pause(retryMax)
		synctest.Wait()
		if len(told) != 2 || told[1] != nil {
			t.Errorf("told %v", told)
		}
		f.set(func() { f.down = true })
		f.cut()
		f.pause(time.Minute)
		if err := leave(context.Background()); err != nil { // nobody to tell
			t.Error(err)
		}
	})
}

func TestStagedBytesAreBounded(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		item := policy.Item{ID: "a", Bytes: make([]byte, policy.MaxItemBytes)}
		conn := f.last()
		for i := range uint32(80) {
			f.push(&PartFrame{Service: arith, Part: policy.PartEndpoints, Chunk: i, Items: []policy.Item{item}})
			select {
			case <-conn.conn.Done():
				if i < 60 {
					t.Errorf("ended after %d MiB", i)
				}
				if got := n.take(); got[0].what != "invalid" {
					t.Errorf("got %+v", got)
				}
				return
			default:
			}
		}
		t.Error("80 MiB were staged")
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

func TestPartsThatNobodyWatchesAreNotKept(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n, other notes
		c.Watch(arith, policy.Caller, &n)
		stop := c.Watch("shop/other", policy.Caller, &other)
		synctest.Wait()
		part := full(partOf(t, policy.PartEndpoints, "a"))
		part.Service = "shop/stranger"
		f.push(&part)
		if c.current.staging.bytes != 0 {
			t.Error("a stranger's part is kept")
		}
		part.Service = "shop/other"
		f.push(&part)
		if c.current.staging.bytes == 0 {
			t.Error("a part is not kept")
		}
		stop()
		synctest.Wait()
		if c.current.staging.bytes != 0 {
			t.Error("the part is kept though nobody watches any more")
		}
	})
}

// stuck is a watcher that blocks, which it must not.
type stuck struct {
	notes
	hold chan struct{}
}

func (s *stuck) Changed(*policy.Snapshot, Origin) { <-s.hold }

func TestWaitingPushesAreBounded(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		s := &stuck{hold: make(chan struct{})}
		c.Watch(arith, policy.Caller, s)
		synctest.Wait()
		f.push(state(service(t, time.Second, "a"), at(1))...)
		conn := f.last()
		frame := frameOf("weather", make([]byte, 1<<20))
		for range 80 {
			f.pushRaw(conn, frame)
		}
		c.mu.Lock()
		if c.inboxBytes > maxStaged {
			t.Errorf("%d bytes wait", c.inboxBytes)
		}
		c.mu.Unlock()
		close(s.hold)
		synctest.Wait()
		<-conn.conn.Done()
	})
}
