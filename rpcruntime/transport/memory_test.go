// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package transport

import (
	"net"
	"runtime"
	"testing"
)

// footprint is what the program's heap and stacks hold.
func footprint() int64 {
	for range 2 {
		runtime.GC() // pools let go with the second
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// An idle connection that made a call costs a goroutine with the smallest stack, and
// little more: over TLS, what crypto/tls keeps. The bounds are generous, but below
// what one buffer or a stack that grew would cost.
func TestIdleConnectionsAreCheap(t *testing.T) {
	const conns = 300
	for name, tt := range map[string]struct {
		pair func(t *testing.T) (near, far net.Conn)
		most int64
	}{
		"plaintext": {func(t *testing.T) (near, far net.Conn) { return tcpPair(t) }, 6 << 10}, // with the other end of the socket
		"TLS": {func(t *testing.T) (near, far net.Conn) {
			c, s, _ := tlsPair(t)
			return c, s
		}, 24 << 10}, // with the other end of the TLS
	} {
		t.Run(name, func(t *testing.T) {
			h := newCallee()
			h.closed = make(chan error, conns)
			callee := NewCallee(Config{}, h)
			type pair struct {
				near net.Conn
				far  *ServerConn
			}
			pairs := make([]pair, conns)
			before := footprint()
			for i := range pairs {
				near, far := tt.pair(t)
				pairs[i] = pair{near, callee.Serve(far, nil)}
				p := rawPeer{t, near}
				p.send(request(1, "payload"))
				p.frame()
			}
			for _, p := range pairs {
				awaitRest(t, p.far)
			}
			each := (footprint() - before) / conns
			t.Logf("%d bytes per connection", each)
			if each > tt.most {
				t.Errorf("%d bytes per connection, want at most %d", each, tt.most)
			}
			for _, p := range pairs {
				_ = p.near.Close()
				p.far.Close()
			}
		})
	}
}

// Many connections on which little came cost little. The race detector has costs
// of its own, hence the build tag.
//
// docs/wire-protocol.md §4
func TestHalfOpenConnectionsAreCheap(t *testing.T) {
	const conns = 400
	for name, tt := range map[string]struct {
		sent []byte
		most int64
	}{
		"nothing":          {nil, 10 << 10},
		"one byte":         {[]byte{0x08}, 10 << 10},
		"a claim of 3 MiB": {[]byte{0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x00, 0x2f, 0xff, 0xff}, 10 << 10},
		// It is being answered and ended, with a goroutine and a buffer to discard with.
		"a claim of 4 GiB":     {[]byte{0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff}, 32 << 10},
		"half a small request": {request(1, "payload")[:40], 10 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			sent := tt.sent
			h := newCallee()
			h.closed = make(chan error, conns)
			cfg := Config{Counters: new(Counters)}
			var near []net.Conn
			var servers []*ServerConn
			before := footprint()
			for range conns {
				a, b := tcpPair(t)
				near = append(near, a)
				servers = append(servers, NewServer(b, cfg, h, nil))
				if len(sent) > 0 {
					if _, err := a.Write(sent); err != nil {
						t.Fatal(err)
					}
				}
			}
			for cfg.Counters.BytesRead.Load() < int64(conns*len(sent)) { // a spin on state
				runtime.Gosched()
			}
			each := (footprint() - before) / conns // both ends of the socket are ours
			t.Logf("%d bytes per connection", each)
			if each > tt.most {
				t.Errorf("%d bytes per connection, want at most %d", each, tt.most)
			}
			for i, s := range servers {
				_ = near[i].Close()
				s.Close()
			}
		})
	}
}
