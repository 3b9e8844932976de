// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// hostileCallee is a server that answers as a test wants. It greets callers that
// announce themselves, echoes Good.Echo, and leaves Good.Hold unanswered until
// Good.Release comes.
type hostileCallee struct {
	t     testing.TB
	addr  string
	conns atomic.Int64
	// bad answers every other method with bytes; nil is nothing.
	bad func(f wire.Frame) []byte
}

// calleeFeatures are those of its hello.
var calleeFeatures = []string{wire.FeatureDrain, "cancel", "window", "load"} // constant

func newHostileCallee(t testing.TB, bad func(f wire.Frame) []byte) *hostileCallee {
	t.Helper()
	s := &hostileCallee{t: t, bad: bad}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	var all sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]struct{}{}
	all.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			mu.Lock()
			conns[nc] = struct{}{}
			mu.Unlock()
			all.Go(func() {
				s.serve(rawPeer{t, nc})
				_ = nc.Close()
				mu.Lock()
				delete(conns, nc)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		mu.Lock()
		for nc := range conns {
			_ = nc.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return s
}

func (s *hostileCallee) serve(p rawPeer) {
	var held []wire.Frame
	for {
		b, err := p.bytes()
		if err != nil {
			return
		}
		f, err := wire.Parse(b)
		if err != nil {
			s.t.Errorf("the client sent %x: %v", b, err)
			return
		}
		if isControl(b) {
			continue
		}
		var out []byte
		if _, ok := f.Meta.Get(wire.KeyAnnounce); ok {
			out = control(wire.MethodHello, wire.AppendHello(nil, wire.Hello{Seq: f.Seq, Features: calleeFeatures}))
		}
		switch string(f.Path) + "." + string(f.Method) {
		case "Good.Echo":
			out = append(out, reply(f, wire.StatusNormal, string(f.Payload))...)
		case "Good.Hold":
			held = append(held, f)
		case "Good.Release":
			for _, h := range held {
				out = append(out, reply(h, wire.StatusNormal, "held")...)
			}
			held = nil
			out = append(out, reply(f, wire.StatusNormal, "")...)
		default:
			out = append(out, s.bad(f)...)
		}
		if _, err := p.Write(out); err != nil {
			return
		}
	}
}

// client returns a client of it, whose calls are not tried again, and its runtime.
func (s *hostileCallee) client(opts ...ClientOption) (*Client, *Runtime) {
	log := &logRecorder{}
	rt := newRuntime(s.t, WithWireLimits(hostileLimits), WithLogger(logr.New(log)))
	s.t.Cleanup(func() { log.check(s.t) })
	return rt.NewClient("hostile", append([]ClientOption{Endpoints(s.addr), FixedPolicy(generous(1))}, opts...)...), rt
}

func wantEcho(t testing.TB, c *Client) {
	t.Helper()
	if r, err := Call[[]byte](t.Context(), c, "Good.Echo", []byte("fine")); err != nil || string(*r) != "fine" {
		t.Fatalf("a call that nothing is wrong with: %v", err)
	}
}

// holdCall leaves a call in flight; the function returned has it answered, and
// returns its error.
func holdCall(t testing.TB, c *Client, conn func() *transport.ClientConn) (release func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		r, err := Call[[]byte](context.Background(), c, "Good.Hold", nil)
		if err == nil && string(*r) != "held" {
			err = fmt.Errorf("the call in flight got %q", *r)
		}
		done <- err
	}()
	await(t, "a call is in flight", func() bool {
		nc := conn()
		return nc != nil && nc.InFlight() == 1
	})
	return func() error {
		if _, err := Call[[]byte](context.Background(), c, "Good.Release", nil); err != nil {
			return err
		}
		return receive(t, done, "the end of the call in flight")
	}
}

// connOf returns the runtime's only connection; nil while there is none.
func connOf(rt *Runtime) *transport.ClientConn {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for _, l := range rt.links {
		return l.conn.Load()
	}
	return nil
}

// §4, §2: one response that is not right fails its own call only.
func TestHostileResponses(t *testing.T) {
	limit := hostileLimits.FrameBytes
	answer := func(h func(wire.Header) wire.Header, path, method string, payload []byte, meta ...string) func(wire.Frame) []byte {
		return func(f wire.Frame) []byte {
			return requestBytes(h(f.Reply(wire.StatusNormal)), path, method, string(payload), meta...)
		}
	}
	same := func(h wire.Header) wire.Header { return h }
	flags := func(set byte) func(wire.Header) wire.Header {
		return func(h wire.Header) wire.Header { h.Flags |= set; return h }
	}
	kind := func(k byte) func(wire.Header) wire.Header {
		return func(h wire.Header) wire.Header { h.Kind = k << 4; return h }
	}
	var many []string
	for range hostileLimits.MetadataEntries + 1 {
		many = append(many, "k", "v")
	}
	long := strings.Repeat("n", hostileLimits.NameBytes+1)
	good := gzipped(t, hostileLimits.DecompressedBytes)
	for name, tc := range map[string]struct {
		bad  func(wire.Frame) []byte
		code status.Code
	}{
		"oversized":                       {answer(same, "", "", make([]byte, 2*limit)), status.ResourceExhausted},
		"more than four times the limit":  {answer(same, "", "", make([]byte, 10*limit)), status.ResourceExhausted},
		"long path":                       {answer(same, long, "", nil), status.ResourceExhausted},
		"long method":                     {answer(same, "", long, nil), status.ResourceExhausted},
		"much metadata":                   {answer(same, "", "", nil, "k", strings.Repeat("v", hostileLimits.MetadataBytes)), status.ResourceExhausted},
		"many entries":                    {answer(same, "", "", nil, many...), status.ResourceExhausted},
		"no JSON":                         {answer(kind(1), "", "", []byte("{")), status.Internal},
		"no MsgPack":                      {answer(kind(3), "", "", []byte("\xc1")), status.Internal},
		"MsgPack claims 4 GiB":            {answer(kind(3), "", "", []byte("\xdd\xff\xff\xff\xff")), status.Internal},
		"unknown serialize type":          {answer(kind(9), "", "", []byte("x")), status.Internal},
		"no gzip":                         {answer(flags(0x04), "", "", []byte("x")), status.Internal},
		"cut gzip":                        {answer(flags(0x04), "", "", []byte(good[:len(good)-1])), status.Internal},
		"gzip bomb":                       {answer(flags(0x04), "", "", []byte(gzipped(t, 24<<20))), status.ResourceExhausted},
		"unknown compress type":           {answer(flags(0x14), "", "", []byte("x")), status.Internal},
		"error without metadata":          {answer(flags(0x01), "", "", nil), status.Unknown},
		"status 3":                        {answer(flags(0x03), "", "", nil), status.Unknown},
		"error with a code that is none":  {answer(flags(0x01), "", "", nil, wire.KeyError, "e", wire.KeyCode, "99"), status.Unknown},
		"error with a code like no other": {answer(flags(0x01), "", "", nil, wire.KeyError, "e", wire.KeyCode, strings.Repeat("9", 500)), status.Unknown},
		"error with junk for a text":      {answer(flags(0x01), "", "", nil, wire.KeyError, strings.Repeat("\x00\xff\n", 600)), status.Unknown},
		"error with a reply that is none": {answer(flags(0x05), "", "", []byte("x"), wire.KeyError, "e", wire.KeyCode, "5"), status.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHostileCallee(t, tc.bad)
			c, rt := s.client()
			release := holdCall(t, c, func() *transport.ClientConn { return connOf(rt) })
			call := func(int) {
				_, err := Call[mulReply](t.Context(), c, "Bad.Reply", &mulArgs{1, 2})
				wantFate(t, err, tc.code, status.FateExecuted)
			}
			call(0)
			wantEcho(t, c)
			wantNoGrowth(t, hostileRounds/2, call)
			wantEcho(t, c)
			if err := release(); err != nil {
				t.Error(err)
			}
			if n := s.conns.Load(); n != 1 {
				t.Errorf("%d connections were made, want 1", n)
			}
		})
	}
}

// What a callee sends unasked is dropped and counted, however much it is. §1, §7, §8
func TestHostileFramesToACaller(t *testing.T) {
	const flood = 200
	each := func(one func(f wire.Frame) []byte) func(wire.Frame) []byte {
		return func(f wire.Frame) []byte { return bytes.Repeat(one(f), flood) }
	}
	to := func(flags byte, path, method, payload string, meta ...string) func(wire.Frame) []byte {
		return each(func(f wire.Frame) []byte {
			return requestBytes(wire.Header{Flags: flags, Seq: f.Seq + 1}, path, method, payload, meta...)
		})
	}
	ctl := func(method string, payload []byte) func(wire.Frame) []byte {
		return each(func(wire.Frame) []byte { return control(method, payload) })
	}
	for name, bad := range map[string]func(wire.Frame) []byte{
		"responses of unknown seqs":     to(0x80, "", "", "x"),
		"errors of unknown seqs":        to(0x81, "", "", "x", wire.KeyError, "e"),
		"responses to heartbeats":       to(0xc0, "", "", "x"),
		"requests":                      to(0x00, "Raw", "Echo", "x"),
		"heartbeats":                    to(0x40, "", "", "x"),
		"oneway heartbeats":             to(0x60, wire.ControlPath, wire.MethodDrain, "\x00\x00\x00\x00"),
		"pushes":                        to(0x20, "Some", "Push", strings.Repeat("x", 100)),
		"pushes with junk for names":    to(0x20, "\x00\n", strings.Repeat("\xff", 64), "x"),
		"control frames with an answer": to(0x00, wire.ControlPath, wire.MethodBye, "\x00\x00\x00\x00\x00\x00\x00\x00"),
		"unknown control frames":        ctl("later", []byte("x")),
		"hello of another":              ctl(wire.MethodHello, wire.AppendHello(nil, wire.Hello{Seq: 99})),
		"hello that is none":            ctl(wire.MethodHello, []byte("\xff;;;")),
		"hello again": each(func(f wire.Frame) []byte {
			return control(wire.MethodHello, wire.AppendHello(nil, wire.Hello{Seq: f.Seq}))
		}),
		"bye without a number":   ctl(wire.MethodBye, []byte("x")),
		"drain":                  ctl(wire.MethodDrain, wire.AppendDrain(nil, time.Hour)),
		"cancel":                 ctl("cancel", make([]byte, 8)),
		"window without numbers": ctl("window", []byte("x")),
		"load without numbers":   ctl("load", []byte("x")),
		"load of all ones":       ctl("load", bytes.Repeat([]byte{0xff}, 12)),
		"streams":                ctl("data", make([]byte, 64)),
		"oversized push": func(wire.Frame) []byte {
			return requestBytes(wire.RequestHeader(0, wire.SerializeRaw, true), "Some", "Push", strings.Repeat("x", 2*hostileLimits.FrameBytes))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHostileCallee(t, func(f wire.Frame) []byte { return append(bad(f), reply(f, wire.StatusNormal, "done")...) })
			c, rt := s.client()
			release := holdCall(t, c, func() *transport.ClientConn { return connOf(rt) })
			wantNoGrowth(t, 50, func(int) {
				if r, err := Call[[]byte](t.Context(), c, "Bad.Flood", nil); err != nil || string(*r) != "done" {
					t.Fatalf("the call that was answered in the end: %v", err)
				}
			})
			wantEcho(t, c)
			if err := release(); err != nil {
				t.Error(err)
			}
			if n := s.conns.Load(); n != 1 {
				t.Errorf("%d connections were made, want 1", n)
			}
		})
	}
}

// A second answer reaches nobody: not the call that had the first, and not the
// one that has its place now.
func TestHostileSecondAnswers(t *testing.T) {
	var last []byte // the call before has ended, and its slot is this one's
	s := newHostileCallee(t, func(f wire.Frame) []byte {
		again := bytes.Repeat(reply(f, wire.StatusNormal, "again"), 3)
		out := append(append(last, reply(f, wire.StatusNormal, string(f.Payload))...), again...)
		last = again[:len(again):len(again)]
		return out
	})
	c, rt := s.client()
	wantEcho(t, c)
	wantNoGrowth(t, hostileRounds, func(i int) {
		want := fmt.Sprint(i)
		if r, err := Call[[]byte](t.Context(), c, "Bad.Twice", []byte(want)); err != nil || string(*r) != want {
			t.Fatalf("got %v, want %s", err, want)
		}
	})
	wantEcho(t, c)
	if n := rt.Counters().UnknownResponses.Load(); n < 3*hostileRounds {
		t.Errorf("%d responses of unknown seqs counted, want at least %d", n, 3*hostileRounds)
	}
}

// §4, "Malformed", at the caller: the connection ends, what was in flight on it
// is unknown, and the next call makes another connection.
func TestHostileMalformedResponses(t *testing.T) {
	change := func(at int, n uint32) func(wire.Frame) []byte {
		return func(f wire.Frame) []byte {
			b := reply(f, wire.StatusNormal, "payload", "key", "value")
			binary.BigEndian.PutUint32(b[at:], n)
			return b
		}
	}
	for name, tc := range map[string]struct {
		bad   func(wire.Frame) []byte
		field string
	}{
		"HTTP":               {func(wire.Frame) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") }, "magic"},
		"total 15":           {change(12, 15), "total"},
		"path too long":      {change(16, 1<<32-1), "path"},
		"payload too short":  {change(16+4+3+4+3+4+16, 6), "payload"},
		"metadata cut short": {change(16+4+3+4+3, 15), "payload"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHostileCallee(t, tc.bad)
			c, _ := s.client()
			wantNoGrowth(t, hostileRounds/4, func(int) {
				wantEcho(t, c)
				_, err := Call[[]byte](t.Context(), c, "Bad.Xyz", nil)
				e := wantFate(t, err, status.Unavailable, status.FateUnknown)
				var malformed *wire.MalformedError
				if !errors.As(err, &malformed) || malformed.Field != tc.field || e.Reason() != transport.ReasonLost {
					t.Fatalf("the cause is %v, reason %q; want a malformed %s", err, e.Reason(), tc.field)
				}
			})
		})
	}
}

// §8: a bye that counts more than was sent makes nothing unexecuted; what was
// read is still answered.
func TestHostileByeWithAnAbsurdCount(t *testing.T) {
	for name, tc := range map[string]struct {
		read uint64
		fate status.Fate
	}{"2^64-1": {read: math.MaxUint64}, "2^63": {read: 1 << 63}, "0": {read: 0, fate: status.FateUnexecuted}} {
		t.Run(name, func(t *testing.T) {
			s := newHostileCallee(t, func(f wire.Frame) []byte {
				return append(control(wire.MethodBye, wire.AppendBye(nil, tc.read)), reply(f, wire.StatusNormal, "late")...)
			})
			c, _ := s.client()
			wantNoGrowth(t, hostileRounds/4, func(int) {
				wantEcho(t, c)
				r, err := Call[[]byte](t.Context(), c, "Bad.Bye", nil)
				if tc.fate == status.FateUnexecuted {
					wantFate(t, err, status.Unavailable, status.FateUnexecuted)
				} else if err != nil || string(*r) != "late" {
					t.Fatalf("the call that was answered behind bye: %v", err)
				}
			})
			wantEcho(t, c)
		})
	}
}

// A callee that says bye and never ends its connections must not make its
// callers pile them up.
func TestHostileByeWithoutEndKeepsNoConnections(t *testing.T) {
	s := newHostileCallee(t, func(f wire.Frame) []byte {
		return append(reply(f, wire.StatusNormal, "x"), control(wire.MethodBye, wire.AppendBye(nil, 1))...)
	})
	c, rt := s.client()
	const calls = 100
	for range calls {
		if _, err := Call[[]byte](t.Context(), c, "Bad.Bye", nil); err != nil && status.FateOf(err) != status.FateUnexecuted {
			t.Fatal(err)
		}
	}
	if n := s.conns.Load(); n < calls/4 {
		t.Fatalf("%d connections were made for %d calls: the test tests nothing", n, calls)
	}
	await(t, "the connections have ended", func() bool { return rt.Counters().Connections.Load() <= 2 })
}

// §8: a window of nothing is one of one call; no window makes calls fail that
// would have been answered in time.
func TestHostileWindows(t *testing.T) {
	window := func(calls, size uint32) []byte {
		return control("window", binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, calls), size))
	}
	for name, w := range map[string][]byte{
		"of nothing":             window(0, 0),
		"of no bytes":            window(math.MaxUint32, 0),
		"of no calls":            window(0, math.MaxUint32),
		"of everything":          window(math.MaxUint32, math.MaxUint32),
		"closed after it opened": append(window(math.MaxUint32, math.MaxUint32), window(0, 0)...),
	} {
		t.Run(name, func(t *testing.T) {
			s := newHostileCallee(t, func(f wire.Frame) []byte { return append(bytes.Clone(w), reply(f, wire.StatusNormal, "x")...) })
			c, _ := s.client()
			wantEcho(t, c)
			if _, err := Call[[]byte](t.Context(), c, "Bad.Window", nil); err != nil {
				t.Fatal(err)
			}
			wantNoGrowth(t, 4, func(int) {
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						if _, err := Call[[]byte](t.Context(), c, "Good.Echo", make([]byte, 1000)); err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
			})
			// What waits for room waits within its deadline, and was not executed then.
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			held := make(chan error, 1)
			go func() {
				_, err := Call[[]byte](ctx, c, "Good.Hold", nil)
				held <- err
			}()
			if strings.HasSuffix(name, "nothing") {
				await(t, "the window is full", func() bool {
					short, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
					defer cancel()
					_, err := Call[[]byte](short, c, "Good.Echo", []byte("x"))
					return status.FateOf(err) == status.FateUnexecuted && err != nil
				})
			}
			cancel()
			receive(t, held, "the end of the call that is held")
			wantEcho(t, c)
		})
	}
}

// A callee that reads nothing costs its callers no more than a buffer, however
// many calls they give up.
func TestHostileCalleeThatNeverReads(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	c := newRuntime(t).NewClient("hostile", Endpoints(ln.Addr().String()), FixedPolicy(generous(1)), WithCodec(codec.TypeRaw))
	before := memoryInUse()
	payload := make([]byte, 4<<10)
	const calls, callers = 8000, 20
	var all sync.WaitGroup
	var failed atomic.Int64
	for range callers {
		all.Go(func() {
			for range calls / callers {
				ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
				_, err := Call[[]byte](ctx, c, "Raw.Echo", payload)
				cancel()
				if err != nil {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n != calls {
		t.Errorf("%d of %d calls failed: who answered the others?", n, calls)
	}
	// A buffer of 1 MiB, perhaps another that is being written, and their growth.
	wantMemory(t, before+4<<20, "after 32 MiB of calls that nobody read")
}
