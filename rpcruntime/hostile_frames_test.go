// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// offence is something that a peer sends and must not. bytes makes it; seq is
// what an answer has to repeat.
type offence struct {
	name  string
	bytes func(seq uint64) []byte
	// silent offences have no answer; others one with code and mark, or a
	// success if code is OK.
	silent bool
	code   status.Code
	mark   string
	// counter counts them; nil if nothing does.
	counter func(*transport.Counters) *atomic.Int64
}

const (
	markLimit      = "unexecuted;reason=limit"
	markUnexecuted = "unexecuted"
)

func overLimit(c *transport.Counters) *atomic.Int64        { return &c.OverLimit }
func unknownResponses(c *transport.Counters) *atomic.Int64 { return &c.UnknownResponses }

// forgiven checks that an offence costs only itself: calls before, meanwhile
// and after it on the same connection are served.
func (v *victim) forgiven(t *testing.T, o offence) {
	v.t = t
	p := v.announced()
	defer func() { _ = p.Close() }()
	v.holds(p, 1000)
	hellos, ran := p.hellos, v.ran.Load()
	var counted int64
	if o.counter != nil {
		counted = o.counter(v.rt.counters).Load()
	}
	offend := func(seq uint64) {
		p.send(o.bytes(seq))
		if !o.silent {
			p.wantAnswer(seq, o.code, o.mark)
		}
	}
	offend(7)
	if n := v.ran.Load() - ran; o.code != status.OK && n != 0 {
		t.Errorf("%d handlers ran", n)
	}
	p.echo(8)
	if o.counter != nil {
		if n := o.counter(v.rt.counters).Load() - counted; n != 1 {
			t.Errorf("counted %d times, want once", n)
		}
	}
	wantNoGrowth(t, hostileRounds, func(i int) { offend(uint64(10_000 + i)) })
	p.echo(9)
	v.letGo()
	if f := p.wantAnswer(1000, status.OK, ""); string(f.Payload) != "held" {
		t.Errorf("the call in flight got %q", f.Payload)
	}
	if p.hellos != hellos {
		t.Error("another hello came")
	}
}

// §4, "Malformed": nothing of the frame is acted upon, nothing is answered, the
// connection ends and the log names the field. Others do not notice.
func TestHostileMalformedFrames(t *testing.T) {
	beyond := func(b []byte) func(uint64) []byte { return func(uint64) []byte { return b } }
	extra := func(f func(uint64) []byte) func(uint64) []byte {
		return func(seq uint64) []byte { return append(f(seq), 0) }
	}
	const total = 58 - wire.PrefixLen + 4 // of the frame that is patched
	good := patched(12, total)(1)
	if f, err := wire.Parse(good); err != nil || string(f.Payload) != "payload" {
		t.Fatalf("the frame to be patched is none: %v", err)
	}
	v := newVictim(t)
	for _, o := range []struct {
		name, field string
		bytes       func(uint64) []byte
	}{
		{"HTTP", "first byte", beyond([]byte("GET / HTTP/1.1\r\n\r\n"))},
		{"magic off by one", "first byte", patched(0, 0x09000000)},
		{"one wrong byte", "first byte", beyond([]byte{0x16})},
		{"total 0", "total", patched(12, 0)},
		{"total 15", "total", patched(12, 15)},
		{"total one too small", "payload", patched(12, total-1)},
		{"total one too large", "payload", extra(patched(12, total+1))},
		{"path reaches far beyond", "path", patched(16, 1<<32-1)},
		{"path reaches one beyond", "path", patched(16, total-3)},
		{"path one too large", "method", patched(16, 4)},
		{"path one too small", "method", patched(16, 2)},
		{"method reaches far beyond", "method", patched(23, 1<<32-1)},
		{"method takes what is left", "metadata", patched(23, total-11)},
		{"method one too small", "metadata", patched(23, 3)},
		{"metadata reaches far beyond", "metadata", patched(31, 1<<32-1)},
		{"metadata takes what is left", "payload", patched(31, total-19)},
		{"metadata one too small", "payload", patched(31, 15)},
		{"key reaches far beyond", "metadata key", patched(35, 1<<32-1)},
		{"key takes the value's length", "metadata value", patched(35, 9)},
		{"value reaches far beyond", "metadata value", patched(42, 1<<32-1)},
		{"value reaches beyond the block", "metadata value", patched(42, 6)},
		{"entry ends before the block", "metadata key", patched(42, 4)},
		{"payload reaches far beyond", "payload", patched(51, 1<<32-1)},
		{"payload one too large", "payload", patched(51, 8)},
		{"payload one too small", "payload", patched(51, 6)},
	} {
		t.Run(o.name, func(t *testing.T) {
			v.t = t
			bystander := v.announced()
			defer func() { _ = bystander.Close() }()
			v.holds(bystander, 1000)
			p := v.announced()
			inFlight := v.holds(p, 1001)
			ran, malformed := v.ran.Load(), v.rt.counters.Malformed.Load()
			v.log.clear()
			p.send(o.bytes(7))
			p.wantEnded()
			_ = p.Close()
			receive(t, inFlight.Done(), "the end of the context of a handler on the connection")
			await(t, "the log names "+o.field, func() bool { return v.log.has("malformed frame: " + o.field + " ") })
			if n := v.rt.counters.Malformed.Load() - malformed; n != 1 {
				t.Errorf("counted %d times, want once", n)
			}
			wantNoGrowth(t, hostileRounds/2, func(int) {
				p := v.plain()
				p.send(o.bytes(7))
				p.wantEnded()
				_ = p.Close()
			})
			if n := v.ran.Load() - ran; n != 0 {
				t.Errorf("%d handlers ran", n)
			}
			bystander.echo(8)
			v.letGo()
			bystander.wantAnswer(1000, status.OK, "")
		})
	}
}

// §4, "Limits": what is over one is answered from its header and thrown away.
func TestHostileFramesOverALimit(t *testing.T) {
	v := newVictim(t)
	const names = len("Raw") + len("Echo")
	sized := func(h func(uint64) wire.Header, size int) func(uint64) []byte {
		payload := strings.Repeat("x", size-wire.FrameLen(0, 0, 0, 0)-names)
		return func(seq uint64) []byte { return requestBytes(h(seq), "Raw", "Echo", payload) }
	}
	flags := func(f byte) func(uint64) wire.Header {
		return func(seq uint64) wire.Header { h := raw(seq); h.Flags = f; return h }
	}
	call := func(path, method string, meta ...string) func(uint64) []byte {
		return func(seq uint64) []byte { return requestBytes(raw(seq), path, method, "x", meta...) }
	}
	var many []string
	for i := range hostileLimits.MetadataEntries + 1 {
		many = append(many, "key"+strconv.Itoa(i), "value")
	}
	long := strings.Repeat("n", hostileLimits.NameBytes+1)
	longMeta := strings.Repeat("m", hostileLimits.MetadataBytes+1-wire.PairLen(1, 0))
	limit := hostileLimits.FrameBytes
	for _, o := range []offence{
		{name: "frame at its limit", bytes: sized(raw, limit), code: status.OK},
		{name: "frame", bytes: sized(raw, limit+1), code: status.ResourceExhausted, mark: markLimit, counter: overLimit},
		{name: "frame of four times the limit", bytes: sized(raw, 4*limit), code: status.ResourceExhausted, mark: markLimit, counter: overLimit},
		{name: "oneway frame", bytes: sized(flags(0x20), 2*limit), silent: true, counter: overLimit},
		{name: "heartbeat", bytes: sized(flags(0x40), 2*limit), silent: true, counter: overLimit},
		{name: "response", bytes: sized(flags(0x80), 2*limit), silent: true, counter: overLimit},
		{name: "path", bytes: call(long, "Echo"), code: status.ResourceExhausted, mark: markLimit, counter: overLimit},
		{name: "method", bytes: call("Raw", long), code: status.ResourceExhausted, mark: markLimit, counter: overLimit},
		{name: "metadata", bytes: call("Raw", "Echo", "k", longMeta), code: status.ResourceExhausted, mark: markLimit, counter: overLimit},
		{name: "metadata at its limit", bytes: call("Raw", "Echo", "k", longMeta[1:]), code: status.OK},
		{name: "metadata entries", bytes: call("Raw", "Echo", many...), code: status.ResourceExhausted, mark: markLimit, counter: overLimit},
		{name: "metadata entries at their limit", bytes: call("Raw", "Echo", many[2:]...), code: status.OK},
	} {
		t.Run(o.name, func(t *testing.T) { v.forgiven(t, o) })
	}
}

// §4: what claims more than four times the limit, or came before the
// announcement, is answered, and ends its connection as a drain does: what was
// read is answered first.
func TestHostileFramesThatEndTheirConnection(t *testing.T) {
	claim := func(n uint32) func(uint64) []byte {
		return func(seq uint64) []byte {
			b := requestBytes(raw(seq), "", "", "")
			binary.BigEndian.PutUint32(b[12:], n)
			return b[:wire.PrefixLen]
		}
	}
	limit := uint32(hostileLimits.FrameBytes)
	v := newVictim(t)
	for _, o := range []struct {
		name  string
		first bool
		bytes func(uint64) []byte
	}{
		{"more than four times the limit", false, claim(4*limit - wire.PrefixLen + 1)},
		{"4 GiB", false, claim(1<<32 - 1)},
		{"4 GiB at once", true, claim(1<<32 - 1)},
		{"one byte over the limit, at once", true, claim(limit - wire.PrefixLen + 1)},
		{"a long name at once", true, func(seq uint64) []byte {
			return requestBytes(raw(seq), "Raw", strings.Repeat("n", hostileLimits.NameBytes+1), "")
		}},
	} {
		t.Run(o.name, func(t *testing.T) {
			v.t = t
			bystander := v.announced()
			defer func() { _ = bystander.Close() }()
			v.holds(bystander, 1000)
			attack := func(held bool) {
				var p *hostilePeer
				if o.first {
					p = v.plain()
				} else {
					p = v.announced()
				}
				defer func() { _ = p.Close() }()
				held = held && !o.first
				if held {
					v.holds(p, 1001)
				}
				p.send(o.bytes(7))
				if o.first {
					// Nobody knows yet who this is: an answer as old peers get it.
					f := p.response()
					if text, ok := f.Meta.Get(wire.KeyError); f.Seq != 7 || f.Status() != wire.StatusError || !ok || len(text) == 0 {
						t.Fatalf("the answer is to %d, %q", f.Seq, text)
					}
				} else {
					p.wantAnswer(7, status.ResourceExhausted, markLimit)
				}
				if held {
					v.letGo() // either of the two that are held
				}
				if held {
					// Whichever was let go: that on this connection ends before the connection does.
					v.letGo()
					p.wantAnswer(1001, status.OK, "")
				}
				p.wantEnded()
			}
			attack(true)
			if !o.first { // both were let go
				bystander.wantAnswer(1000, status.OK, "")
				v.holds(bystander, 1000)
			}
			began := allocated()
			const each = 256 << 10 // a chunk to read into, when the pool has none
			rounds := 0
			wantNoGrowth(t, hostileRounds/2, func(int) { attack(false); rounds++ })
			if n := (allocated() - began) / int64(rounds); n > each {
				t.Errorf("each time %d KiB are allocated, want at most %d, all of a connection included", n>>10, each>>10)
			}
			bystander.echo(8)
			v.letGo()
			bystander.wantAnswer(1000, status.OK, "")
		})
	}
}

// Requests that are frames, and yet not what a server serves. §2, §5, §10
func TestHostileRequests(t *testing.T) {
	v := newVictim(t)
	call := func(change func(*wire.Header), path, method, payload string, meta ...string) func(uint64) []byte {
		return func(seq uint64) []byte {
			h := raw(seq)
			if change != nil {
				change(&h)
			}
			return requestBytes(h, path, method, payload, meta...)
		}
	}
	kind := func(k byte) func(*wire.Header) { return func(h *wire.Header) { h.Kind = k << 4 } }
	flags := func(f byte) func(*wire.Header) { return func(h *wire.Header) { h.Flags = f } }
	for _, o := range []offence{
		{name: "unknown serialize type", bytes: call(kind(9), "Arith", "Mul", "x"), code: status.Unimplemented, mark: markUnexecuted},
		{name: "thrift without its codec", bytes: call(kind(4), "Arith", "Mul", "x"), code: status.Unimplemented, mark: markUnexecuted},
		{name: "raw where a struct is wanted", bytes: call(nil, "Arith", "Mul", "x"), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "no JSON", bytes: call(kind(1), "Arith", "Mul", `{"A":`), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "deep JSON", bytes: call(kind(1), "Arith", "Mul", strings.Repeat("[", 30_000)), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "MsgPack claims 4 Gi entries", bytes: call(kind(3), "Arith", "Mul", "\xdf\xff\xff\xff\xff"), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "unknown compress type", bytes: call(flags(0x14), "Raw", "Echo", "x"), code: status.Unimplemented, mark: markUnexecuted},
		{name: "unknown path", bytes: call(nil, "Nope", "Echo", "x"), code: status.Unimplemented, mark: markUnexecuted},
		{name: "unknown method", bytes: call(nil, "Raw", "Nope", "x"), code: status.Unimplemented, mark: markUnexecuted},
		{name: "no names", bytes: call(nil, "", "", ""), code: status.Unimplemented, mark: markUnexecuted},
		{name: "control characters", bytes: call(nil, "\x00\x1b[2J\r\nERROR forged=line\n", "\xff\xfe\x07", "x"), code: status.Unimplemented, mark: markUnexecuted},
		{name: "long junk", bytes: call(nil, strings.Repeat("\xff", 64), strings.Repeat("\u202e", 21), "x"), code: status.Unimplemented, mark: markUnexecuted},
		{name: "control path with an answer wanted", bytes: call(nil, wire.ControlPath, wire.MethodHello, "x"), code: status.Unimplemented, mark: markUnexecuted},
		{name: "path like a control path", bytes: call(nil, "__flx", "Echo", "x"), code: status.Unimplemented, mark: markUnexecuted},
		{name: "unknown control frame", bytes: func(uint64) []byte { return control("nonsense", make([]byte, 1000)) }, silent: true},
		{name: "control frames of the callee", bytes: func(uint64) []byte {
			return bytes.Join([][]byte{
				control(wire.MethodHello, wire.AppendHello(nil, wire.Hello{Seq: 1})), control(wire.MethodDrain, wire.AppendDrain(nil, 0)),
				control(wire.MethodBye, wire.AppendBye(nil, 0)), control("window", make([]byte, 8)), control("load", make([]byte, 12)),
			}, nil)
		}, silent: true},
		{name: "response", bytes: call(flags(0x80), "Raw", "Echo", "x"), silent: true, counter: unknownResponses},
		{name: "response to a heartbeat", bytes: call(flags(0xc0), "", "", "x"), silent: true, counter: unknownResponses},
		{name: "unknown method, oneway", bytes: call(flags(0x20), "Raw", "Nope", "x"), silent: true},
		{name: "expired", bytes: call(nil, "Raw", "Echo", "x", wire.KeyServerTimeout, "-5"), code: status.DeadlineExceeded, mark: markUnexecuted},
		{name: "timeout that is no number", bytes: call(nil, "Raw", "Echo", "x", wire.KeyServerTimeout, "soon"), code: status.OK},
		{name: "endless timeout", bytes: call(nil, "Raw", "Echo", "x", wire.KeyServerTimeout, "9223372036854775807"), code: status.OK},
		{name: "endless number", bytes: call(nil, "Raw", "Echo", "x", wire.KeyServerTimeout, strings.Repeat("9", 1000)), code: status.OK},
		{name: "late announcement", bytes: func(seq uint64) []byte {
			return requestBytes(raw(seq), "Raw", "Echo", "x", wire.KeyAnnounce, announcement(seq))
		}, code: status.OK},
		{name: "keys of responses", bytes: call(nil, "Raw", "Echo", "x", wire.KeyError, "e", wire.KeyCode, "14", wire.KeyRetry, "unexecuted", wire.KeyDetails, "d"), code: status.OK},
	} {
		t.Run(o.name, func(t *testing.T) { v.forgiven(t, o) })
	}
}

// §6: a heartbeat comes back as it is, whatever is in it.
func TestHostileHeartbeats(t *testing.T) {
	v := newVictim(t)
	p := v.announced()
	defer func() { _ = p.Close() }()
	for name, beat := range map[string][]byte{
		"oneway":        requestBytes(wire.Header{Flags: 0x60, Kind: 0x30, Seq: 1}, "", "", "x"),
		"with metadata": requestBytes(wire.Header{Flags: 0x40, Kind: 0x3f, Seq: 2, Version: 9}, "", "", "x", "k", "v", wire.KeyAnnounce, announcement(2)),
		"with names":    requestBytes(wire.Header{Flags: 0x40, Seq: 3}, "Raw", "Echo", "x"),
		"compressed":    requestBytes(wire.Header{Flags: 0x44, Seq: 4}, "", "", "\x1f\x8b"),
		"as an error":   requestBytes(wire.Header{Flags: 0x43, Seq: 5}, "", "", ""),
		"large":         requestBytes(wire.Header{Flags: 0x40, Seq: 6}, "", "", strings.Repeat("x", 30<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			ran := v.ran.Load()
			want := bytes.Clone(beat)
			want[2] |= 0x80
			wantNoGrowth(t, hostileRounds, func(int) {
				p.send(beat)
				if got, err := p.bytes(); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("got %.100x, %v; want %.100x", got, err, want)
				}
			})
			if v.ran.Load() != ran {
				t.Error("a handler ran")
			}
			p.echo(8)
		})
	}
}

// §6: what is echoed is what came, also when the reader has gone on meanwhile.
func TestHostileLargeHeartbeatIsEchoedIntact(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) })
	p := dialRaw(t, addr)
	const beats = 40
	go func() {
		for i := range beats {
			payload := strings.Repeat(string(rune('a'+i%26)), 80<<10)
			if _, err := p.Write(requestBytes(wire.Header{Flags: 0x40, Seq: uint64(i)}, "", "", payload)); err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	}()
	for i := range beats {
		f := p.frame()
		if want := strings.Repeat(string(rune('a'+i%26)), 80<<10); f.Seq != uint64(i) || string(f.Payload) != want {
			t.Fatalf("heartbeat %d came back as %d with other bytes than it had", i, f.Seq)
		}
	}
}

// §7: an announcement counts only in the very request whose seq it names.
func TestHostileAnnouncements(t *testing.T) {
	v := newVictim(t)
	good := announcement(7)
	for name, first := range map[string][]byte{
		"of another seq":        requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, announcement(8)),
		"of another version":    requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, "2"+good[1:]),
		"empty":                 requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, ""),
		"cut":                   requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, good[:10]),
		"field twice":           requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, good+";caller=a/b"),
		"empty field":           requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, good+";to="),
		"control characters":    requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, good+";uid=a\nb"),
		"17 features":           requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, announcement(7, strings.Split(strings.Repeat("f", 17), "")...)),
		"upper case":            requestBytes(raw(0xabc), "Raw", "Nope", "", wire.KeyAnnounce, "1;0000000000000ABC;drain"),
		"longer than allowed":   requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, good+";x="+strings.Repeat("y", wire.MaxAnnouncement+1-len(good)-3)),
		"twice, the last wrong": requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, good, wire.KeyAnnounce, announcement(8)),
		"in a heartbeat, then none": append(
			requestBytes(wire.HeartbeatHeader(7), "", "", "", wire.KeyAnnounce, good), requestBytes(raw(7), "Raw", "Nope", "")...),
		"in a control frame, then none": append(
			requestBytes(wire.RequestHeader(7, wire.SerializeRaw, true), wire.ControlPath, wire.MethodHello, "", wire.KeyAnnounce, good),
			requestBytes(raw(7), "Raw", "Nope", "")...),
		"in the second request": append(
			requestBytes(wire.RequestHeader(6, wire.SerializeRaw, true), "Raw", "Nope", ""), requestBytes(raw(7), "Raw", "Nope", "", wire.KeyAnnounce, good)...),
	} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			attack := func(int) {
				p := v.plain()
				defer func() { _ = p.Close() }()
				p.send(first)
				f := p.frame()
				for f.Heartbeat() {
					f = p.frame()
				}
				_, code := f.Meta.Get(wire.KeyCode)
				_, mark := f.Meta.Get(wire.KeyRetry)
				if !f.Response() || code || mark {
					t.Fatalf("the peer is believed: %s.%s, code %v, mark %v", f.Path, f.Method, code, mark)
				}
				p.echo(8)
			}
			wantNoGrowth(t, hostileRounds/2, attack)
		})
	}
}

// Answers go by the whole seq and never by what stands in it; two requests of
// one seq are two calls.
func TestHostileSeqs(t *testing.T) {
	v := newVictim(t)
	p := v.announced()
	defer func() { _ = p.Close() }()
	for _, seq := range []uint64{0, 1 << 20, 1<<62 + 5, 1 << 63, 1<<64 - 1} {
		p.echo(seq)
	}
	const twins = 50
	for range twins {
		v.holds(p, 5)
	}
	p.echo(5)
	for range twins {
		v.letGo()
		if f := p.wantAnswer(5, status.OK, ""); string(f.Payload) != "held" {
			t.Fatalf("got %q", f.Payload)
		}
	}
	wantNoGrowth(t, hostileRounds, func(int) {
		v.holds(p, 5)
		v.holds(p, 5)
		v.letGo()
		v.letGo()
		p.wantAnswer(5, status.OK, "")
		p.wantAnswer(5, status.OK, "")
	})
}

// §10: of a panic a peer learns nothing but that it was one.
func TestHostilePanic(t *testing.T) {
	v := newVictim(t)
	p := v.announced()
	defer func() { _ = p.Close() }()
	v.holds(p, 1000)
	round := func(i int) {
		p.send(requestBytes(raw(uint64(i)), "Raw", "Panic", secret))
		f := p.wantAnswer(uint64(i), status.Internal, "")
		whole := string(f.Meta) + string(f.Payload)
		for _, leak := range []string{secret, "goroutine", ".go:", "runtime"} {
			if strings.Contains(whole, leak) {
				t.Fatalf("the answer says %q: %q", leak, whole)
			}
		}
	}
	wantNoGrowth(t, hostileRounds, round)
	p.echo(8)
	v.letGo()
	p.wantAnswer(1000, status.OK, "")
}
