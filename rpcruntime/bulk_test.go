// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// where answers with the caller's address, so that a test knows the connection;
// Raw.Large with a large reply, if asked for one by an argument of two bytes.
func where(s *Server) {
	HandleRaw(s, "Raw.Where", func(ctx context.Context, _ []byte) ([]byte, error) { return callerAddr(ctx), nil })
	HandleRaw(s, "Raw.Large", func(ctx context.Context, b []byte) ([]byte, error) {
		answer := callerAddr(ctx)
		if len(b) == 2 {
			answer = append(answer, make([]byte, largePayload)...)
		}
		return answer, nil
	})
}

func callerAddr(ctx context.Context) []byte {
	if p, ok := PushConnOf(ctx); ok {
		return []byte(p.Peer().Addr)
	}
	return nil
}

func via(t *testing.T, c *Client, method string, size int) string {
	t.Helper()
	b, err := Call[[]byte](t.Context(), c, method, make([]byte, size))
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range *b {
		if x == 0 {
			return string((*b)[:i])
		}
	}
	return string(*b)
}

func linkOf(c *Client, i int) *link {
	e, ok := c.endpointStates()[i].Attached().(*endpoint)
	if !ok {
		return nil
	}
	return e.link.Load()
}

func awaitBulk(t *testing.T, c *Client) {
	t.Helper()
	await(t, "the second connection", func() bool { return linkOf(c, 0).bulk.conn.Load() != nil })
}

func TestLargeMessagesHaveAConnectionOfTheirOwn(t *testing.T) {
	ln := listen(t, "")
	srv := newRuntime(t).NewServer()
	where(srv)
	start(t, srv, ln)
	c := newRuntime(t).NewClient("test", Endpoints(ln.Addr().String()))
	first := via(t, c, "Raw.Where", 1)
	if via(t, c, "Raw.Where", largePayload-1) != first || linkOf(c, 0).bulk.dial != nil || ln.count() != 1 {
		t.Error("what is not large went elsewhere")
	}
	via(t, c, "Raw.Where", largePayload) // by either
	awaitBulk(t, c)
	bulk := via(t, c, "Raw.Where", largePayload)
	if bulk == first {
		t.Fatal("a large message went over the first connection")
	}
	for range 3 {
		if via(t, c, "Raw.Where", 1) != first || via(t, c, "Raw.Where", 1<<20) != bulk {
			t.Error("small and large messages mix")
		}
	}
	if ln.count() != 2 {
		t.Errorf("%d connections, want 2", ln.count())
	}
	c.Close()
	await(t, "the end of both connections", func() bool { return c.rt.Counters().Connections.Load() == 0 })
}

func TestLargeRepliesComeOverTheSecondConnection(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), where)
	c := newRuntime(t).NewClient("test", Endpoints(addr))
	first := via(t, c, "Raw.Large", 2)
	via(t, c, "Raw.Large", 2) // starts to dial
	awaitBulk(t, c)
	bulk := via(t, c, "Raw.Large", 1) // by its last reply
	if bulk == first {
		t.Error("the method's last reply was large, and nobody remembered")
	}
	if got := via(t, c, "Raw.Large", 1); got != first {
		t.Error("the method's last reply was small")
	}
	if got := via(t, c, "Raw.Where", 1); got != first {
		t.Error("another method's replies count")
	}
}

// stuckConn is a connection on which nothing can be written.
type stuckConn struct {
	net.Conn
	writes chan struct{}
	closed chan struct{}
}

func (c *stuckConn) Write([]byte) (int, error) {
	c.writes <- struct{}{}
	<-c.closed
	return 0, net.ErrClosed
}

func (c *stuckConn) Close() error {
	defer func() { recover() }()
	close(c.closed)
	return c.Conn.Close()
}

func TestSmallCallsDoNotWaitBehindLargeOnes(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), where)
	var dials atomic.Int64
	stuck := &stuckConn{writes: make(chan struct{}, 10), closed: make(chan struct{})}
	c := newRuntime(t, WithDialer(func(ctx context.Context, address string) (net.Conn, error) {
		nc, err := dialTCP(ctx, address)
		if dials.Add(1) == 2 && err == nil {
			stuck.Conn = nc
			return stuck, nil
		}
		return nc, err
	})).NewClient("test", Endpoints(addr))
	large := make([]byte, 1<<20)
	if err := CallInto(t.Context(), c, "Raw.Where", large, nil); err != nil {
		t.Fatal(err)
	}
	awaitBulk(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- CallInto(ctx, c, "Raw.Where", large, nil) }()
	receive(t, stuck.writes, "the large message's write")
	for range 100 {
		if err := CallInto(t.Context(), c, "Raw.Where", []byte("x"), nil); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-done:
		t.Errorf("the large call ended: %v", err)
	default:
	}
	_ = stuck.Close()
	receive(t, done, "the large call")
	cancel()
}

// The end of the second connection says nothing of the endpoint: a suspect that
// is used on the evidence of its first connection goes on being used.
func TestEndOfTheSecondConnectionIsNotTheEndpoints(t *testing.T) {
	inWorld(t, func(w *world) {
		w.serve(one)
		w.changed(at(one))
		w.mustCall()
		linkOf(w.c, 0).dialSecond(&linkOf(w.c, 0).bulk)
		synctest.Wait()
		// Too many are lost to be believed, and the ready one cannot be reached.
		w.changed(suspect(at(one)), at(two), suspect(at("10.0.0.3:80")))
		for w.dialled(two) == 0 {
			_, _ = w.call(time.Second)
		}
		w.mustCall()
		l := linkOf(w.c, 0)
		l.bulk.conn.Load().Close()
		synctest.Wait()
		if l.bulk.conn.Load() != nil {
			t.Fatal("it is still there")
		}
		w.mustCall()
		l.conn.Load().Close()
		synctest.Wait()
		if _, err := w.call(time.Second); err == nil {
			t.Error("a suspect without a connection was used: the test shows nothing")
		}
	})
}

// And the other way round: while the second stands, the endpoint has a connection.
func TestTheSecondConnectionOutlivesTheFirst(t *testing.T) {
	addr, _ := serveWith(t, newRuntime(t), where)
	c := newRuntime(t).NewClient("test", Endpoints(addr))
	via(t, c, "Raw.Where", largePayload)
	awaitBulk(t, c)
	bulk := via(t, c, "Raw.Where", largePayload)
	linkOf(c, 0).conn.Load().Close()
	if via(t, c, "Raw.Where", largePayload) != bulk {
		t.Error("the second connection is not used any more")
	}
	if via(t, c, "Raw.Where", 1) == bulk {
		t.Error("a small message went over it")
	}
}

func TestSecondConnectionsThatCannotBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int64
		l := &pipeListener{accept: make(chan net.Conn), closed: make(chan struct{})}
		rt, err := New(WithoutRegistry(), WithDialer(func(context.Context, string) (net.Conn, error) {
			if dials.Add(1) > 1 {
				return nil, errors.New("too many connections")
			}
			ours, theirs := net.Pipe()
			l.accept <- theirs
			return ours, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		srv := rt.NewServer()
		rawEcho(srv)
		start(t, srv, l)
		c := rt.NewClient("test", Endpoints("a:1"))
		large := func(want int64) {
			t.Helper()
			for range 5 {
				if err := CallInto(context.Background(), c, "Raw.Echo", make([]byte, largePayload), nil); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if n := dials.Load(); n != want {
				t.Errorf("%d dials, want %d", n, want)
			}
		}
		large(2)
		time.Sleep(secondPauseBase)
		large(3)
		time.Sleep(secondPauseBase)
		large(3)
		time.Sleep(secondPauseBase)
		large(4)
		time.Sleep(time.Hour)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := rt.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// A server that drains says so on both, and a large call goes elsewhere.
func TestLargeCallsLeaveADrainingServer(t *testing.T) {
	rtA, rtB := newRuntime(t), newRuntime(t)
	lnA := listen(t, "")
	a := rtA.NewServer()
	rawEcho(a)
	stop := start(t, a, lnA)
	addrB, _ := serveWith(t, rtB, rawEcho)
	c := newRuntime(t).NewClient("test", Endpoints(lnA.Addr().String(), addrB), FixedPolicy(generous(3)))
	for linkOf(c, 0).bulk.conn.Load() == nil || linkOf(c, 1).bulk.conn.Load() == nil {
		if err := CallInto(t.Context(), c, "Raw.Echo", make([]byte, largePayload), nil); err != nil {
			t.Fatal(err)
		}
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for range 200 {
		if err := CallInto(t.Context(), c, "Raw.Echo", make([]byte, largePayload), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := receive(t, stopped, "the drain's end"); err != nil {
		t.Error(err)
	}
	if err := CallInto(t.Context(), c, "Raw.Echo", make([]byte, largePayload), nil); err != nil {
		t.Error(err)
	}
}

func TestReplySizesAreBounded(t *testing.T) {
	var r replySizes
	if r.note("a", 1); r.methods.Load() != nil {
		t.Error("small replies take memory")
	}
	for i := range 2 * maxLargeMethods {
		r.note("m"+strconv.Itoa(i), largePayload)
	}
	if n := len(*r.methods.Load()); n != maxLargeMethods {
		t.Errorf("%d methods are remembered, want %d", n, maxLargeMethods)
	}
	if !r.large("m0") || r.large("m"+strconv.Itoa(maxLargeMethods)) || r.large("a") {
		t.Error("the wrong ones are remembered")
	}
	if r.note("m0", largePayload-1); r.large("m0") {
		t.Error("its last reply was small")
	}
}
