// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

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

func TestAcks(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, f *fake, c *Client) {
		var n notes
		c.Watch(arith, policy.Caller, &n)
		synctest.Wait()
		began := time.Now()
		var last policy.Digest
		for i := range 50 { // five seconds of changes
			all := state(service(t, time.Duration(i+1)*time.Second, "a"), at(uint64(i+1)))
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
