// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"encoding/binary"
	"net"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// victim is a server to be attacked, with limits so small that attacks are cheap.
type victim struct {
	t    testing.TB
	rt   *Runtime
	srv  *Server
	addr string
	log  *logRecorder
	// ran counts handlers that ran.
	ran atomic.Int64
	// held gets the context of each call of Raw.Hold, which release ends.
	held    chan context.Context
	release chan struct{}
}

// hostileLimits are those of a victim.
var hostileLimits = wire.Limits{ // constant
	FrameBytes: 32 << 10, MetadataBytes: 4 << 10, MetadataEntries: 8, NameBytes: 64, DecompressedBytes: 64 << 10,
}

// secret is in what the victim's panicking handler has in its hands.
const secret = "hunter2"

func newVictim(t testing.TB, opts ...ServerOption) *victim {
	t.Helper()
	v := &victim{t: t, log: &logRecorder{}, held: make(chan context.Context, 4096), release: make(chan struct{})}
	v.rt = newRuntime(t, WithWireLimits(hostileLimits), WithLogger(logr.New(v.log)))
	v.srv = v.rt.NewServer(opts...)
	s := v.srv
	HandleRaw(s, "Raw.Echo", func(_ context.Context, b []byte) ([]byte, error) {
		v.ran.Add(1)
		return b, nil
	})
	HandleRaw(s, "Raw.Hold", v.hold)
	HandleRaw(s, "Raw.Big", func(context.Context, []byte) ([]byte, error) { return make([]byte, 16<<10), nil })
	HandleRaw(s, "Raw.Panic", func(_ context.Context, b []byte) ([]byte, error) { panic(string(b)) })
	Handle(s, "Arith.Mul", mul)
	ln := listen(t, "")
	v.addr = ln.Addr().String()
	start(t, v.srv, narrow{ln})
	t.Cleanup(func() { v.log.check(t) })
	return v
}

// narrow gives its connections small buffers in the kernel, so that it takes
// little to fill them.
type narrow struct{ net.Listener }

func (n narrow) Accept() (net.Conn, error) {
	nc, err := n.Listener.Accept()
	if tcp, ok := nc.(*net.TCPConn); ok {
		_, _ = tcp.SetWriteBuffer(16<<10), tcp.SetReadBuffer(64<<10)
	}
	return nc, err
}

// hold runs until it is released or its context ends.
func (v *victim) hold(ctx context.Context, _ []byte) ([]byte, error) {
	v.ran.Add(1)
	v.held <- ctx
	select {
	case <-v.release:
		return []byte("held"), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// hostilePeer is a caller that announced itself, so that it is told codes and marks.
type hostilePeer struct {
	rawPeer
	hellos int
}

// plain connects without a word.
func (v *victim) plain() *hostilePeer {
	v.t.Helper()
	nc, err := net.Dial("tcp", v.addr)
	if err != nil {
		v.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &hostilePeer{rawPeer: rawPeer{v.t, nc}}
}

// announced connects, and is greeted.
func (v *victim) announced(features ...string) *hostilePeer {
	v.t.Helper()
	p := v.plain()
	p.send(requestBytes(raw(1), "Raw", "Echo", "first", wire.KeyAnnounce, announcement(1, features...)))
	if f := p.wantAnswer(1, status.OK, ""); string(f.Payload) != "first" || p.hellos != 1 {
		v.t.Fatalf("first came %q after %d hellos", f.Payload, p.hellos)
	}
	return p
}

func announcement(seq uint64, features ...string) string {
	if len(features) == 0 {
		features = []string{wire.FeatureDrain}
	}
	return string(wire.AppendAnnouncement(nil, wire.Announcement{Seq: seq, Features: features, Caller: "shop/web"}))
}

func raw(seq uint64) wire.Header { return wire.RequestHeader(seq, wire.SerializeRaw, false) }

func control(method string, payload []byte) []byte {
	return requestBytes(wire.RequestHeader(0, wire.SerializeRaw, true), wire.ControlPath, method, string(payload))
}

// response returns the next frame that is not a control frame.
func (p *hostilePeer) response() wire.Frame {
	p.t.Helper()
	for {
		f := p.frame()
		if string(f.Path) != wire.ControlPath || !f.Oneway() {
			return f
		}
		if string(f.Method) == wire.MethodHello {
			p.hellos++
		}
	}
}

// wantAnswer reads the next answer, which must be to seq. Code OK is a success.
func (p *hostilePeer) wantAnswer(seq uint64, code status.Code, mark string) wire.Frame {
	p.t.Helper()
	f := p.response()
	wantStatus, wantCode := wire.StatusNormal, ""
	if code != status.OK {
		wantStatus, wantCode = wire.StatusError, strconv.Itoa(int(code))
	}
	gotCode, _ := f.Meta.Get(wire.KeyCode)
	gotMark, _ := f.Meta.Get(wire.KeyRetry)
	text, _ := f.Meta.Get(wire.KeyError)
	if !f.Response() || f.Seq != seq || f.Status() != wantStatus || string(gotCode) != wantCode || string(gotMark) != mark {
		p.t.Fatalf("answer to %d: response %v, status %d, code %q, mark %q, %q; want to %d: status %d, code %q, mark %q",
			f.Seq, f.Response(), f.Status(), gotCode, gotMark, text, seq, wantStatus, wantCode, mark)
	}
	return f
}

// echo makes a call that nothing is wrong with.
func (p *hostilePeer) echo(seq uint64) {
	p.t.Helper()
	p.send(requestBytes(raw(seq), "Raw", "Echo", "fine"))
	if f := p.wantAnswer(seq, status.OK, ""); string(f.Payload) != "fine" {
		p.t.Fatalf("the echo is %q", f.Payload)
	}
}

// holds leaves a call in flight and returns its handler's context.
func (v *victim) holds(p *hostilePeer, seq uint64) context.Context {
	v.t.Helper()
	p.send(requestBytes(raw(seq), "Raw", "Hold", ""))
	return receive(v.t, v.held, "the call to hold")
}

// letGo releases one call that is held.
func (v *victim) letGo() {
	v.t.Helper()
	select {
	case v.release <- struct{}{}:
	case <-time.After(patience):
		v.t.Fatal("no call is held any more")
	}
}

// warm has the server start as many workers as it keeps: their stacks stay.
func (v *victim) warm() {
	v.t.Helper()
	p := v.announced()
	defer func() { _ = p.Close() }()
	for i := range keepIdle - 1 {
		v.holds(p, uint64(2000+i))
	}
	for range keepIdle - 1 {
		v.letGo()
		p.response()
	}
}

// wantEnded reads until the connection ends, and fails at an answer. A reset is
// an end, too: what cannot be a frame leaves input unread.
func (p *hostilePeer) wantEnded() {
	p.t.Helper()
	for {
		b, err := p.bytes()
		if err != nil {
			if timeout, ok := err.(net.Error); ok && timeout.Timeout() { //nolint:errorlint // io.ReadFull does not wrap
				p.t.Fatal("the connection was not ended")
			}
			return
		}
		f, err := wire.Parse(b)
		if err != nil || !f.Oneway() || string(f.Path) != wire.ControlPath {
			p.t.Fatalf("instead of the end came %x", b)
		}
	}
}

// await waits until cond holds of something that other goroutines change.
func await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("in vain waited until %s", what)
		}
	}
}

// memoryInUse is what lives on the heap, and the stacks, after a collection.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC() // the first one moves pools to their victim caches
	samples := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(samples)
	if raceEnabled { // its stacks are several times as large
		return int64(samples[0].Value.Uint64())
	}
	return int64(samples[0].Value.Uint64() + samples[1].Value.Uint64())
}

// allocated is what was ever allocated.
func allocated() int64 {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64())
}

// mostGrowth is how much the rounds of an attack may leave behind in all: noise,
// and less than what one of a hundred could hold on to. Bytes.
const mostGrowth = 512 << 10

// wantNoGrowth repeats an attack, and fails if memory is held afterwards that
// was not held before. The first rounds are not measured: pools, workers and
// tables have to reach their sizes.
func wantNoGrowth(t testing.TB, rounds int, round func(i int)) {
	t.Helper()
	for i := range rounds/4 + 1 {
		round(i)
	}
	before := memoryInUse()
	for i := range rounds {
		round(rounds + i)
	}
	wantMemory(t, before+mostGrowth, "after "+strconv.Itoa(rounds)+" rounds")
}

// wantMemory waits until no more than most bytes are in use: what an attack used
// may need a moment to end.
func wantMemory(t testing.TB, most int64, when string) {
	t.Helper()
	var now int64
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if now = memoryInUse(); now <= most {
			return
		}
	}
	t.Errorf("%s %d KiB are in use, want at most %d KiB", when, now>>10, most>>10)
}

// patched returns a frame like any other but for the number at an offset.
//
//	0 magic | 12 total | 16 path 3 | 23 method 4 | 31 metadata 16 |
//	35 key 3 | 42 value 5 | 51 payload 7
func patched(at int, n uint32) func(uint64) []byte {
	return func(seq uint64) []byte {
		b := requestBytes(raw(seq), "Raw", "Echo", "payload", "key", "value")
		binary.BigEndian.PutUint32(b[at:], n)
		return b
	}
}

// logRecorder keeps the last lines that were logged. No line may have more of a
// peer's text than it should, whatever peers send.
type logRecorder struct {
	mu    sync.Mutex
	lines []string
	bad   string
}

// maxLoggedValue is more than any value of a line needs. Bytes.
const maxLoggedValue = 512

func (*logRecorder) Init(logr.RuntimeInfo)               {}
func (*logRecorder) Enabled(int) bool                    { return true }
func (r *logRecorder) WithValues(...any) logr.LogSink    { return r }
func (r *logRecorder) WithName(string) logr.LogSink      { return r }
func (r *logRecorder) Info(_ int, msg string, kv ...any) { r.add(msg, kv) }
func (r *logRecorder) Error(err error, m string, kv ...any) {
	r.add(m, append([]any{"error", err.Error()}, kv...))
}

func (r *logRecorder) add(msg string, kv []any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := msg
	for i := 0; i+1 < len(kv); i += 2 {
		key, _ := kv[i].(string)
		value, isText := kv[i+1].(string)
		if !isText || key == "stack" {
			continue
		}
		line += " " + key + "=" + value
		if len(value) > maxLoggedValue || strings.ContainsFunc(value, unicode.IsControl) {
			r.bad = msg + " " + key + "=" + strconv.Quote(value)
		}
	}
	if len(r.lines) >= 64 {
		r.lines = r.lines[:copy(r.lines, r.lines[1:])]
	}
	r.lines = append(r.lines, line)
}

func (r *logRecorder) check(t testing.TB) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bad != "" {
		t.Errorf("a peer's text in the log is too long, or has control characters: %s", r.bad)
	}
}

// has reports whether one of the last lines contains text.
func (r *logRecorder) has(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, line := range r.lines {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

func (r *logRecorder) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = nil
}
