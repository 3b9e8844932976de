// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime"
)

func TestServesUntilItsContextEnds(t *testing.T) {
	t.Setenv("FAIRLEAD_REGISTRY", "")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--listen", "127.0.0.1:0"}, in, io.Discard)
		in.Close()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err, <-done)
	}
	addr := line[strings.LastIndexByte(line, ' ')+1 : len(line)-1]

	rt, err := rpcruntime.New(rpcruntime.WithoutRegistry())
	if err != nil {
		t.Fatal(err)
	}
	defer rt.Close(context.Background())
	reply, err := rpcruntime.Call[arith.Reply](t.Context(), rt.NewClient("arith", rpcruntime.Endpoints(addr)), arith.Mul, &arith.Args{A: 6, B: 7})
	if err != nil || reply.C != 42 {
		t.Errorf("%v, %v", reply, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestBadCommandLines(t *testing.T) {
	t.Setenv("FAIRLEAD_REGISTRY", "")
	for _, args := range []string{"--service shop/arith", "--listen nowhere", "--nope"} {
		if err := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
