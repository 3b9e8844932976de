// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"testing"
	"time"
)

// docs/wire-protocol.md §8
func TestServerTellsItsLoad(t *testing.T) {
	h := newHolding()
	_, srv := serveWith(t, newRuntime(t), func(s *Server) { HandleRaw(s, "Raw.Hold", h.ignore) }, MaxConcurrentCalls(4))
	serving(t, srv)
	if l := srv.load(); l.InFlight != 0 || l.Utilisation != 0 || l.QueueDelay != 0 {
		t.Errorf("an idle server: %+v", l)
	}
	var held []<-chan *ForeignReply
	for range 3 {
		held = append(held, do(t.Context(), srv, &ForeignCall{Path: "Raw", Method: "Hold"}))
		receive(t, h.began, "the handler")
	}
	if l := srv.load(); l.InFlight != 3 || l.Utilisation != 750 || l.QueueDelay <= 0 {
		t.Errorf("three of four: %+v", l)
	}
	close(h.letGo)
	for _, reply := range held {
		receive(t, reply, "the reply")
	}
	if l := srv.load(); l.InFlight != 0 || l.Utilisation != 0 {
		t.Errorf("idle again: %+v", l)
	}
}

func TestQueueDelayIsSmoothed(t *testing.T) {
	srv := newRuntime(t).NewServer()
	srv.noteDelay(-time.Second)
	if d := srv.load().QueueDelay; d != 0 {
		t.Errorf("a clock that went back: %s", d)
	}
	srv.noteDelay(8 * time.Millisecond)
	if d := srv.load().QueueDelay; d != time.Millisecond {
		t.Errorf("one slow request of many: %s", d)
	}
	for range 100 {
		srv.noteDelay(8 * time.Millisecond)
	}
	if d := srv.load().QueueDelay; d < 7900*time.Microsecond || d > 8*time.Millisecond {
		t.Errorf("all slow: %s", d)
	}
	for range 100 {
		srv.noteDelay(0)
	}
	if d := srv.load().QueueDelay; d > 10*time.Microsecond {
		t.Errorf("all fast again: %s", d)
	}
}
