// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// gate holds up whoever comes until it is opened.
type gate struct {
	opened  chan struct{}
	arrived atomic.Int64
}

func newGate() *gate { return &gate{opened: make(chan struct{})} }

func (g *gate) isOpen() bool {
	select {
	case <-g.opened:
		return true
	default:
		return false
	}
}

// block gives the processor away until the gate is opened.
func (g *gate) block() {
	g.arrived.Add(1)
	<-g.opened
}

// yield is ready to run all the time.
func (g *gate) yield() {
	for g.arrived.Add(1); !g.isOpen(); {
		runtime.Gosched()
	}
}

// compute keeps its processor as long as it is let.
func (g *gate) compute() {
	for g.arrived.Add(1); !g.isOpen(); {
	}
}

// slowValue is an argument or a reply whose decoding is held up.
type slowValue struct{}

// slowGate holds slowValues up: they are made by decoding and know of nothing.
var slowGate atomic.Pointer[gate]

func (slowValue) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

func (*slowValue) UnmarshalJSON([]byte) error {
	slowGate.Load().block()
	return nil
}

// heldHandler registers Held.Up with a handler that is held up so.
func heldHandler(hold func(*gate)) func(*Server, *gate) {
	return func(s *Server, g *gate) {
		HandleRaw(s, "Held.Up", func(_ context.Context, b []byte) ([]byte, error) {
			hold(g)
			return b, nil
		})
	}
}

// holdUp is one way to keep a call from ending.
type holdUp struct {
	// calls are made, of which so many get as far as where they are held up.
	calls, held int
	// others are made meanwhile.
	others int
	// register registers Held.Up; arg is what it is called with.
	register func(*Server, *gate)
	arg      any
	reply    func() any
	option   func(*gate) ServerOption
	push     bool // what is held up is a push that the call makes
}

func newBytes() any { return new([]byte) }

func waysToHoldUp() map[string]holdUp {
	procs := runtime.GOMAXPROCS(0)
	const many = 1000
	return map[string]holdUp{
		"handlers that block":   {calls: 400, held: 400, others: many, register: heldHandler((*gate).block), arg: []byte("x"), reply: newBytes}, // more than are kept idle
		"handlers that yield":   {calls: 8 * procs, held: 8 * procs, others: many, register: heldHandler((*gate).yield), arg: []byte("x"), reply: newBytes},
		"handlers that compute": {calls: procs, held: procs, others: many / 10, register: heldHandler((*gate).compute), arg: []byte("x"), reply: newBytes},
		"an interceptor that blocks": {calls: 100, held: 100, others: many, register: heldHandler(func(*gate) {}), arg: []byte("x"), reply: newBytes, option: func(g *gate) ServerOption {
			return ServerIntercept(func(next ServerInvoker) ServerInvoker {
				return func(ctx context.Context, call *ServerCall) (any, error) {
					if call.Method == "Held.Up" {
						g.block()
					}
					return next(ctx, call)
				}
			})
		}},
		"arguments slow to decode": {calls: 100, held: 100, others: many, arg: slowValue{}, reply: func() any { return new(int) }, register: func(s *Server, _ *gate) {
			Handle(s, "Held.Up", func(context.Context, *slowValue) (*int, error) { return new(int), nil })
		}},
		"replies slow to decode": {calls: 100, held: 100, others: many, arg: 1, reply: func() any { return new(slowValue) }, register: func(s *Server, _ *gate) {
			Handle(s, "Held.Up", func(context.Context, *int) (*slowValue, error) { return new(slowValue), nil })
		}},
		"a push handler that blocks": {calls: 10, held: 1, others: many, arg: []byte("x"), reply: newBytes, push: true, register: func(s *Server, _ *gate) {
			HandleRaw(s, "Held.Up", func(ctx context.Context, b []byte) ([]byte, error) {
				c, ok := PushConnOf(ctx)
				if !ok {
					return nil, errors.New("a call without a connection")
				}
				return b, c.Push(ctx, "News.Item", "news")
			})
		}},
	}
}

// What a call waits for, whatever it is, is no business of the others on its
// connection: while it has not ended, a thousand of them begin and end.
func TestCallThatIsHeldUpHoldsUpNoOther(t *testing.T) {
	const callers = 50
	for name, way := range waysToHoldUp() {
		t.Run(name, func(t *testing.T) {
			g := newGate()
			slowGate.Store(g)
			c, other, ln := heldPair(t, way, g)
			var held, served sync.WaitGroup
			defer held.Wait()
			open := sync.OnceFunc(func() { close(g.opened) })
			defer open() // before the server is drained
			var early, failed atomic.Int64
			for range way.calls {
				held.Go(func() {
					if err := CallInto(t.Context(), c, "Held.Up", way.arg, way.reply()); err != nil {
						t.Errorf("a call that was held up: %v", err)
					}
					if !way.push && !g.isOpen() {
						early.Add(1)
					}
				})
			}
			await(t, "the calls are held up", func() bool { return g.arrived.Load() >= int64(way.held) })
			for range callers {
				served.Go(func() {
					for range way.others / callers {
						if err := CallInto(t.Context(), other, "Raw.Echo", []byte("x"), nil); err != nil {
							failed.Add(1)
						}
					}
				})
			}
			done := make(chan struct{})
			go func() {
				served.Wait()
				close(done)
			}()
			receive(t, done, "the end of the other calls")
			if n := early.Load(); n > 0 {
				t.Errorf("%d calls were not held up: the test tests nothing", n)
			}
			if n := failed.Load(); n > 0 {
				t.Errorf("%d of %d calls failed", n, way.others)
			}
			open()
			held.Wait()
			if n := ln.count(); n != 1 {
				t.Errorf("%d connections, want one for all", n)
			}
		})
	}
}

// heldPair makes a server, and two clients of it that share one connection: one
// whose calls are held up, and one for the others.
func heldPair(t *testing.T, way holdUp, g *gate) (held, other *Client, ln *cutListener) {
	t.Helper()
	var opts []ServerOption
	if way.option != nil {
		opts = append(opts, way.option(g))
	}
	srv := newRuntime(t).NewServer(opts...)
	way.register(srv, g)
	HandleRaw(srv, "Raw.Echo", echoRaw)
	ln = listen(t, "")
	start(t, srv, ln)
	rt := newRuntime(t)
	rt.processors = 1 // else many calls have two connections
	client := func(name string, opts ...ClientOption) *Client {
		return rt.NewClient(name, append(opts, Endpoints(ln.Addr().String()), FixedPolicy(policy.CallFields{Timeout: ptr(5 * patience)}))...)
	}
	var mine []ClientOption
	if _, raw := way.arg.([]byte); !raw {
		mine = append(mine, WithCodec(codec.TypeJSON))
	}
	if way.push {
		mine = append(mine, OnPush(func(context.Context, *Push) { g.block() }, PushQueue{}))
	}
	other = client("other")
	if err := CallInto(t.Context(), other, "Raw.Echo", []byte("x"), nil); err != nil { // dials
		t.Fatal(err)
	}
	return client("held", mine...), other, ln
}

// Callers of one connection are served about as often as each other, whatever they
// send and however the callee answers. What is fair only in the long run may be
// unfair for a moment on a machine that is busy, so that each gets three chances:
// who is neglected by design is so each time.
func TestCallersAreServedAlike(t *testing.T) {
	const callers = 100
	atOnce, large := int64(2000), int64(40) // calls of each
	if raceEnabled {
		atOnce, large = 200, 10 // which take ten times as long
	}
	for name, tt := range map[string]struct {
		payload int
		calls   int64 // of each caller, on average
		most    float64
		handler func(ctx context.Context, b []byte) ([]byte, error)
	}{
		"at once": {payload: 500, calls: atOnce, most: 1.5, handler: echoRaw},
		"after a yield": {payload: 500, calls: atOnce, most: 1.5, handler: func(_ context.Context, b []byte) ([]byte, error) {
			runtime.Gosched()
			return b, nil
		}},
		"after a moment": {payload: 500, calls: 100, most: 1.5, handler: func(_ context.Context, b []byte) ([]byte, error) {
			<-time.After(time.Millisecond)
			return b, nil
		}},
		// More than there is room for: most callers wait until theirs can be written.
		// They are few calls, hence the bound: nobody is forgotten.
		"large messages": {payload: 100 << 10, calls: large, most: 4, handler: echoRaw},
	} {
		t.Run(name, func(t *testing.T) {
			c := pair(t, func(s *Server) { HandleRaw(s, "Raw.Echo", tt.handler) }, FixedPolicy(policy.CallFields{Timeout: ptr(5 * patience)}))
			for range 3 {
				served := serveAlike(t, c, callers, tt.payload, callers*tt.calls)
				least, most := slices.Min(served), slices.Max(served)
				t.Logf("the most served caller had %d calls, the least served %d", most, least)
				if float64(most) <= tt.most*float64(least) {
					return
				}
			}
			t.Errorf("each time one caller was served more than %.1f times as often as another", tt.most)
		})
	}
}

// serveAlike has so many callers make calls, all together, and returns how many
// calls of each were answered.
func serveAlike(t *testing.T, c *Client, callers, payload int, calls int64) (served []int) {
	t.Helper()
	served = make([]int, callers)
	var all sync.WaitGroup
	var begin sync.WaitGroup
	var answered atomic.Int64
	begin.Add(callers)
	for i := range callers {
		all.Go(func() {
			arg, reply := make([]byte, payload), make([]byte, 0, payload)
			begin.Done()
			begin.Wait()
			for answered.Load() < calls {
				if err := CallInto(t.Context(), c, "Raw.Echo", arg, &reply); err != nil {
					t.Errorf("caller %d: %v", i, err)
					return
				}
				served[i]++
				answered.Add(1)
			}
		})
	}
	all.Wait()
	return served
}
