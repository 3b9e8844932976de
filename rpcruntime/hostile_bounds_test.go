// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// tuned changes what a server's connections are set up with.
func tuned(change func(*transport.Config)) ServerOption {
	return serverOption(func(o *serverOptions) { change(&o.transport) })
}

// zeros keeps what gzipped made: with the race detector a bomb takes a second.
var zeros sync.Map

// gzipped compresses n zeros.
func gzipped(t testing.TB, n int) string {
	t.Helper()
	if made, ok := zeros.Load(n); ok {
		return made.(string)
	}
	b, err := codec.Gzip{}.Compress(nil, make([]byte, n))
	if err != nil {
		t.Fatal(err)
	}
	zeros.Store(n, string(b))
	return string(b)
}

func gzipHeader(seq uint64) wire.Header { return raw(seq).WithCompress(wire.CompressGzip) }

// §2, "Compression": what cannot be decompressed, and what holds more than the
// limit, costs its own call only; no more than the limit is ever decompressed.
func TestHostileCompressedRequests(t *testing.T) {
	v := newVictim(t)
	limit := hostileLimits.DecompressedBytes
	good, bomb := gzipped(t, limit), gzipped(t, 24<<20)
	if len(bomb) > hostileLimits.FrameBytes-100 {
		t.Fatalf("the bomb has %d bytes: too many for a frame", len(bomb))
	}
	corrupt := []byte(good)
	corrupt[len(corrupt)-8] ^= 1 // the checksum
	call := func(payload string) func(uint64) []byte {
		return func(seq uint64) []byte { return requestBytes(gzipHeader(seq), "Raw", "Echo", payload) }
	}
	for _, o := range []offence{
		{name: "no gzip", bytes: call("not compressed"), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "nothing", bytes: call(""), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "header only", bytes: call(good[:10]), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "cut", bytes: call(good[:len(good)-1]), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "wrong checksum", bytes: call(string(corrupt)), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "something behind it", bytes: call(good + "x"), code: status.InvalidArgument, mark: markUnexecuted},
		{name: "one byte over the limit", bytes: call(gzipped(t, limit+1)), code: status.ResourceExhausted, mark: markLimit},
		{name: "over the limit in two members", bytes: call(gzipped(t, limit) + gzipped(t, 1)), code: status.ResourceExhausted, mark: markLimit},
		{name: "bomb", bytes: call(bomb), code: status.ResourceExhausted, mark: markLimit},
	} {
		t.Run(o.name, func(t *testing.T) {
			if strings.Contains(o.name, "limit") || o.name == "bomb" {
				o.mark = markLimit
			}
			v.forgiven(t, o)
		})
	}
	t.Run("at the limit", func(t *testing.T) {
		v.t = t
		p := v.announced()
		defer func() { _ = p.Close() }()
		p.send(call(good)(7))
		f := p.wantAnswer(7, status.OK, "")
		got, err := codec.Gzip{}.Decompress(nil, f.Payload, limit)
		if f.Compress() != wire.CompressGzip || err != nil || len(got) != limit {
			t.Errorf("compress type %d, %d bytes, %v", f.Compress(), len(got), err)
		}
	})
	t.Run("a bomb stops at its limit", func(t *testing.T) {
		v.t = t
		p := v.announced()
		defer func() { _ = p.Close() }()
		p.send(call(bomb)(1)) // the first needs a decompressor
		p.wantAnswer(1, status.ResourceExhausted, markLimit)
		began := allocated()
		const bombs = 20
		for range bombs {
			p.send(call(bomb)(7))
			p.wantAnswer(7, status.ResourceExhausted, markLimit)
		}
		// Growing by doubling takes up to four times the limit; the decompressor has 50 KiB.
		if each, most := (allocated()-began)/bombs, int64(4*limit+256<<10); each > most {
			t.Errorf("a bomb of %d bytes cost %d KiB, want at most %d", 24<<20, each>>10, most>>10)
		}
	})
}

// §2, §4: decompressed bytes count for the bounds on requests in flight, of the
// connection and of the server. What exceeds them is refused, at once.
func TestHostileBombsInFlight(t *testing.T) {
	const perConn, perServer, each = 4, 10, 64 << 10 // in bombs
	v := newVictim(t, tuned(func(c *transport.Config) { c.MaxRequestBytes = perConn*each + each/2 }), MaxRequestBytes(perServer*each+each/2))
	bomb := gzipped(t, each)
	attack := func() (held, refused int) {
		const conns, calls = 5, 40
		var peers []*hostilePeer
		for range conns {
			p := v.announced()
			defer func() { _ = p.Close() }()
			peers = append(peers, p)
			var all []byte
			for i := range calls {
				all = append(all, requestBytes(gzipHeader(uint64(10+i)), "Raw", "Hold", bomb)...)
			}
			p.send(all)
		}
		answers := make(chan error, conns*calls)
		for _, p := range peers {
			go func() {
				for range calls {
					b, err := p.bytes()
					for err == nil && isControl(b) {
						b, err = p.bytes()
					}
					if err != nil {
						return
					}
					f, err := wire.Parse(b)
					if mark, _ := f.Meta.Get(wire.KeyRetry); err == nil && f.Status() == wire.StatusError && string(mark) != markLimit {
						text, _ := f.Meta.Get(wire.KeyError)
						err = errors.New("refused otherwise: " + string(text))
					}
					answers <- err
				}
			}()
		}
		for held+refused < conns*calls {
			select {
			case <-v.held:
				held++
			case err := <-answers:
				if err != nil {
					t.Fatal(err)
				}
				refused++
			case <-time.After(patience):
				t.Fatalf("%d calls held, %d refused, and no more", held, refused)
			}
		}
		return held, refused
	}
	round := func(int) {
		held, _ := attack()
		if held > perServer || held < perConn {
			t.Fatalf("%d bombs are being served, want %d to %d", held, perConn, perServer)
		}
		await(t, "all handlers have ended with their connections", func() bool { return v.srv.inFlight.Load() == 0 })
	}
	wantNoGrowth(t, 2, round)
	p := v.announced()
	defer func() { _ = p.Close() }()
	p.echo(8)
}

func isControl(b []byte) bool {
	f, err := wire.Parse(b)
	return err == nil && f.Oneway() && string(f.Path) == wire.ControlPath
}

// §4: what exceeds a bound of the connection is refused at once, unexecuted, by
// the reader; what is in flight, and other connections, are served.
func TestHostileFloodsOfRequests(t *testing.T) {
	const most = 8
	for name, tc := range map[string]struct {
		option  ServerOption
		payload string
	}{
		"calls of a connection": {option: tuned(func(c *transport.Config) { c.MaxCalls = most })},
		"bytes of a connection": {option: tuned(func(c *transport.Config) { c.MaxRequestBytes = most<<10 + 512 }), payload: strings.Repeat("x", 1<<10)},
		"calls of the server":   {option: MaxConcurrentCalls(most)},
		"bytes of the server":   {option: MaxRequestBytes(most<<10 + 512), payload: strings.Repeat("x", 1<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t, tc.option)
			bystander, p := v.announced(), v.announced()
			defer func() { _ = bystander.Close() }()
			defer func() { _ = p.Close() }()
			for i := range most {
				p.send(requestBytes(raw(uint64(100+i)), "Raw", "Hold", tc.payload))
				receive(t, v.held, "a call within the bound")
			}
			ran := v.ran.Load()
			round := func(int) {
				const flood = 20
				var all []byte
				for i := range flood {
					all = append(all, requestBytes(raw(uint64(1000+i)), "Raw", "Echo", tc.payload)...)
				}
				p.send(all)
				for i := range flood {
					p.wantAnswer(uint64(1000+i), status.ResourceExhausted, markLimit)
				}
			}
			round(0)
			if n := v.ran.Load() - ran; n != 0 {
				t.Errorf("%d handlers ran", n)
			}
			if strings.HasSuffix(name, "connection") {
				bystander.echo(8)
			}
			wantNoGrowth(t, 50, round)
			v.letGo()
			if f := p.response(); f.Seq < 100 || f.Seq >= 100+most || f.Status() != wire.StatusNormal {
				t.Errorf("got an answer to %d with status %d", f.Seq, f.Status())
			}
			await(t, "there is room again", func() bool { return v.srv.running.Load() < most })
			p.echo(9)
			for range most - 1 {
				v.letGo()
				p.response()
			}
			bystander.echo(9)
		})
	}
}

// §4: connections beyond the bound are closed, and those that stand go on.
func TestHostileFloodOfConnections(t *testing.T) {
	const most = 4
	v := newVictim(t, MaxConnections(most))
	var standing []*hostilePeer
	for range most {
		p := v.announced()
		defer func() { _ = p.Close() }()
		standing = append(standing, p)
	}
	v.holds(standing[0], 1000)
	wantNoGrowth(t, hostileRounds, func(int) {
		p := v.plain()
		p.wantEnded()
		_ = p.Close()
	})
	for i, p := range standing {
		p.echo(uint64(i))
	}
	_ = standing[1].Close()
	await(t, "a place is free", func() bool {
		v.srv.mu.Lock()
		defer v.srv.mu.Unlock()
		return len(v.srv.conns) < most
	})
	p := v.announced()
	defer func() { _ = p.Close() }()
	v.letGo()
	standing[0].wantAnswer(1000, status.OK, "")
}

// §4: "10 s to complete a frame", here less. Bytes that trickle buy no time.
func TestHostileUnfinishedFrames(t *testing.T) {
	const short = 100 * time.Millisecond
	v := newVictim(t, tuned(func(c *transport.Config) { c.FrameTimeout = short }))
	frame := requestBytes(raw(7), "Raw", "Echo", strings.Repeat("x", 10<<10))
	oversize := requestBytes(raw(7), "Raw", "Echo", strings.Repeat("x", 60<<10))
	bystander := v.announced()
	defer func() { _ = bystander.Close() }()
	v.holds(bystander, 1000)
	var attacks []func(conns int) func()
	for name, tc := range map[string]struct {
		announced          bool
		begun              []byte
		trickle, discarded bool
	}{
		"one byte at once":           {begun: frame[:1]},
		"one byte":                   {announced: true, begun: frame[:1]},
		"prefix but for a byte":      {announced: true, begun: frame[:wire.PrefixLen-1]},
		"prefix":                     {announced: true, begun: frame[:wire.PrefixLen]},
		"all but a byte":             {announced: true, begun: frame[:len(frame)-1]},
		"trickling":                  {announced: true, begun: frame[:1], trickle: true},
		"oversized, to be discarded": {announced: true, begun: oversize[:1000], discarded: true},
	} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			v.log.clear()
			// attack begins frames on some connections; ended waits for their ends.
			attack := func(conns int) (ended func()) {
				stop := make(chan struct{})
				var trickled sync.WaitGroup
				var peers []*hostilePeer
				for range conns {
					p := v.plain()
					if tc.announced {
						_ = p.Close()
						p = v.announced()
					}
					p.send(tc.begun)
					if tc.trickle {
						trickled.Go(func() { p.trickle(frame[len(tc.begun):], stop) })
					}
					peers = append(peers, p)
				}
				return func() {
					for _, p := range peers {
						if tc.discarded {
							p.wantAnswer(7, status.ResourceExhausted, markLimit)
						}
						p.wantEnded()
						_ = p.Close()
					}
					close(stop)
					trickled.Wait()
				}
			}
			if tc.announced {
				p := v.announced()
				defer func() { _ = p.Close() }()
				inFlight, ran := v.holds(p, 1001), v.ran.Load()
				p.send(tc.begun)
				receive(t, inFlight.Done(), "the end of the context of a handler on the connection")
				if v.ran.Load() != ran {
					t.Error("a handler ran")
				}
			}
			attack(1)()
			await(t, "the log says so", func() bool { return v.log.has("did not complete it within " + short.String()) })
			bystander.echo(8)
			attacks = append(attacks, attack)
		})
	}
	v.t = t
	wantNoGrowth(t, 2, func(int) {
		var ends []func()
		for _, attack := range attacks {
			ends = append(ends, attack(5))
		}
		for _, ended := range ends {
			ended()
		}
	})
	v.letGo()
	bystander.wantAnswer(1000, status.OK, "")
}

// trickle sends a byte at a time until it may no longer, or stop is closed.
func (p *hostilePeer) trickle(b []byte, stop <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(b) > 0 {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if _, err := p.Write(b[:1]); err != nil {
			return
		}
		b = b[1:]
	}
}

// §4: "one write: 10 s", here less. Who never reads is cut off, the contexts of
// its handlers end, and meanwhile what waits for it is bounded.
func TestHostileCallerThatNeverReads(t *testing.T) {
	const short = 100 * time.Millisecond
	many := func(frame []byte) []byte { return bytes.Repeat(frame, 64) }
	v := newVictim(t, tuned(func(c *transport.Config) { c.WriteTimeout, c.MaxCalls, c.WriteBuffer = short, 256, 128<<10 }))
	v.warm()
	bystander := v.announced()
	defer func() { _ = bystander.Close() }()
	v.holds(bystander, 1000)
	before := memoryInUse()
	for name, flood := range map[string][]byte{
		"calls":            many(requestBytes(raw(7), "Raw", "Big", "")),
		"refused calls":    many(requestBytes(raw(7), "Raw", "Nope", "")),
		"heartbeats":       many(requestBytes(wire.HeartbeatHeader(7), "", "", "123456789")),
		"large heartbeats": requestBytes(wire.HeartbeatHeader(7), "", "", strings.Repeat("x", 30<<10)),
		"oversized frames": requestBytes(raw(7), "Raw", "Echo", strings.Repeat("x", hostileLimits.FrameBytes)),
		"oversized names":  many(requestBytes(raw(7), "Raw", strings.Repeat("n", 65), "")),
	} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			p := v.announced()
			defer func() { _ = p.Close() }()
			inFlight := v.holds(p, 1001)
			for {
				if _, err := p.Write(flood); err != nil {
					if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
						t.Fatal("the caller was not cut off")
					}
					break
				}
			}
			receive(t, inFlight.Done(), "the end of a handler's context")
			await(t, "what was in flight has ended", func() bool { return v.srv.inFlight.Load() == 1 })
			bystander.echo(8)
		})
	}
	v.t = t
	// The stacks of the workers that are kept may double once more.
	wantMemory(t, before+mostGrowth+keepIdle*(4<<10), "when all are cut off")
	v.letGo()
	bystander.wantAnswer(1000, status.OK, "")
}

// The same, looked at while it lasts: however much a caller sends that does not
// read, only so much waits for it.
func TestHostileCallerThatDoesNotReadYet(t *testing.T) {
	for name, flood := range map[string][]byte{
		"refused calls": requestBytes(raw(7), "Raw", strings.Repeat("n", 64), strings.Repeat("x", 1000)),
		"heartbeats":    requestBytes(wire.HeartbeatHeader(7), "", "", strings.Repeat("x", 1000)),
		"large ones":    requestBytes(wire.HeartbeatHeader(7), "", "", strings.Repeat("x", 30<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			const buffer = 64 << 10
			v := newVictim(t, tuned(func(c *transport.Config) { c.WriteBuffer, c.WriteTimeout = buffer, patience }))
			before := memoryInUse()
			p := v.announced()
			defer func() { _ = p.Close() }()
			sent := 0
			for {
				_ = p.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
				n, err := p.Write(flood)
				sent += n
				if err != nil {
					break // the server reads no more
				}
				if sent > 256<<20 {
					t.Fatal("the server goes on reading")
				}
			}
			wantMemory(t, before+mostGrowth, "while answers wait")
			// Nothing was lost: whoever reads late gets it all.
			_ = p.SetDeadline(time.Now().Add(patience))
			for range sent / len(flood) {
				if f := p.response(); f.Seq != 7 {
					t.Fatalf("an answer to %d", f.Seq)
				}
			}
		})
	}
}

// Control frames have no answers: a flood of them costs a peer's time only.
func TestHostileFloodOfControlFrames(t *testing.T) {
	v := newVictim(t)
	seq := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	for name, frame := range map[string][]byte{
		"unknown":                     control("later", []byte("x")),
		"cancel of what is not there": control("cancel", seq(4711)),
		"cancel without a seq":        control("cancel", nil),
		"cancel of the future":        control("cancel", seq(8)),
		"hello":                       control(wire.MethodHello, []byte(announcement(1))),
	} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			p := v.announced(wire.FeatureDrain, "cancel")
			defer func() { _ = p.Close() }()
			ctx := v.holds(p, 1000)
			flood := bytes.Repeat(frame, 1000)
			wantNoGrowth(t, 20, func(int) {
				p.send(flood)
				p.echo(8)
			})
			if ctx.Err() != nil {
				t.Error("the context of a call that nobody cancelled ended")
			}
			v.letGo()
			p.wantAnswer(1000, status.OK, "")
		})
	}
}

// §7, §8: until announcement and hello are exchanged control frames mean nothing.
func TestHostileCancelFromAPeerThatDidNotAnnounce(t *testing.T) {
	v := newVictim(t)
	p := v.plain()
	defer func() { _ = p.Close() }()
	ctx := v.holds(p, 5)
	wantNoGrowth(t, 20, func(int) {
		p.send(bytes.Repeat(control("cancel", binary.BigEndian.AppendUint64(nil, 5)), 100))
		p.send(requestBytes(raw(6), "Raw", "Echo", ""))
		if f := p.frame(); f.Seq != 6 {
			t.Fatalf("an answer to %d", f.Seq)
		}
	})
	if ctx.Err() != nil {
		t.Error("a peer without the extensions cancelled a call")
	}
	v.letGo()
	if f := p.frame(); f.Seq != 5 || f.Status() != wire.StatusNormal {
		t.Errorf("an answer to %d with status %d", f.Seq, f.Status())
	}
}

// An announced cancel ends its call, once, and no other; of twins at least one.
func TestHostileCancels(t *testing.T) {
	v := newVictim(t)
	p := v.announced(wire.FeatureDrain, "cancel")
	defer func() { _ = p.Close() }()
	cancel := func(seq uint64) []byte { return control("cancel", binary.BigEndian.AppendUint64(nil, seq)) }
	other := v.holds(p, 1000)
	wantNoGrowth(t, hostileRounds, func(int) {
		ctx := v.holds(p, 5)
		p.send(bytes.Repeat(cancel(5), 3))
		receive(t, ctx.Done(), "the end of the cancelled call")
		p.echo(8) // and no answer to 5 before
	})
	wantNoGrowth(t, hostileRounds/4, func(int) {
		a, b := v.holds(p, 6), v.holds(p, 6)
		p.send(cancel(6))
		select {
		case <-a.Done():
		case <-b.Done():
		case <-time.After(patience):
			t.Fatal("neither of the twins was cancelled")
		}
		p.send(cancel(6))
		p.send(cancel(6))
		receive(t, a.Done(), "the end of a twin")
		receive(t, b.Done(), "the end of the other")
		p.echo(8)
	})
	if other.Err() != nil {
		t.Error("the context of a call that nobody cancelled ended")
	}
	v.letGo()
	p.wantAnswer(1000, status.OK, "")
	// Handlers that do not heed their contexts count until they return.
	await(t, "no call is left", func() bool { return v.srv.inFlight.Load() == 0 })
}
