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
