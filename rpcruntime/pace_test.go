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
			p.note(took, p.isQuick(false), false)
		}
	}
	want := func(quick bool, when string) {
		t.Helper()
		if p.isQuick(false) != quick {
			t.Errorf("%s: quick is %v", when, !quick)
		}
	}
	want(false, "at first")
	calls(quickCalls-1, quickCall)
	want(false, "one quick call too few")
	calls(1, quickCall)
	want(true, "after quick calls")
	calls(1000, time.Microsecond)
	calls(1, quickCall+1)
	want(true, "after one that took longer")
	calls(1, slowCall-1)
	want(true, "after another")

	calls(trialCalls, 0)
	for i := range 3 {
		calls(1, slowCall)
		calls(penalty<<i+quickCalls-1, 0)
		want(false, "one call too few after a slow one")
		calls(1, 0)
		want(true, "long enough after a slow one")
	}
	calls(trialCalls-quickCalls, 0)
	calls(1, slowCall)
	calls(penalty+quickCalls, 0)
	want(true, "the penalty is the first again after a long good time")

	calls(trialCalls, 0)
	for range 5 {
		calls(1, quickCall+1)
	}
	want(false, "after many that took longer")
	calls(quickCalls, 0)
	want(false, "so many are held against it as slow ones")
	calls(penalty, 0)
	want(true, "until it is tried again")
}

// Of a call that nobody waits behind more is forgiven.
func TestPaceOfCallsThatAreAlone(t *testing.T) {
	p := new(pace)
	for range 10 * quickCalls {
		p.note(quickAlone, p.isQuick(true), true)
	}
	if !p.isQuick(true) || p.isQuick(false) {
		t.Errorf("alone %v, among others %v", p.isQuick(true), p.isQuick(false))
	}
	for range quickCalls {
		p.note(quickAlone+1, p.isQuick(true), true)
	}
	if p.isQuick(true) {
		t.Error("quick after calls that took too long even alone")
	}
}

// Of handlers that wait now and then, and so are run by others, more is forgiven
// than by the reader, but not much more.
func TestPaceOfThoseRunByOthers(t *testing.T) {
	for every, want := range map[int]bool{8: false, 10: true} {
		p := new(pace)
		for i := range 10000 {
			took := time.Duration(0)
			if i%every == 0 {
				took = 2 * slowCall
			}
			p.note(took, false, false)
		}
		if p.isQuick(false) != want {
			t.Errorf("one in %d takes long: quick is %v", every, !want)
		}
	}
}

// However often a handler is slow, it is tried again.
func TestPaceTriesAgain(t *testing.T) {
	p := new(pace)
	for range 20 {
		for n := 0; !p.isQuick(false); n++ {
			if n > maxPenalty+quickCalls {
				t.Fatal("not quick after the longest penalty")
			}
			p.note(0, false, false)
		}
		p.note(slowCall, true, false)
	}
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
