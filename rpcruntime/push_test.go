// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// pusher answers each request with n pushes, numbered from 1, and then a reply.
func pusher(n int, meta ...string) func(f wire.Frame) []byte {
	return func(f wire.Frame) []byte {
		var b []byte
		for i := 1; i <= n; i++ {
			b = append(b, requestBytes(wire.RequestHeader(uint64(i), wire.SerializeRaw, true), "News", "Item", strconv.Itoa(i), meta...)...)
		}
		return append(b, reply(f, wire.StatusNormal, "")...)
	}
}

func poke(t *testing.T, c *Client) {
	t.Helper()
	if err := CallInto(t.Context(), c, "News.Subscribe", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
}

// docs/wire-protocol.md §1
func TestPushesReachTheHandlerInOrder(t *testing.T) {
	addr, _ := oldServer(t, pusher(50, "topic", "t", "__fl_x", "hidden"))
	got := make(chan *Push, 50)
	c := newRuntime(t).NewClient("shop/news", Endpoints(addr), OnPush(func(_ context.Context, p *Push) { got <- p }, PushQueue{}))
	poke(t, c)
	for i := 1; i <= 50; i++ {
		p := receive(t, got, "a push")
		if string(p.Payload) != strconv.Itoa(i) || p.Path != "News" || p.Method != "Item" || p.Service != "shop/news" || p.Address != addr {
			t.Fatalf("push %d: %+v", i, p)
		}
		if len(p.Metadata) != 1 || p.Metadata["topic"] != "t" {
			t.Fatalf("metadata %v", p.Metadata)
		}
		var b []byte
		if err := p.Decode(&b); err != nil || string(b) != strconv.Itoa(i) {
			t.Fatalf("decoded %q, %v", b, err)
		}
	}
	conn := c.endpointStates()[0].Attached().(*endpoint).link.Load().conn.Load() //nolint:forcetypeassert // ours
	if conn == nil {
		t.Fatal("no connection")
	}
	if n := c.rt.Counters().UnknownPushes.Load() + c.rt.Counters().PushesDropped.Load(); n != 0 {
		t.Errorf("%d pushes were lost", n)
	}
}

func TestPushDecodes(t *testing.T) {
	payload := zipped(t, []byte(`{"C":7}`))
	addr, _ := oldServer(t, func(f wire.Frame) []byte {
		h := wire.RequestHeader(1, wire.SerializeJSON, true).WithCompress(wire.CompressGzip)
		return append(requestBytes(h, "News", "Item", payload), reply(f, wire.StatusNormal, "")...)
	})
	got := make(chan *Push, 1)
	c := newRuntime(t).NewClient("test", Endpoints(addr), PushTo(got, PushDropNewest))
	poke(t, c)
	p := receive(t, got, "the push")
	var r mulReply
	if err := p.Decode(&r); err != nil || r.C != 7 || p.Codec != codec.TypeJSON || p.Compress != codec.CompressGzip {
		t.Errorf("%+v, %v", p, err)
	}
	if err := p.Decode(&[]int{}); err == nil || !strings.Contains(err.Error(), "News.Item") {
		t.Errorf("another type: %v", err)
	}
	if err := new(Push).Decode(&r); err == nil {
		t.Error("a Push made by hand decodes")
	}
}

// The handler is held, so that the queue fills.
func TestFullPushQueues(t *testing.T) {
	const sent, size = 10, 3
	for name, tc := range map[string]struct {
		full    PushPolicy
		want    []string
		dropped int64
	}{
		"newest": {PushDropNewest, []string{"1", "2", "3", "4"}, 6},
		"oldest": {PushDropOldest, []string{"1", "8", "9", "10"}, 6},
		"wait":   {PushWait, []string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			entered, release := make(chan struct{}, sent), make(chan struct{})
			var first sync.Once
			addr, _ := oldServer(t, func(f wire.Frame) []byte {
				if string(f.Method) == "First" {
					return append(requestBytes(wire.RequestHeader(1, wire.SerializeRaw, true), "News", "Item", "1"), reply(f, wire.StatusNormal, "")...)
				}
				b := pusher(sent)(f)
				one := requestBytes(wire.RequestHeader(1, wire.SerializeRaw, true), "News", "Item", "1")
				return b[len(one):]
			})
			got := make(chan string, sent)
			c := newRuntime(t).NewClient("test", Endpoints(addr), OnPush(func(ctx context.Context, p *Push) {
				got <- string(p.Payload)
				first.Do(func() {
					entered <- struct{}{}
					<-release
				})
			}, PushQueue{Size: size, Full: tc.full}))
			if err := CallInto(t.Context(), c, "News.First", []byte("x"), nil); err != nil {
				t.Fatal(err)
			}
			receive(t, entered, "the first push")
			answered := make(chan error, 1)
			go func() { answered <- CallInto(context.Background(), c, "News.More", []byte("x"), nil) }()
			if tc.full == PushWait {
				link := c.endpointStates()[0].Attached().(*endpoint).link.Load() //nolint:forcetypeassert // ours
				await(t, "the reader to wait", func() bool { return link.receivers()[0].waits() })
				select {
				case err := <-answered:
					t.Fatalf("the reader did not wait: %v", err)
				default:
				}
			} else if err := receive(t, answered, "the answer behind the pushes"); err != nil {
				t.Fatal(err)
			}
			close(release)
			for i, want := range tc.want {
				if s := receive(t, got, "a push"); s != want {
					t.Fatalf("push %d is %s, want %s", i, s, want)
				}
			}
			if n := c.rt.Counters().PushesDropped.Load(); n != tc.dropped {
				t.Errorf("%d were counted as dropped, want %d", n, tc.dropped)
			}
		})
	}
}

func (r *pushReceiver) waits() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.room != nil
}

func TestPushQueueIsBoundedInBytes(t *testing.T) {
	r := &pushReceiver{size: 100, queue: []*Push{{Payload: make([]byte, pushQueueBytes-10)}}, bytes: pushQueueBytes - 10}
	if !r.fitsLocked(&Push{Payload: make([]byte, 10)}) || r.fitsLocked(&Push{Payload: make([]byte, 11)}) {
		t.Error("the bound of bytes is another")
	}
	r.queue, r.bytes = nil, 0
	if !r.fitsLocked(&Push{Payload: make([]byte, pushQueueBytes+1)}) {
		t.Error("one alone must fit")
	}
}

func TestPushToAChannel(t *testing.T) {
	addr, _ := oldServer(t, pusher(5))
	ch := make(chan *Push, 2)
	c := newRuntime(t).NewClient("test", Endpoints(addr), PushTo(ch, PushDropNewest))
	poke(t, c)
	for _, want := range []string{"1", "2"} {
		if p := receive(t, ch, "a push"); string(p.Payload) != want {
			t.Errorf("push %s, want %s", p.Payload, want)
		}
	}
	if n := c.rt.Counters().PushesDropped.Load(); n != 3 {
		t.Errorf("%d were counted as dropped, want 3", n)
	}
}

// A reader that waits for room lets go when the client closes, and when its
// connection ends.
func TestPushWaitEnds(t *testing.T) {
	for name, end := range map[string]func(c *Client, l *link){
		"the client":     func(c *Client, _ *link) { c.Close() },
		"the connection": func(_ *Client, l *link) { l.conn.Load().Close() },
	} {
		for _, handler := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				addr, requests := oldServer(t, pusher(5))
				option := PushTo(make(chan *Push), PushWait)
				var inside chan struct{}
				if handler {
					inside = make(chan struct{}, 5)
					option = OnPush(func(ctx context.Context, _ *Push) { inside <- struct{}{}; <-ctx.Done() }, PushQueue{Size: 1, Full: PushWait})
				}
				rt := newRuntime(t)
				c := rt.NewClient("test", Endpoints(addr), option)
				done := make(chan error, 1)
				go func() { done <- CallInto(context.Background(), c, "News.Subscribe", []byte("x"), nil) }()
				receive(t, requests, "the request")
				l := c.endpointStates()[0].Attached().(*endpoint).link.Load() //nolint:forcetypeassert // ours
				if handler {
					receive(t, inside, "the handler")
					await(t, "the reader to wait", c.pushes.waits)
				}
				await(t, "the first push", func() bool { return l.conn.Load() != nil && rt.Counters().FramesRead.Load() > 0 })
				ended := make(chan struct{})
				go func() { end(c, l); close(ended) }()
				receive(t, ended, "the end")
				receive(t, done, "the call's end")
			})
		}
	}
}

func TestPushesThatNobodyTakesAreCounted(t *testing.T) {
	addr, _ := oldServer(t, func(f wire.Frame) []byte {
		b := pusher(3)(f)
		return append(requestBytes(wire.RequestHeader(9, wire.SerializeRaw, true), "__fl.registry", "Item", "x"), b...)
	})
	for want, opts := range map[int64][]ClientOption{4: nil, 1: {PushTo(make(chan *Push, 9), PushDropNewest)}} {
		c := newRuntime(t).NewClient("test", append(opts, Endpoints(addr))...)
		poke(t, c)
		if n := c.rt.Counters().UnknownPushes.Load(); n != want {
			t.Errorf("%d pushes counted, want %d", n, want)
		}
		c.endpointStates()[0].Attached().(*endpoint).link.Load().conn.Load().Close() //nolint:forcetypeassert // ours
	}
}

// Clients of a service share connections; each that takes pushes gets all.
func TestPushesReachEveryClientOfTheConnection(t *testing.T) {
	addr, _ := oldServer(t, pusher(1))
	rt := newRuntime(t)
	one, two := make(chan *Push, 9), make(chan *Push, 9)
	caller := rt.NewClient("test", Endpoints(addr))
	first := rt.NewClient("test", Endpoints(addr), PushTo(one, PushDropNewest))
	second := rt.NewClient("test", Endpoints(addr, addr), PushTo(two, PushDropNewest))
	poke(t, caller)
	receive(t, one, "the first's push")
	receive(t, two, "the second's push")
	first.Close()
	poke(t, caller)
	receive(t, two, "the second's push")
	if len(one) != 0 {
		t.Error("a closed client was sent a push")
	}
	second.Close()
}

func TestPushHandlersMayPanic(t *testing.T) {
	addr, _ := oldServer(t, pusher(2))
	got := make(chan string, 2)
	c := newRuntime(t).NewClient("test", Endpoints(addr), OnPush(func(_ context.Context, p *Push) {
		got <- string(p.Payload)
		panic("oh")
	}, PushQueue{}))
	poke(t, c)
	if a, b := receive(t, got, "a push"), receive(t, got, "the next"); a != "1" || b != "2" {
		t.Errorf("%s, %s", a, b)
	}
}

func TestCloseWaitsForThePushHandler(t *testing.T) {
	addr, _ := oldServer(t, pusher(1))
	inside := make(chan struct{})
	var over bool
	c := newRuntime(t).NewClient("test", Endpoints(addr), OnPush(func(ctx context.Context, _ *Push) {
		close(inside)
		<-ctx.Done()
		over = true
	}, PushQueue{}))
	poke(t, c)
	receive(t, inside, "the push")
	c.Close()
	if !over {
		t.Error("the handler still ran")
	}
}

func TestPushOptionsThatCannotBeMeant(t *testing.T) {
	handler, ch := func(context.Context, *Push) {}, make(chan *Push)
	for name, opts := range map[string][]ClientOption{
		"no handler":              {OnPush(nil, PushQueue{})},
		"no channel":              {PushTo(nil, PushWait)},
		"both":                    {OnPush(handler, PushQueue{}), PushTo(ch, PushWait)},
		"oldest out of a channel": {PushTo(ch, PushDropOldest)},
		"no such policy":          {OnPush(handler, PushQueue{Full: 9})},
		"less than nothing":       {OnPush(handler, PushQueue{Size: -1})},
	} {
		c := newRuntime(t).NewClient("test", append(opts, Endpoints("127.0.0.1:1"))...)
		err := CallInto(t.Context(), c, "A.B", nil, nil)
		if e := wantFate(t, err, status.FailedPrecondition, status.FateUnexecuted); testing.Verbose() {
			t.Log(name, e)
		}
	}
}

// A connection that pushes are waited for on is never idle: heartbeats keep it.
func TestConnectionsWithPushesAreKept(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve("a:1")
		w.changed(at("a:1"))
		c := w.rt.NewClient(testService, OnPush(func(context.Context, *Push) {}, PushQueue{}))
		c.apply(snapshotOf(time.Second, at("a:1")))
		if _, err := Call[[]byte](w.t.Context(), c, "Raw.Echo", []byte("x")); err != nil {
			t.Fatal(err)
		}
		w.pass(time.Hour)
		if n := w.rt.Counters().Connections.Load(); n != 2 {
			t.Errorf("%d ends of connections after an hour, want both", n)
		}
		if w.rt.Counters().Heartbeats.Load() == 0 {
			t.Error("no heartbeats")
		}
		c.Close()
		w.pass(time.Hour)
		if n := w.rt.Counters().Connections.Load(); n != 0 {
			t.Errorf("%d ends of connections an hour after the client closed", n)
		}
	})
}
