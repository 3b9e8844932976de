// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// fuzzSeeds are conversations by hand: what a peer may say, right and wrong.
func fuzzSeeds(f *testing.F) {
	f.Helper()
	announce := string(wire.AppendAnnouncement(nil, wire.Announcement{Seq: 1, Features: callerFeatures, Caller: "a/b"}))
	first := request(1, "x", wire.KeyAnnounce, announce)
	cancel := controlFrame(wire.MethodCancel, wire.AppendCancel(nil, 7))
	beat := wire.Begin(nil, wire.HeartbeatHeader(3), "", "")
	oneway := wire.Begin(nil, wire.RequestHeader(5, wire.SerializeRaw, true), "Test", "Echo")
	answer := wire.Begin(nil, wire.RequestHeader(1<<20, wire.SerializeRaw, false).Reply(wire.StatusNormal), "Test", "Echo")
	for _, seed := range [][]byte{
		nil,
		[]byte("GET / HTTP/1.1\r\n\r\n"),
		first,
		first[:20],
		bytes.Join([][]byte{first, request(7, "a"), request(7, "b"), cancel, cancel, cancel}, nil),
		bytes.Join([][]byte{first, beat.Payload([]byte("now")), oneway.Payload([]byte("y"))}, nil),
		bytes.Join([][]byte{first, request(8, "z", wire.KeyServerTimeout, "-5"), {8, 0, 0, 0}}, nil),
		{8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff},
		{8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x00, 0x00, 0x40, 0x00},
		bytes.Join([][]byte{
			controlFrame(wire.MethodHello, wire.AppendHello(nil, wire.Hello{Seq: 1, Features: calleeFeaturesLoad})),
			controlFrame(wire.MethodWindow, wire.AppendWindow(nil, wire.Window{})),
			controlFrame(wire.MethodLoad, wire.AppendLoad(nil, wire.Load{InFlight: 1})),
			controlFrame(wire.MethodDrain, wire.AppendDrain(nil, time.Second)),
			controlFrame(wire.MethodBye, wire.AppendBye(nil, 0)),
			answer.Payload([]byte("for nobody")),
		}, nil),
	} {
		f.Add(seed)
	}
}

// lastSeq is of the request behind those of the fuzzer, which is unlikely to find it.
const lastSeq = 0x7d1ce5a3b2f40961

// patience is how long a fuzzed connection may take to end.
const patience = 20 * time.Second

// Whatever a caller sends, its connection ends when it does, its requests are
// answered with what they ask, and nothing is left behind.
func FuzzServerConn(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := net.Pipe()
		h := newCallee()
		var handlers sync.WaitGroup
		cfg := Config{Counters: new(Counters), Shared: NewShared(1 << 20), Limits: wire.Limits{FrameBytes: 8 << 10}, MaxCalls: 4, WriteTimeout: time.Second}
		s := NewServer(far, cfg, &fuzzHandler{callee: h, handlers: &handlers}, nil)
		go func() {
			_, _ = near.Write(sent)
			_, _ = near.Write(request(lastSeq, "ended"))
			_ = near.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // what was sent may have swallowed it
		}()
		for peer := (rawPeer{t, near}); ; {
			frame, err := peer.tryFrame()
			if err != nil {
				break
			}
			if frame.Seq == lastSeq && frame.Response() && frame.Status() == wire.StatusNormal && string(frame.Payload) != "ended" {
				t.Errorf("the answer to %q is %q", "ended", frame.Payload)
			}
			if frame.Seq == lastSeq {
				break
			}
		}
		_ = near.Close()
		select {
		case <-s.Done():
		case <-time.After(patience):
			t.Fatal("the connection does not end")
		}
		handlers.Wait()
		checkLevels(t, cfg.Counters)
		if n := cfg.Shared.Bytes(); n != 0 {
			t.Errorf("%d bytes of the server's bound are lost", n)
		}
	})
}

// fuzzHandler answers each request with its payload, now or later.
type fuzzHandler struct {
	*callee
	handlers *sync.WaitGroup
}

func (h *fuzzHandler) Request(in *Inbound) {
	if len(in.Payload)%3 == 0 {
		in.Refuse(status.New(status.Unavailable, "no"), wire.Retry{Word: wire.RetryUnexecuted})
		return
	}
	in.Keep()
	h.handlers.Go(func() {
		_ = in.OnEnd(told{make(chan struct{}), make(chan struct{})})
		in.Reserve(100)
		in.Respond(nil, bytes.Clone(in.Payload), wire.CompressNone)
	})
}

// Whatever a callee sends, a call gets an answer only from a frame that names its
// seq, else it ends with the connection or its deadline, and nothing is left.
func FuzzClientConn(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := net.Pipe()
		w := wheel.New()
		defer w.Close()
		cfg := Config{Wheel: w, Counters: new(Counters), Limits: wire.Limits{FrameBytes: 8 << 10}, WriteTimeout: time.Second}
		c := NewClient(near, cfg, wire.Announcement{Caller: "a/b"}, quiet{})
		var calls sync.WaitGroup
		for i := range 3 {
			calls.Go(func() {
				res, err := c.Do(context.Background(), time.Now().Add(patience), &Request{Path: "Test", Method: "Echo", Payload: []byte("x"), Oneway: i == 2})
				if err == nil && i != 2 && !bytes.Contains(sent, res.Payload) {
					t.Errorf("a call was answered with %q, which nobody sent", res.Payload)
				}
				if err != nil && status.CodeOf(err) == status.DeadlineExceeded {
					t.Error("a call did not end with its connection")
				}
				res.Release()
			})
		}
		peer := rawPeer{t, far}
		if frame, err := peer.tryFrame(); err == nil {
			_, _ = far.Write(helloTo(frame, calleeFeaturesLoad...))
			go func() {
				for {
					if _, err := peer.tryFrame(); err != nil {
						return
					}
				}
			}()
			_, _ = far.Write(sent)
		}
		_ = far.Close()
		calls.Wait()
		c.Close()
		checkLevels(t, cfg.Counters)
	})
}

// quiet are Events of which nothing is made.
type quiet struct{}

func (quiet) Draining(*ClientConn)         {}
func (quiet) Push(*ClientConn, wire.Frame) {}
func (quiet) Ended(*ClientConn, error)     {}
