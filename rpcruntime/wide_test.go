// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// crowd holds calls in flight, over whichever connections they came.
type crowd struct {
	t       *testing.T
	c       *Client
	release chan struct{}
	held    atomic.Int64
	vias    sync.Map // address of the caller -> number of calls, *atomic.Int64
	calls   sync.WaitGroup
}

func newCrowd(t *testing.T, opts ...RuntimeOption) (*crowd, *cutListener) {
	w := &crowd{t: t, release: make(chan struct{})}
	ln := listen(t, "")
	srv := newRuntime(t).NewServer()
	HandleRaw(srv, "Raw.Hold", func(ctx context.Context, b []byte) ([]byte, error) {
		n, _ := w.vias.LoadOrStore(string(callerAddr(ctx)), new(atomic.Int64))
		n.(*atomic.Int64).Add(1) //nolint:forcetypeassert // as stored
		w.held.Add(1)
		defer w.held.Add(-1)
		<-w.release
		return b, nil
	})
	start(t, srv, ln)
	rt := newRuntime(t, opts...)
	rt.processors = 2
	w.c = rt.NewClient("test", Endpoints(ln.Addr().String()))
	return w, ln
}

// hold brings n more calls into flight.
func (w *crowd) hold(n int) {
	w.t.Helper()
	want := w.held.Load() + int64(n)
	for range n {
		w.calls.Go(func() {
			if _, err := Call[[]byte](context.Background(), w.c, "Raw.Hold", []byte("x")); err != nil {
				w.t.Error(err)
			}
		})
	}
	await(w.t, "calls in flight", func() bool { return w.held.Load() == want })
}

// widen brings enough calls into flight for a second connection.
func (w *crowd) widen() {
	w.t.Helper()
	w.hold(wideFrom)
	w.hold(1)
	w.awaitWide()
}

func (w *crowd) awaitWide() {
	w.t.Helper()
	await(w.t, "the second connection", func() bool { return linkOf(w.c, 0).wide.conn.Load() != nil })
}

func (w *crowd) letGo() {
	close(w.release)
	w.calls.Wait()
}

func (w *crowd) connections() (n int) {
	w.vias.Range(func(any, any) bool { n++; return true })
	return n
}

func TestManyCallsHaveASecondConnection(t *testing.T) {
	w, ln := newCrowd(t)
	w.hold(wideFrom)
	if ln.count() != 1 {
		t.Errorf("%d connections for %d calls", ln.count(), wideFrom)
	}
	w.hold(1) // finds so many in flight
	w.awaitWide()
	w.hold(wideFrom)
	first, second := linkOf(w.c, 0).conn.Load().InFlight(), linkOf(w.c, 0).wide.conn.Load().InFlight()
	if second < wideFrom-1 || first > wideFrom+2 || w.connections() != 2 || ln.count() != 2 {
		t.Errorf("%d and %d calls over %d connections", first, second, ln.count())
	}
	w.hold(100)
	first, second = linkOf(w.c, 0).conn.Load().InFlight(), linkOf(w.c, 0).wide.conn.Load().InFlight()
	if first-second > 1 || second-first > 1 {
		t.Errorf("%d and %d calls", first, second)
	}
	w.letGo()
}

func TestFewCallsLeaveTheSecondConnectionAlone(t *testing.T) {
	w, _ := newCrowd(t)
	w.widen()
	w.letGo()
	w.release = make(chan struct{})
	w.hold(wideFrom)
	if n := linkOf(w.c, 0).wide.conn.Load().InFlight(); n != 0 {
		t.Errorf("%d calls over the second connection", n)
	}
	w.letGo()
}

func TestOneProcessorNeedsOneConnection(t *testing.T) {
	w, ln := newCrowd(t)
	w.c.rt.processors = 1
	w.hold(2 * wideFrom)
	if l := linkOf(w.c, 0); l.wide.conn.Load() != nil || l.wide.next != 0 || ln.count() != 1 {
		t.Error("a second connection")
	}
	w.letGo()
}

// Nobody waits for the second connection, nor for one that cannot be made.
func TestWithoutTheSecondConnection(t *testing.T) {
	var dials atomic.Int64
	w, _ := newCrowd(t, WithDialer(func(ctx context.Context, address string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			return nil, errors.New("no more")
		}
		return dialTCP(ctx, address)
	}))
	w.hold(wideFrom)
	w.hold(10)
	await(t, "the failed dial", func() bool { return dials.Load() == 2 })
	w.hold(wideFrom)
	if n := linkOf(w.c, 0).conn.Load().InFlight(); n != 2*wideFrom+10 {
		t.Errorf("%d calls over the first connection", n)
	}
	if e := w.c.Endpoints()[0]; !e.Connected {
		t.Error("the endpoint counts as disconnected")
	}
	w.letGo()
}

// The end of one connection is not the endpoint's.
func TestEndOfOneOfTwo(t *testing.T) {
	w, _ := newCrowd(t)
	w.widen()
	w.letGo()
	l := linkOf(w.c, 0)
	l.wide.conn.Load().Close()
	if e := w.c.Endpoints()[0]; !e.Connected || l.wide.conn.Load() != nil {
		t.Error("the end of the second connection is the endpoint's")
	}
	w.release = make(chan struct{})
	w.hold(1)
	w.letGo()
}
