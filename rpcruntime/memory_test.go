// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// perConn measures what each of some connections costs, both ends of it being in
// this process, and fails above most bytes.
func perConn(t *testing.T, v *victim, conns, most int, begin func(p *hostilePeer)) {
	t.Helper()
	peers := make([]*hostilePeer, 0, conns)
	defer func() {
		for _, p := range peers {
			_ = p.Close()
		}
	}()
	await(t, "no connection is left", func() bool { return v.rt.counters.Connections.Load() == 0 })
	before, read := memoryInUse(), v.rt.counters.BytesRead.Load()
	for range conns {
		p := v.plain()
		peers = append(peers, p)
		begin(p)
	}
	await(t, "the server has read something of each connection", func() bool {
		return v.rt.counters.Connections.Load() >= int64(conns) && v.rt.counters.BytesRead.Load() >= read+int64(conns)
	})
	// A moment later nothing is left of how they came to be.
	wantMemory(t, before+int64(conns*most), "with connections open")
	t.Logf("%d bytes each", (memoryInUse()-before)/int64(conns))
}

// slowFrames keeps what was begun for longer than a test looks at it.
func slowFrames(c *transport.Config) { c.FrameTimeout = 5 * patience }

// §4: a frame that was begun costs what came of it, not what it claims.
func TestHostileHalfOpenConnectionsAreCheap(t *testing.T) {
	v := newVictim(t, tuned(slowFrames))
	frame := requestBytes(raw(1), "Raw", "Echo", strings.Repeat("x", 20<<10))
	claim := requestBytes(raw(1), "", "", "")[:wire.PrefixLen]
	binary.BigEndian.PutUint32(claim[12:], uint32(hostileLimits.FrameBytes-wire.PrefixLen))
	for name, begun := range map[string][]byte{"one byte": frame[:1], "a prefix": frame[:wire.PrefixLen], "a claim": claim, "100 bytes": frame[:100]} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			perConn(t, v, 500, 10<<10, func(p *hostilePeer) { p.send(begun) })
		})
	}
}

// A connection that is idle holds no buffers.
func TestIdleConnectionsAreCheap(t *testing.T) {
	v := newVictim(t, tuned(func(c *transport.Config) { c.HeartbeatInterval = 100 * time.Millisecond }))
	perConn(t, v, 300, 16<<10, func(p *hostilePeer) {
		p.send(requestBytes(raw(1), "Raw", "Echo", strings.Repeat("x", 20<<10), wire.KeyAnnounce, announcement(1)))
		p.wantAnswer(1, status.OK, "")
	})
}

// Connections that come and go leave nothing, whatever they were used for.
func TestConnectionsLeaveNothing(t *testing.T) {
	v := newVictim(t)
	v.warm()
	for name, use := range map[string]func(p *hostilePeer){
		"nothing": func(*hostilePeer) {},
		"a call": func(p *hostilePeer) {
			p.send(requestBytes(raw(1), "Raw", "Echo", "x", wire.KeyAnnounce, announcement(1)))
			p.wantAnswer(1, status.OK, "")
		},
		"half a frame": func(p *hostilePeer) {
			p.send(requestBytes(raw(1), "Raw", "Echo", strings.Repeat("x", 20<<10))[:15<<10])
		},
		"calls whose answers nobody waits for": func(p *hostilePeer) {
			for range 20 {
				p.send(requestBytes(raw(1), "Raw", "Big", ""))
			}
		},
		"calls in flight": func(p *hostilePeer) {
			for range 5 {
				v.holds(p, 1)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			v.t = t
			wantNoGrowth(t, 300, func(int) {
				p := v.plain()
				use(p)
				_ = p.Close()
			})
		})
	}
}

// §4: frames that were begun count for the server's bound on bytes, too: their
// number is not enough to fill the memory.
func TestHostileHalfReadFrames(t *testing.T) {
	const frame, most, conns = 1 << 20, 4 << 20, 40
	rt := newRuntime(t, WithWireLimits(wire.Limits{FrameBytes: frame}))
	addr, _ := serveWith(t, rt, func(s *Server) { HandleRaw(s, "Raw.Echo", echoRaw) }, MaxRequestBytes(most), tuned(slowFrames))
	half := requestBytes(raw(1), "Raw", "Echo", strings.Repeat("x", frame-100))[:frame-frame/8]
	before := memoryInUse()
	var sent []chan struct{}
	for range conns {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		_ = nc.SetDeadline(time.Now().Add(patience))
		done := make(chan struct{})
		sent = append(sent, done)
		go func() {
			defer close(done)
			_, _ = nc.Write(half) // it may be refused
		}()
	}
	for _, done := range sent {
		receive(t, done, "the end of a write")
	}
	// What came before the bound was reached, doubled by a buffer's growth, and a chunk each.
	wantMemory(t, before+2*most+conns*(80<<10), "while frames are half read")
	p := dialRaw(t, addr)
	p.send(requestBytes(raw(7), "Raw", "Echo", "small"))
	if f := p.frame(); f.Seq != 7 || f.Status() != wire.StatusNormal {
		t.Errorf("a small call meanwhile: answer to %d with status %d", f.Seq, f.Status())
	}
}
