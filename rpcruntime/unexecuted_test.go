// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// twoServers serve Once.Run and Again.Run, of which the second is idempotent.
func twoServers(t *testing.T) (executed *ids, addrs []string) {
	t.Helper()
	executed = newIDs()
	rt := newRuntime(t)
	for range 2 {
		addr, _ := serveWith(t, rt, func(s *Server) {
			run := func(_ context.Context, b []byte) ([]byte, error) {
				executed.ran(idOf(b))
				return b, nil
			}
			HandleRaw(s, "Once.Run", run)
			HandleRaw(s, "Again.Run", run)
		})
		addrs = append(addrs, addr)
	}
	return executed, addrs
}

// stingyConn takes so many bytes to send and not one more.
type stingyConn struct {
	net.Conn
	left int // guarded by the one writer that a connection has
}

var errCut = errors.New("cut by the test")

func (c *stingyConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b[:min(len(b), c.left)])
	c.left -= n
	if c.left == 0 { // what it has taken arrives, and then nothing more
		_ = c.Conn.Close()
	}
	if err == nil && n < len(b) {
		err = errCut
	}
	return n, err
}

// firstDial runs first for the first connection that is dialled and dials the
// others as usual.
func firstDial(first func(ctx context.Context, address string) (net.Conn, error)) RuntimeOption {
	var dialled atomic.Bool
	return WithDialer(func(ctx context.Context, address string) (net.Conn, error) {
		if dialled.Swap(true) {
			return dialTCP(ctx, address)
		}
		return first(ctx, address)
	})
}

// frameSize is how many bytes the first request of a connection takes.
func frameSize(t *testing.T, addrs []string, method string) int {
	t.Helper()
	const plenty = 1 << 20
	var conn *stingyConn
	c := newRuntime(t, firstDial(func(ctx context.Context, address string) (net.Conn, error) {
		nc, err := dialTCP(ctx, address)
		conn = &stingyConn{nc, plenty}
		return conn, err
	})).NewClient("once", Endpoints(addrs...), FixedPolicy(generous(1)))
	if _, err := Call[[]byte](t.Context(), c, method, idBytes(1<<40)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	return plenty - conn.left
}

// closeNow closes a runtime of which a test makes many.
func closeNow(t *testing.T, rt *Runtime) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := rt.Close(ctx); err != nil {
		t.Error(err)
	}
}

// bareRuntime is newRuntime for those that are closed by closeNow.
func bareRuntime(t *testing.T, opts ...RuntimeOption) *Runtime {
	t.Helper()
	rt, err := New(append([]RuntimeOption{WithoutRegistry()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// The system takes n bytes of a request and then fails, for every n. A frame that
// did not leave whole is sent to the other endpoint; one that did may have run,
// and is not.
// docs/wire-protocol.md §9
func TestUnexecutedWhenTheWriteIsCutAtAnyByte(t *testing.T) {
	executed, addrs := twoServers(t)
	for _, method := range []string{"Once.Run", "Again.Run"} {
		size := frameSize(t, addrs, method)
		for n := range size + 1 {
			id := uint64(n)<<8 | uint64(len(method))
			rt := bareRuntime(t, firstDial(func(ctx context.Context, address string) (net.Conn, error) {
				nc, err := dialTCP(ctx, address)
				return &stingyConn{nc, n}, err
			}))
			c := rt.NewClient("once", Endpoints(addrs...), FixedPolicy(generous(2), "Again.Run"))
			_, err := Call[[]byte](t.Context(), c, method, idBytes(id))
			closeNow(t, rt)
			ran := executed.of(id)
			switch {
			case n < size:
				if err != nil || ran != 1 {
					t.Errorf("%s: %d of %d bytes: ran %d times, %v", method, n, size, ran, err)
				}
			case method == "Once.Run":
				if err != nil { // else the answer was faster than the cut
					wantFate(t, err, status.Unavailable, status.FateUnknown)
				}
				if ran > 1 || err == nil && ran != 1 {
					t.Errorf("the whole frame: ran %d times, %v", ran, err)
				}
			case err != nil || ran < 1:
				t.Errorf("idempotent: ran %d times, %v", ran, err)
			}
		}
	}
}

// A oneway call is sent again only if it did not leave whole.
// docs/wire-protocol.md §9
func TestUnexecutedOnewayWhenTheWriteIsCut(t *testing.T) {
	executed, addrs := twoServers(t)
	size := frameSize(t, addrs, "Once.Run") // the flags differ, the size does not
	for n := 0; n <= size; n += 1 + n%7 {
		rt := bareRuntime(t, firstDial(func(ctx context.Context, address string) (net.Conn, error) {
			nc, err := dialTCP(ctx, address)
			return &stingyConn{nc, n}, err
		}))
		c := rt.NewClient("once", Endpoints(addrs...), FixedPolicy(generous(2)))
		id := uint64(n)
		if err := Oneshot(t.Context(), c, "Once.Run", idBytes(id)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
		if n < size { // before the connection's end: nobody waits for it
			waitUntil(t, "the oneway call to run", func() bool { return executed.of(id) > 0 })
		}
		closeNow(t, rt)
		if ran := executed.of(id); ran > 1 {
			t.Errorf("%d bytes of %d: ran %d times", n, size, ran)
		}
	}
}

// The network carries n bytes of a request and then breaks, for every n. The
// caller cannot know how far they came: nothing that is not idempotent is sent
// again, and it never runs twice; what is idempotent succeeds.
// docs/wire-protocol.md §9
func TestUnexecutedWhenTheNetworkIsCutAtAnyByte(t *testing.T) {
	executed, addrs := twoServers(t)
	for _, method := range []string{"Once.Run", "Again.Run"} {
		size := frameSize(t, addrs, method)
		for n := range size + 1 {
			id := uint64(n)<<8 | uint64(len(method))
			proxy := newCutProxy(t, addrs[n%2], n)
			rt := bareRuntime(t, firstDial(func(ctx context.Context, _ string) (net.Conn, error) { return dialTCP(ctx, proxy.addr) }))
			c := rt.NewClient("once", Endpoints(addrs...), FixedPolicy(generous(2), "Again.Run"))
			_, err := Call[[]byte](t.Context(), c, method, idBytes(id))
			closeNow(t, rt)
			proxy.wait()
			ran := executed.of(id)
			if method == "Again.Run" {
				if err != nil || ran < 1 || n < size && ran != 1 {
					t.Errorf("idempotent, %d of %d bytes: ran %d times, %v", n, size, ran, err)
				}
				continue
			}
			wantFate(t, err, status.Unavailable, status.FateUnknown)
			if ran > 1 || n < size && ran != 0 {
				t.Errorf("%d of %d bytes: ran %d times", n, size, ran)
			}
		}
	}
}

// cutProxy takes one connection, carries n bytes of what its caller sends, and
// breaks. Of the answers it carries nothing.
type cutProxy struct {
	addr string
	ln   net.Listener
	all  sync.WaitGroup
}

func newCutProxy(t *testing.T, target string, n int) *cutProxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &cutProxy{addr: ln.Addr().String(), ln: ln}
	p.all.Go(func() {
		defer func() { _ = ln.Close() }()
		caller, err := ln.Accept()
		if err != nil {
			return
		}
		defer func() { _ = caller.Close() }()
		callee, err := net.Dial("tcp", target)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = callee.Close() }()
		if n == 0 { // break only once there is something to lose
			_, _ = io.ReadFull(caller, make([]byte, 1))
		}
		_, _ = io.CopyN(callee, caller, int64(n))
		if tcp, ok := caller.(*net.TCPConn); ok && n%2 == 0 {
			_ = tcp.SetLinger(0) // a reset, and an orderly end in turn
		}
	})
	return p
}

func (p *cutProxy) wait() {
	_ = p.ln.Close()
	p.all.Wait()
}

// drainCut is a caller, a server that drains, and a tap between them that breaks
// the connection at a given byte of what the server says in its drain.
//
//	caller                tap                   leaving server     staying server
//	  --- first ----------------------------------> runs, waits
//	  --- late 1..3 -------> kept
//	  <------------ drain ------------------------- Drain
//	  <------------ answer to first --------------- released
//	  <------------ bye --------------------------- stopped reading
//	                  late 1..3 ------------------> thrown away
//	  --- late 1..3, sent again -----------------------------------> run
type drainCut struct {
	t        *testing.T
	executed *ids
	tap      *tap
	client   *Client
	id       atomic.Uint64
}

// untilAtTap makes calls until one goes through the tap. The others go to the
// server that stays, and succeed.
func (d *drainCut) untilAtTap() (id uint64, pending *Pending[[]byte]) {
	d.t.Helper()
	for {
		id = d.id.Add(1)
		pending = Go[[]byte](d.t.Context(), d.client, "Once.Run", idBytes(id))
		select {
		case <-d.tap.requests:
			return id, pending
		case <-pending.Done():
			if _, err := pending.Result(); err != nil {
				d.t.Fatalf("a call at the server that stays: %v", err)
			}
		}
	}
}

// runDrainCut breaks the connection after cut bytes of the three frames; below 0
// it does not. It returns where in those bytes the answer and the bye end.
func runDrainCut(t *testing.T, staying string, executed *ids, ids *atomic.Uint64, cut int) (answerEnds, byeEnds int) {
	t.Helper()
	server := bareRuntime(t)
	defer closeNow(t, server)
	srv, ln := server.NewServer(), listen(t, "")
	entered, release := make(chan struct{}, 1), make(chan struct{})
	HandleRaw(srv, "Once.Run", func(_ context.Context, b []byte) ([]byte, error) {
		executed.ran(idOf(b))
		entered <- struct{}{}
		<-release
		return b, nil
	})
	go func() { _ = srv.Serve(context.Background(), ln) }() // ends with the runtime
	tap := newTap(t, ln.Addr().String(), cut)
	defer tap.close()
	caller := bareRuntime(t)
	defer closeNow(t, caller)
	fields := generous(1)
	fields.LoadBalancer = policy.RoundRobin // others avoid whoever has calls in flight
	d := &drainCut{t: t, executed: executed, tap: tap, client: caller.NewClient("once", Endpoints(tap.addr, staying), FixedPolicy(fields))}
	d.id.Store(ids.Add(1 << 16))

	first, firstCall := d.untilAtTap()
	receive(t, entered, "the first call")
	tap.hold()
	var late []uint64
	var lateCalls []*Pending[[]byte]
	for range 3 {
		id, call := d.untilAtTap()
		late, lateCalls = append(late, id), append(lateCalls, call)
	}
	drained := make(chan error, 1)
	go func() { drained <- srv.Drain(context.Background()) }()
	select {
	case <-tap.drained:
	case <-tap.broken:
	}
	close(release)
	receive(t, drained, "the end of the drain")

	_, err := firstCall.Result()
	answerEnds, byeEnds = tap.ends()
	if answered := cut < 0 || cut >= answerEnds && answerEnds > 0; answered && err != nil {
		t.Errorf("cut at %d: the call that was answered: %v", cut, err)
	} else if !answered {
		wantFate(t, err, status.Unavailable, status.FateUnknown)
	}
	if n := executed.of(first); n != 1 {
		t.Errorf("cut at %d: the call that was read ran %d times", cut, n)
	}
	for i, call := range lateCalls {
		_, err := call.Result()
		n := executed.of(late[i])
		if told := cut < 0 || cut >= byeEnds && byeEnds > 0; told {
			if err != nil || n != 1 {
				t.Errorf("cut at %d, after the bye: a call that was not read ran %d times, %v", cut, n, err)
			}
			continue
		}
		if wantFate(t, err, status.Unavailable, status.FateUnknown); n != 0 {
			t.Errorf("cut at %d, before the bye: a call that was not read ran %d times", cut, n)
		}
	}
	return answerEnds, byeEnds
}

// The connection breaks at every byte of what is said in a drain: before and
// inside each frame, between them, and after bye. No call runs twice; those above bye's number are
// sent again and succeed; of the others nobody pretends to know.
// docs/wire-protocol.md §8, §9
func TestUnexecutedAtEveryStepOfADrain(t *testing.T) {
	executed, ids := newIDs(), new(atomic.Uint64)
	addr, _ := serveWith(t, newRuntime(t), func(s *Server) {
		HandleRaw(s, "Once.Run", func(_ context.Context, b []byte) ([]byte, error) {
			executed.ran(idOf(b))
			return b, nil
		})
	})
	answerEnds, byeEnds := runDrainCut(t, addr, executed, ids, -1)
	if t.Failed() {
		return
	}
	const drainEnds = 16 + 29
	if answerEnds <= drainEnds || byeEnds <= answerEnds {
		t.Fatalf("the answer ends at %d, bye at %d", answerEnds, byeEnds)
	}
	for cut := range byeEnds + 2 {
		runDrainCut(t, addr, executed, ids, cut)
	}
	for id, n := range executed.runs {
		if n > 1 {
			t.Errorf("call %x ran %d times", id, n)
		}
	}
}
