// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// pushServer hands out the way back of each call.
func pushServer(ways chan *PushConn) func(*Server) {
	return func(s *Server) {
		HandleRaw(s, "Raw.Echo", func(ctx context.Context, b []byte) ([]byte, error) {
			way, ok := PushConnOf(ctx)
			if !ok {
				way = nil
			}
			ways <- way
			return b, nil
		})
	}
}

// docs/wire-protocol.md §1: the bytes that rpcx's SendMessage sends.
func TestPushesReachOldCallers(t *testing.T) {
	ways := make(chan *PushConn, 10)
	addr, srv := serveWith(t, newRuntime(t), pushServer(ways))
	p := dialRaw(t, addr)
	p.echoes("x")
	way := receive(t, ways, "the way back")
	if way.Peer().Addr != p.LocalAddr().String() {
		t.Errorf("peer %+v", way.Peer())
	}
	for _, tc := range []struct {
		v         any
		opts      []PushOption
		serialize wire.Serialize
		payload   string
	}{
		{[]byte("hi"), nil, wire.SerializeRaw, "hi"},
		{nil, []PushOption{PushCodec(codec.TypeRaw)}, wire.SerializeRaw, ""},
		{mulReply{7}, nil, wire.SerializeMsgPack, "\x81\xa1C\x07"},
		{mulReply{7}, []PushOption{PushCodec(codec.TypeJSON)}, wire.SerializeJSON, `{"C":7}`},
		{[]byte(strings.Repeat("l", 1<<20)), nil, wire.SerializeRaw, strings.Repeat("l", 1<<20)},
	} {
		if err := way.Push(t.Context(), "News.Sports.Today", tc.v, tc.opts...); err != nil {
			t.Fatal(err)
		}
		f := p.frame()
		if f.Response() || f.Heartbeat() || !f.Oneway() || string(f.Path) != "News.Sports" || string(f.Method) != "Today" || f.Serialize() != tc.serialize || len(f.Meta) != 0 || string(f.Payload) != tc.payload {
			t.Errorf("flags %02x, kind %02x, %s.%s, metadata %q, payload of %d bytes", f.Flags, f.Kind, f.Path, f.Method, f.Meta, len(f.Payload))
		}
	}
	p.echoes("again")
	if again := receive(t, ways, "the way back"); again != way {
		t.Error("a connection has two ways back")
	}
	other := dialRaw(t, addr)
	other.echoes("x")
	if another := receive(t, ways, "the way back"); another == way {
		t.Error("two connections have one way back")
	}
	for name, err := range map[string]error{
		"no method":           way.Push(t.Context(), "News", nil),
		"the protocol's path": way.Push(t.Context(), "__fl.drain", nil),
		"below it":            way.Push(t.Context(), "__fl.registry.Changed", nil),
		"unencodable":         way.Push(t.Context(), "News.Today", make(chan int)),
		"unknown codec":       way.Push(t.Context(), "News.Today", nil, PushCodec(9)),
	} {
		wantFate(t, err, status.InvalidArgument, status.FateUnexecuted)
		if err.Error() == "" {
			t.Errorf("%s: no text", name)
		}
	}
	serving(t, srv)
	if srv.Do(t.Context(), &ForeignCall{Path: "Raw", Method: "Echo"}); receive(t, ways, "the call") != nil {
		t.Error("a call that came by another way has a way back")
	}
	if _, ok := PushConnOf(t.Context()); ok {
		t.Error("there is a way back outside of a handler")
	}
	if _, ok := ServerConnOf(t.Context()); ok {
		t.Error("there is a connection outside of a handler")
	}
	select {
	case <-way.Done():
		t.Error("over already")
	default:
	}
	_ = p.Close()
	receive(t, way.Done(), "the end of the connection")
	wantFate(t, way.Push(t.Context(), "News.Today", []byte("x")), status.Unavailable, status.FateUnexecuted)
}

func TestPushesToWhoDoesNotRead(t *testing.T) {
	ways := make(chan *PushConn, 1)
	addr, _ := serveWith(t, newRuntime(t), pushServer(ways))
	p := dialRaw(t, addr)
	if tcp, ok := p.Conn.(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(4 << 10)
	}
	p.echoes("x")
	way := receive(t, ways, "the way back")
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	message := make([]byte, 1<<20)
	var err error
	for range 100 { // far more than kernel and buffer take
		if err = way.Push(ctx, "News.Today", message); err != nil {
			break
		}
	}
	wantFate(t, err, status.DeadlineExceeded, status.FateUnexecuted)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the cause is not named: %v", err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	wantFate(t, way.Push(cancelled, "News.Today", message), status.Canceled, status.FateUnexecuted)
}
