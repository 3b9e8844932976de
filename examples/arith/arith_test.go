// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package arith_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// serve runs an arith server until the test is over, and returns its address.
func serve(t *testing.T) string {
	t.Helper()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	srv := rt.NewServer()
	arith.Register(srv)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, rt.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

func client(t *testing.T, addr string, options ...rpcruntime.ClientOption) *rpcruntime.Client {
	t.Helper()
	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rt.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return rt.NewClient("arith", append(options, rpcruntime.Endpoints(addr))...)
}

func TestMethodsInEveryCodec(t *testing.T) {
	addr := serve(t)
	for _, typ := range []codec.Type{codec.TypeJSON, codec.TypeMsgPack, codec.TypeProtobuf} {
		t.Run(typ.String(), func(t *testing.T) {
			c := client(t, addr, rpcruntime.WithCodec(typ))
			calls := []struct {
				method string
				args   arith.Args
				want   int
			}{
				{arith.Mul, arith.Args{A: 6, B: 7}, 42},
				{arith.Mul, arith.Args{A: -3, B: 1 << 40}, -3 << 40},
				{arith.Mul, arith.Args{}, 0},
				{arith.Add, arith.Args{A: 6, B: -7}, -1},
				{arith.Sleep, arith.Args{A: 1}, 1},
			}
			for _, call := range calls {
				reply, err := rpcruntime.Call[arith.Reply](t.Context(), c, call.method, &call.args)
				if err != nil || reply.C != call.want {
					t.Errorf("%s%v = %v, %v; want %d", call.method, call.args, reply, err, call.want)
				}
			}
			_, err := rpcruntime.Call[arith.Reply](t.Context(), c, arith.Error, &arith.Args{A: 1, B: 2})
			if status.CodeOf(err) != status.FailedPrecondition || status.FateOf(err) != status.FateExecuted {
				t.Errorf("%s: %v, fate %s", arith.Error, err, status.FateOf(err))
			}
			if _, err = rpcruntime.Call[arith.Reply](t.Context(), c, "Arith.Div", &arith.Args{}); status.CodeOf(err) != status.Unimplemented {
				t.Errorf("unknown method: %v", err)
			}
		})
	}
}

func TestEcho(t *testing.T) {
	c := client(t, serve(t))
	want := []byte("\x00\xff any bytes")
	reply, err := rpcruntime.Call[[]byte](t.Context(), c, arith.Echo, want)
	if err != nil || !bytes.Equal(*reply, want) {
		t.Errorf("%v, %v", reply, err)
	}
}

func TestSleepHonoursTheDeadline(t *testing.T) {
	c := client(t, serve(t))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := rpcruntime.Call[arith.Reply](ctx, c, arith.Sleep, &arith.Args{A: 3_600_000})
	if status.CodeOf(err) != status.DeadlineExceeded {
		t.Error(err)
	}
}

// What an rpcx peer sends, and what it expects back, byte for byte. The first
// two are frames that rpcx's own implementation printed.
func TestFramesOfRPCX(t *testing.T) {
	tests := []struct{ name, request, response string }{
		{
			"json, with a token",
			"08000010 0000000000000001 00000038 00000005 4172697468 00000003 4d756c 00000011 00000006 5f5f41555448 00000003 746f6b 0000000f 7b2241223a31302c2242223a32307d",
			"08008010 0000000000000001 00000021 00000005 4172697468 00000003 4d756c 00000000 00000009 7b2243223a3230307d",
		},
		{
			"msgpack, seq 0",
			"08000030 0000000000000000 0000004a 00000005 4172697468 00000003 4d756c 0000002b 00000006 5f5f41555448 00000003 746f6b 0000000f 5f5f53657276657254696d656f7574 00000003 363939 00000007 82a1410aa14214",
			"08008030 0000000000000000 0000001d 00000005 4172697468 00000003 4d756c 00000000 00000005 81a143ccc8",
		},
		{
			"protobuf",
			"08000020 0000000000000007 0000001c 00000005 4172697468 00000003 4d756c 00000000 00000004 08061007",
			"08008020 0000000000000007 0000001a 00000005 4172697468 00000003 4d756c 00000000 00000002 082a",
		},
		{
			"raw",
			"08000000 0000000000000008 0000001b 00000005 4172697468 00000004 4563686f 00000000 00000002 6869",
			"08008000 0000000000000008 0000001b 00000005 4172697468 00000004 4563686f 00000000 00000002 6869",
		},
	}
	addr := serve(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := frame(t, test.response)
			got := exchange(t, addr, frame(t, test.request), len(want))
			if !bytes.Equal(got, want) {
				t.Errorf("the answer is\n%x, want\n%x", got, want)
			}
		})
	}
}

func frame(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exchange sends a request on a connection of its own and reads n bytes.
func exchange(t *testing.T, addr string, request []byte, n int) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatal(err)
	}
	return got
}

// The messages are encoded as rpcx peers with the same struct encode theirs, and
// as protoc's code encodes arithpb's.
func TestEncodings(t *testing.T) {
	tests := []struct {
		typ   codec.Type
		value any
		want  string
	}{
		{codec.TypeJSON, &arith.Args{A: 10, B: 20}, hex.EncodeToString([]byte(`{"A":10,"B":20}`))},
		{codec.TypeJSON, &arith.Reply{}, hex.EncodeToString([]byte(`{"C":0}`))},
		{codec.TypeMsgPack, &arith.Args{A: 10, B: 20}, "82a1410aa14214"},
		{codec.TypeProtobuf, &arith.Args{A: 10, B: 20}, "080a1014"},
		{codec.TypeProtobuf, &arith.Reply{C: 200}, "08c801"},
	}
	for _, test := range tests {
		got, err := codec.New().Append(test.typ, nil, test.value)
		if err != nil || hex.EncodeToString(got) != test.want {
			t.Errorf("%s of %v: %x, %v; want %s", test.typ, test.value, got, err, test.want)
		}
	}
}
