// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

func TestCallRaw(t *testing.T) {
	for name, tc := range map[string]struct {
		size, room int
		before     string
		opts       []ClientOption
	}{
		"nothing":                    {},
		"into nothing":               {size: 581},
		"into room enough":           {size: 581, room: 1000},
		"into too little":            {size: 581, room: 100},
		"behind something":           {size: 581, room: 1000, before: "kept "},
		"behind something, too much": {size: 581, before: "kept "},
		"by reference":               {size: maxEncodedKept, before: "kept "},
		"compressed":                 {size: 100_000, before: "kept ", opts: []ClientOption{WithCompression(codec.CompressGzip)}},
		"marked as of another codec": {size: 20, opts: []ClientOption{WithCodec(codec.TypeJSON)}},
	} {
		t.Run(name, func(t *testing.T) {
			c := pair(t, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }, tc.opts...)
			payload := []byte(strings.Repeat("abc", tc.size)[:tc.size])
			reply := append(make([]byte, 0, len(tc.before)+tc.room), tc.before...)
			for range 3 {
				got, err := CallRaw(t.Context(), c, "Raw.Echo", payload, reply)
				if err != nil {
					t.Fatal(err)
				}
				if string(got) != tc.before+string(payload) {
					t.Fatalf("%d bytes came, want %d", len(got), len(payload))
				}
				if used := len(got) > 0 && cap(reply) > 0 && &got[0] == &reply[:1][0]; used != (tc.room >= tc.size && tc.size > 0) {
					t.Errorf("the reply's own memory was used: %v", used)
				}
			}
		})
	}
}

// The frame says of the payload what the client's codec is, raw if none.
func TestCallRawIsOfTheClientsCodec(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) { Handle(s, "Arith.Mul", mul) })
	c := newRuntime(t).NewClient("test", Endpoints(addr), WithCodec(codec.TypeJSON))
	got, err := CallRaw(t.Context(), c, "Arith.Mul", []byte(`{"A":6,"B":7}`), nil)
	if err != nil || string(got) != `{"C":42}` {
		t.Errorf("%q, %v", got, err)
	}
	c = newRuntime(t).NewClient("test", Endpoints(addr))
	got, err = CallRaw(t.Context(), c, "Arith.Mul", []byte(`{"A":6,"B":7}`), []byte("kept"))
	wantFate(t, err, status.InvalidArgument, status.FateUnexecuted)
	if string(got) != "kept" {
		t.Errorf("beside the error: %q", got)
	}
}

// What comes beside an error comes once, and that of a former attempt not at all.
func TestCallRawAndPartialReplies(t *testing.T) {
	var calls atomic.Int32
	answer := func(f wire.Frame) []byte {
		if calls.Add(1) == 1 {
			return extended(t, f, reply(f, wire.StatusError, "half", wire.KeyError, "busy", wire.KeyCode, "14"))
		}
		return reply(f, wire.StatusError, "other half", wire.KeyError, "boom")
	}
	one, _ := oldServer(t, answer)
	two, _ := oldServer(t, answer)
	c := newRuntime(t).NewClient("test", Endpoints(one, two), FixedPolicy(generous(2), "Raw.Half"))
	got, err := CallRaw(t.Context(), c, "Raw.Half", nil, []byte("kept "))
	if err == nil || string(got) != "kept other half" || calls.Load() != 2 {
		t.Errorf("%q, %v after %d attempts", got, err, calls.Load())
	}
}

func TestCallRawOfGarbage(t *testing.T) {
	addr, _ := oldServer(t, func(f wire.Frame) []byte { return replyAs(f, wire.CompressGzip, wire.StatusNormal, "no gzip") })
	c := newRuntime(t).NewClient("test", Endpoints(addr))
	got, err := CallRaw(t.Context(), c, "Raw.Bad", nil, []byte("kept"))
	wantFate(t, err, status.Internal, status.FateExecuted)
	if string(got) != "kept" {
		t.Errorf("beside the error: %q", got)
	}

	addr, _ = oldServer(t, func(f wire.Frame) []byte {
		return replyAs(f, wire.CompressGzip, wire.StatusNormal, zipped(t, make([]byte, 2001)))
	})
	c = newRuntime(t, WithWireLimits(wire.Limits{DecompressedBytes: 2000})).NewClient("test", Endpoints(addr))
	_, err = CallRaw(t.Context(), c, "Raw.Bomb", nil, nil)
	wantFate(t, err, status.ResourceExhausted, status.FateExecuted)
}

// Interceptors see Arg and Reply, may change what is in them, and may keep the call.
func TestCallRawThroughInterceptors(t *testing.T) {
	var kept []*ClientCall
	watch := func(next ClientInvoker) ClientInvoker {
		return func(ctx context.Context, call *ClientCall) error {
			if b, ok := call.Arg.([]byte); !ok || string(b) != "payload" {
				t.Errorf("argument %v", call.Arg)
			}
			call.Arg = []byte("changed")
			err := next(ctx, call)
			if b, ok := call.Reply.(*[]byte); !ok || string(*b) != "changed" || call.Attempts != 1 {
				t.Errorf("reply %v after %d attempts", call.Reply, call.Attempts)
			} else {
				*b = append(*b, '!')
			}
			kept = append(kept, call)
			return err
		}
	}
	c := pair(t, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }, ClientIntercept(watch))
	got := []byte("kept ")
	var err error
	for range 2 {
		if got, err = CallRaw(t.Context(), c, "Raw.Echo", []byte("payload"), got); err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != "kept changed!changed!" {
		t.Errorf("reply %q", got)
	}
	if kept[0] == kept[1] || string(*kept[0].Reply.(*[]byte)) != "changed!" { //nolint:forcetypeassert // checked above
		t.Error("a call that an interceptor kept was used again")
	}
}

func TestCallRawAndInterceptorsThatDoNotHandOn(t *testing.T) {
	own := errors.New("own error")
	for name, tc := range map[string]struct {
		invoke func(call *ClientCall, next func() error) error
		want   string
		code   status.Code
	}{
		"an answer": {func(call *ClientCall, _ func() error) error {
			*call.Reply.(*[]byte) = []byte("from a cache") //nolint:forcetypeassert // CallRaw says so
			return nil
		}, "kept from a cache", status.OK},
		"an error": {func(*ClientCall, func() error) error { return own }, "kept ", status.Unknown},
		"no reply wanted": {func(call *ClientCall, next func() error) error {
			call.Reply = nil
			return next()
		}, "kept ", status.OK},
		"another argument": {func(call *ClientCall, next func() error) error {
			call.Arg = 7
			return next()
		}, "kept ", status.InvalidArgument},
		"another reply": {func(call *ClientCall, next func() error) error {
			call.Reply = new(string)
			return next()
		}, "kept ", status.Internal},
	} {
		t.Run(name, func(t *testing.T) {
			c := pair(t, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }, ClientIntercept(func(next ClientInvoker) ClientInvoker {
				return func(ctx context.Context, call *ClientCall) error {
					return tc.invoke(call, func() error { return next(ctx, call) })
				}
			}))
			got, err := CallRaw(t.Context(), c, "Raw.Echo", []byte("payload"), []byte("kept "))
			if string(got) != tc.want || status.CodeOf(err) != tc.code {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// Payload and reply are the caller's again when the call returns: here they are
// used for the next one at once.
func TestCallRawKeepsNothing(t *testing.T) {
	c := pair(t, func(s *Server) {
		HandleRaw(s, "Raw.Double", func(_ context.Context, b []byte) ([]byte, error) { return append(b, b...), nil })
	})
	var callers sync.WaitGroup
	for caller := range 8 {
		callers.Go(func() {
			var payload, reply []byte
			var err error
			for i := range 300 {
				payload = fmt.Appendf(payload[:0], "%d of caller %d%s", i, caller, strings.Repeat("x", i))
				if reply, err = CallRaw(t.Context(), c, "Raw.Double", payload, reply[:0]); err != nil {
					t.Error(err)
					return
				}
				if half := len(reply) / 2; !bytes.Equal(reply[:half], payload) || !bytes.Equal(reply[half:], payload) {
					t.Errorf("sent %q, got %q", payload, reply)
					return
				}
			}
		})
	}
	callers.Wait()
}

func TestCallRawReplyMetadata(t *testing.T) {
	c := pair(t, func(s *Server) {
		HandleRaw(s, "Raw.Meta", func(ctx context.Context, b []byte) ([]byte, error) {
			SetReplyMetadata(ctx, "k", string(b))
			return nil, nil
		})
	})
	var md Metadata
	if got, err := CallRaw(t.Context(), c, "Raw.Meta", []byte("v"), nil, ReplyMetadata(&md)); err != nil || len(got) != 0 || md["k"] != "v" {
		t.Errorf("%q, metadata %v, %v", got, md, err)
	}
}
