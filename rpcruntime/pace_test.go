// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

func TestPace(t *testing.T) {
	p := new(pace)
	calls := func(n int, took time.Duration) {
		for range n {
			p.note(took)
		}
	}
	want := func(quick bool, when string) {
		t.Helper()
		if p.isQuick() != quick {
			t.Errorf("%s: quick is %v", when, !quick)
		}
	}
	want(false, "at first")
	calls(quickCalls-1, time.Microsecond)
	want(false, "one quick call too few")
	calls(1000, time.Microsecond)
	want(true, "after quick calls")
	calls(1, quickCall+1)
	want(false, "after a call that took a little long")
	calls(quickCalls-1, quickCall)
	want(false, "one call too few to be quick again")
	calls(1, quickCall)
	want(true, "quick again")
	calls(1, slowCall)
	calls(slowPenalty+quickCalls-1, 0)
	want(false, "one call too few after a slow one")
	calls(1, quickCall+1)
	want(false, "a call that took a little long")
	calls(quickCalls, 0)
	want(true, "long after a slow one")
	calls(1, slowCall)
	calls(10, quickCall+1)
	calls(quickCalls, 0)
	want(false, "calls that take a little long do not shorten the penalty")
}

// A handler that was always quick, and is therefore run by the reader of its
// connection, blocks all of a sudden.
func TestQuickHandlerThatBlocks(t *testing.T) {
	release, began := make(chan struct{}), make(chan struct{}, 1)
	c := pair(t, func(s *Server) {
		HandleRaw(s, "Raw.Maybe", func(_ context.Context, b []byte) ([]byte, error) {
			switch string(b) {
			case "block":
				began <- struct{}{}
				<-release
			case "exit":
				runtime.Goexit()
			case "panic":
				panic("as it happens")
			}
			return b, nil
		})
	})
	call := func(arg string) error {
		_, err := CallRaw(context.Background(), c, "Raw.Maybe", []byte(arg), nil)
		return err
	}
	quick := func() {
		t.Helper()
		for range 300 {
			if err := call("x"); err != nil {
				t.Fatal(err)
			}
		}
	}
	quick()
	for _, end := range []string{"exit", "panic"} {
		wantCode(t, call(end), status.Internal)
		quick()
	}
	blocked := make(chan error, 1)
	go func() { blocked <- call("block") }()
	<-began
	quick()
	select {
	case err := <-blocked:
		t.Fatal("the blocked call ended:", err)
	default:
	}
	close(release)
	if err := <-blocked; err != nil {
		t.Fatal(err)
	}
}
