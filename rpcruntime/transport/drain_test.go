// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Under load, every call on a draining connection is either answered or known
// not to have run; and what was answered is exactly what ran.
func TestDrainUnderLoadLosesNothing(t *testing.T) {
	h := newCallee()
	c, s, events := connect(t, h, Config{}, Config{})
	if _, err := echo(t.Context(), c, "announce"); err != nil {
		t.Fatal(err)
	}
	const callers = 10
	type count struct{ answered, unexecuted, other int }
	counts := make([]count, callers)
	warm := make(chan struct{}, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for n := 0; ; n++ {
				if n == 20 {
					warm <- struct{}{}
				}
				_, err := echo(t.Context(), c, "x")
				switch {
				case err == nil:
					counts[i].answered++
				case status.FateOf(err) == status.FateUnexecuted:
					counts[i].unexecuted++
					return
				default:
					counts[i].other++
					t.Errorf("a call got lost: %v", err)
					return
				}
			}
		})
	}
	for range callers {
		<-warm
	}
	// No grace: reading stops while requests are on their way.
	s.Drain(0, 10*time.Second)
	all.Wait()
	<-events.draining
	<-events.ended
	answered := 1
	for _, n := range counts {
		answered += n.answered
	}
	if h.count() != answered {
		t.Errorf("%d requests ran, %d were answered", h.count(), answered)
	}
}

func TestDrainServesWithinItsGraceAndThenSaysBye(t *testing.T) {
	h := newCallee()
	release := make(chan struct{})
	h.serve = func(in *Inbound) {
		if string(in.Payload) == "slow" {
			<-release
		}
		in.Respond(nil, bytes.Clone(in.Payload), wire.CompressNone)
	}
	c, s, events := connect(t, h, Config{}, Config{})
	if _, err := echo(t.Context(), c, "announce"); err != nil {
		t.Fatal(err)
	}
	slow := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "slow")
		slow <- err
	}()
	drained := make(chan struct{})
	for s.InFlight() == 0 { // a spin on state, not on time
		_, _ = echo(t.Context(), c, "spin")
	}
	go func() {
		s.Drain(time.Minute, 2*time.Minute)
		close(drained)
	}()
	<-events.draining
	if got, err := echo(t.Context(), c, "during the grace"); err != nil || got != "during the grace" {
		t.Errorf("a call during the grace got %q, %v", got, err)
	}
	close(release)
	if err := <-slow; err != nil {
		t.Errorf("the call in flight failed: %v", err)
	}
	<-drained
	_, err := echo(t.Context(), c, "after")
	if status.FateOf(err) != status.FateUnexecuted {
		t.Errorf("a call after the drain: %v, want unexecuted", err)
	}
}

func TestByeDecidesWhatWasExecuted(t *testing.T) {
	c, peer, _ := callRaw(t, Config{})
	const calls = 5
	errs := make([]chan error, calls)
	frames := make([]wire.Frame, calls)
	for i := range calls {
		errs[i] = make(chan error, 1)
		go func() {
			_, err := echo(t.Context(), c, fmt.Sprint(i))
			errs[i] <- err
		}()
		frames[i] = peer.frame() // one after the other: in write order
	}
	hello := wire.Begin(nil, controlHeader(), wire.ControlPath, wire.MethodHello)
	peer.send(hello.Payload(wire.AppendHello(nil, wire.Hello{Seq: frames[0].Seq, Features: drainOnly})))
	bye := wire.Begin(nil, controlHeader(), wire.ControlPath, wire.MethodBye)
	peer.send(bye.Payload(wire.AppendBye(nil, 3)))
	for i := 3; i < calls; i++ {
		wantFate(t, <-errs[i], status.FateUnexecuted, ReasonBye)
	}
	// Those it counted may still be answered; then the connection is lost.
	b := wire.Begin(nil, frames[0].Reply(wire.StatusNormal), "Test", "Echo")
	peer.send(b.Payload(nil))
	if err := <-errs[0]; err != nil {
		t.Error(err)
	}
	_ = peer.Close()
	for _, i := range []int{1, 2} {
		wantFate(t, <-errs[i], status.FateUnknown, ReasonLost)
	}
	_, err := echo(t.Context(), c, "late")
	wantFate(t, err, status.FateUnexecuted, ReasonUnsent)
}

func TestByeFromAPeerWithoutHelloIsIgnored(t *testing.T) {
	c, peer, events := callRaw(t, Config{})
	done := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "x")
		done <- err
	}()
	f := peer.frame()
	bye := wire.Begin(nil, controlHeader(), wire.ControlPath, wire.MethodBye)
	peer.send(bye.Payload(wire.AppendBye(nil, 0)))
	b := wire.Begin(nil, f.Reply(wire.StatusNormal), "Test", "Echo")
	peer.send(b.Payload(nil))
	if err := <-done; err != nil {
		t.Errorf("the call failed because of a bye that nobody may say: %v", err)
	}
	select {
	case <-events.draining:
		t.Error("the connection counts as draining")
	default:
	}
}

// A peer without extensions gets the answers to all that was read, no error and
// no control frame, and then the end of the stream.
func TestDrainTowardsOldPeer(t *testing.T) {
	h := newCallee()
	release := make(chan struct{})
	h.serve = func(in *Inbound) {
		<-release
		in.Respond(nil, bytes.Clone(in.Payload), wire.CompressNone)
	}
	peer, s := serveRaw(t, h, Config{})
	peer.send(append(request(0, "a"), request(1, "b")...))
	for s.InFlight() < 2 { // a spin on state: the requests are on their way
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
	}
	drained := make(chan struct{})
	go func() {
		s.Drain(time.Minute, 2*time.Minute)
		close(drained)
	}()
	<-s.readEnded.done()
	close(release)
	got := map[string]bool{}
	for range 2 {
		f := peer.frame()
		if !f.Response() || f.Status() != wire.StatusNormal {
			t.Errorf("an old peer was sent %+v", f)
		}
		got[string(f.Payload)] = true
	}
	if !got["a"] || !got["b"] {
		t.Errorf("answers %v, want both", got)
	}
	if f, err := peer.tryFrame(); err == nil {
		t.Errorf("an old peer was sent %+v", f)
	}
	_ = peer.Close()
	<-drained
}

func TestDrainIsCutAtItsTimeout(t *testing.T) {
	h := newCallee()
	release := make(chan struct{})
	h.serve = func(in *Inbound) {
		<-release
		in.Respond(nil, nil, wire.CompressNone)
	}
	c, s, _ := connect(t, h, Config{}, Config{})
	failed := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "stuck")
		failed <- err
	}()
	for s.InFlight() == 0 {
		if s.Err() != nil {
			t.Fatal(s.Err())
		}
	}
	s.Drain(time.Millisecond, 20*time.Millisecond)
	var cut *drainTimeoutError
	if !errors.As(s.Err(), &cut) {
		t.Errorf("ended with %v, want a drain that was cut", s.Err())
	}
	if err := <-failed; status.FateOf(err) != status.FateUnknown {
		t.Errorf("the stuck call: %v, want unknown", err)
	}
	close(release)
}

func TestClientDrainWaitsForItsCalls(t *testing.T) {
	h := newCallee()
	release, started := make(chan struct{}), make(chan struct{})
	h.serve = func(in *Inbound) {
		close(started)
		<-release
		in.Respond(nil, nil, wire.CompressNone)
	}
	c, _, _ := connect(t, h, Config{}, Config{})
	done := make(chan error, 1)
	go func() {
		_, err := echo(t.Context(), c, "x")
		done <- err
	}()
	<-started
	drained := make(chan struct{})
	go func() {
		c.Drain(context.Background())
		close(drained)
	}()
	for !c.Shut() {
		select {
		case <-drained:
			t.Fatal("drained while a call is in flight")
		default:
		}
	}
	if _, err := echo(t.Context(), c, "new"); status.FateOf(err) != status.FateUnexecuted {
		t.Errorf("a new call: %v, want unexecuted", err)
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-drained
}
