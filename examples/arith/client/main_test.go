// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

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

func TestPrintsTheReply(t *testing.T) {
	addr := serve(t)
	tests := []struct{ args, want string }{
		{"--codec json", "Arith.Mul 6 7 = 42\n"},
		{"--codec msgpack", "Arith.Mul 6 7 = 42\n"},
		{"--codec protobuf", "Arith.Mul 6 7 = 42\n"},
		{"--codec raw", "Arith.Echo \"hello\" = \"hello\"\n"},
		{"--codec raw --text ahoy", "Arith.Echo \"ahoy\" = \"ahoy\"\n"},
		{"--method Arith.Add --a 1 --b -1", "Arith.Add 1 -1 = 0\n"},
		{"--method Arith.Sleep --a 1", "Arith.Sleep 1 7 = 1\n"},
	}
	for _, test := range tests {
		var out bytes.Buffer
		args := append([]string{"--addr", addr}, strings.Fields(test.args)...)
		if err := run(t.Context(), args, &out, io.Discard); err != nil || out.String() != test.want {
			t.Errorf("%s: %q, %v; want %q", test.args, out.String(), err, test.want)
		}
	}
}

func TestErrors(t *testing.T) {
	addr := serve(t)
	tests := []struct {
		args string
		want status.Code
	}{
		{"--method Arith.Error", status.FailedPrecondition},
		{"--method Arith.Nope", status.Unimplemented},
		{"--method Arith.Sleep --a 60000 --timeout 20ms", status.DeadlineExceeded},
		{"--method nodot", status.InvalidArgument},
	}
	for _, test := range tests {
		args := append([]string{"--addr", addr}, strings.Fields(test.args)...)
		if err := run(t.Context(), args, io.Discard, io.Discard); status.CodeOf(err) != test.want {
			t.Errorf("%s: %v, want %s", test.args, err, test.want)
		}
	}
	for _, args := range []string{"--codec xml", "--addr " + addr + " --service shop/arith", "--nope"} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
