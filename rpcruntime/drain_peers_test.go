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
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/rpcxpeer"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

const (
	// loadCallers and loadInterval make 2,000 calls a second.
	loadCallers  = 10
	loadInterval = 5 * time.Millisecond
	// loadPart is how many calls are made before a drain, and after it.
	loadPart = 200
)

// pacedLoad makes calls by the clock: what is late is made up for at once, so
// that a slow moment is followed by a burst, as in production.
type pacedLoad struct {
	calls, failed atomic.Int64
	// made gets one for each call, as far as there is room.
	made chan struct{}
	stop chan struct{}
	all  sync.WaitGroup
}

// startPaced runs callers, each with the function that call makes for it, which
// is given an id for each call.
func startPaced(t *testing.T, call func(caller int) func(id uint64) error) *pacedLoad {
	t.Helper()
	l := &pacedLoad{made: make(chan struct{}, 10_000), stop: make(chan struct{})}
	began := time.Now()
	for i := range loadCallers {
		do := call(i)
		l.all.Go(func() {
			tick := time.NewTicker(loadInterval)
			defer tick.Stop()
			for n := 0; ; {
				select {
				case <-l.stop:
					return
				case <-tick.C:
				}
				for ; n < int(time.Since(began)/loadInterval) && l.failed.Load() < 20; n++ {
					l.calls.Add(1)
					if err := do(uint64(i)<<32 | uint64(n)); err != nil {
						l.failed.Add(1)
						t.Errorf("call %d.%d: %v", i, n, err)
					}
					select {
					case l.made <- struct{}{}:
					case <-l.stop:
						return
					}
				}
			}
		})
	}
	return l
}

// more waits until n more calls have been made.
func (l *pacedLoad) more(t *testing.T, n int) {
	t.Helper()
	for range n {
		receive(t, l.made, "a call")
		if l.failed.Load() > 0 {
			return
		}
	}
}

// drainedServer is one of the servers of a drain under load.
type drainedServer struct {
	ln   *cutListener
	stop func() error
	ran  atomic.Int64
}

// newDrainedServer serves Once.Run, which takes a moment, so that calls are in
// flight at any time.
func newDrainedServer(t *testing.T, executed *ids) *drainedServer {
	t.Helper()
	d := &drainedServer{ln: listen(t, "")}
	srv := newRuntime(t).NewServer(DrainTimeout(drainPatience))
	HandleRaw(srv, "Once.Run", func(_ context.Context, b []byte) ([]byte, error) {
		d.ran.Add(1)
		executed.ran(idOf(b))
		<-time.After(time.Millisecond)
		return b, nil
	})
	d.stop = start(t, srv, d.ln)
	return d
}

// drainPatience bounds a drain that should take no time.
const drainPatience = 20 * time.Second

// Two servers take 2,000 calls a second from ten callers. One is told to stop,
// and says that its drain was not cut: no call fails, and each runs once. The
// other goes on alone.
// docs/wire-protocol.md §8
func TestDrainUnderLoadOfPeers(t *testing.T) {
	for name, callers := range map[string]func(t *testing.T, addrs []string) func(int) func(uint64) error{
		"Fairlead callers": fairleadCallers,
		"rpcx callers":     rpcxCallers,
		"both": func(t *testing.T, addrs []string) func(int) func(uint64) error {
			ours, theirs := fairleadCallers(t, addrs), rpcxCallers(t, addrs)
			return func(i int) func(uint64) error {
				if i%2 == 0 {
					return ours(i)
				}
				return theirs(i)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			executed := newIDs()
			leaving, staying := newDrainedServer(t, executed), newDrainedServer(t, executed)
			l := startPaced(t, callers(t, []string{leaving.ln.Addr().String(), staying.ln.Addr().String()}))
			l.more(t, loadPart)
			began := time.Now()
			if err := leaving.stop(); err != nil {
				t.Errorf("the drain: %v", err)
			}
			if took := time.Since(began); took > drainPatience-drainMargin {
				t.Errorf("the drain took %s, longer than its grace", took)
			}
			ran := leaving.ran.Load()
			l.more(t, loadPart)
			close(l.stop)
			l.all.Wait()
			if leaving.ran.Load() != ran || ran == 0 || staying.ran.Load() < loadPart {
				t.Errorf("%d ran at the drained server, %d of them afterwards, %d at the other", ran, leaving.ran.Load()-ran, staying.ran.Load())
			}
			executed.once(t, l.calls.Load())
			t.Logf("%d calls; drained in %s", l.calls.Load(), time.Since(began))
		})
	}
}

// once wants calls calls to have run, each of them once.
func (x *ids) once(t *testing.T, calls int64) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	for id, n := range x.runs {
		if n != 1 {
			t.Errorf("call %x ran %d times", id, n)
		}
	}
	if int64(len(x.runs)) != calls {
		t.Errorf("%d calls, %d of them ran", calls, len(x.runs))
	}
}

// runs returns how often a call ran.
func (x *ids) of(id uint64) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.runs[id]
}

// fairleadCallers are processes of their own, each with its connections. Their
// method is not idempotent.
func fairleadCallers(t *testing.T, addrs []string) func(int) func(uint64) error {
	return func(int) func(uint64) error {
		c := newRuntime(t).NewClient("once", Endpoints(addrs...), FixedPolicy(policy.CallFields{FailMode: policy.Failfast}))
		return func(id uint64) error {
			_, err := Call[[]byte](t.Context(), c, "Once.Run", idBytes(id))
			return err
		}
	}
}

// rpcxCallers fail over. They take the servers in turn: at random, as is rpcx's
// default, one call in sixteen would choose the server that is gone four times
// running, and fail, whatever a drain does.
func rpcxCallers(t *testing.T, addrs []string) func(int) func(uint64) error {
	return func(int) func(uint64) error {
		x := rpcxpeer.NewXClient("Once", addrs, rpcxpeer.XConfig{Select: rpcxpeer.RoundRobinSelect})
		t.Cleanup(x.Close)
		return func(id uint64) error {
			_, err := x.Call(t.Context(), "Run", idBytes(id))
			return err
		}
	}
}

// An old caller that stays has its calls answered: those that were read before
// the drain, however many, on one connection; and is told nothing that it does
// not know.
// docs/wire-protocol.md §8
func TestDrainAnswersWhatOldCallersSent(t *testing.T) {
	_, ln, srv, entered, release := waitingServer(t, false)
	start(t, srv, ln)
	pushes := make(chan *rpcxpeer.Message, 10)
	c := oldCaller(t, ln.Addr().String(), rpcxpeer.ClientConfig{Pushes: pushes})
	const calls = 5
	results := make(chan error, calls)
	for range calls {
		go func() {
			_, err := c.Call(t.Context(), "Wait", "For", make([]byte, 100_000))
			results <- err
		}()
	}
	for range calls {
		receive(t, entered, "a call")
	}
	drained := make(chan error, 1)
	go func() { drained <- srv.Drain(context.Background()) }()
	for srv.drainStarted() != nil {
	}
	close(release)
	for range calls {
		if err := receive(t, results, "an answer"); err != nil {
			t.Error(err)
		}
	}
	if err := receive(t, drained, "the end of the drain"); err != nil {
		t.Error(err)
	}
	receive(t, c.Down(), "the end of the connection")
	if len(pushes) > 0 {
		t.Errorf("an old caller was sent %+v", <-pushes)
	}
	if nc, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		_ = nc.Close()
		t.Error("the listener is open after the drain")
	}
}

// What an old caller sent too late is not read, and must not cost it the answers
// to what was: a socket that is closed over unread input throws away what it has
// still to send.
// docs/wire-protocol.md §8
func TestDrainAnswersInSpiteOfUnreadInput(t *testing.T) {
	const size = 1 << 20 // more than sockets hold
	const early, late = 3, 200
	srv, ln := newRuntime(t).NewServer(), listen(t, "")
	entered, release := make(chan struct{}, early), make(chan struct{})
	HandleRaw(srv, "Wait.For", func(context.Context, []byte) ([]byte, error) {
		entered <- struct{}{}
		<-release
		return make([]byte, size), nil
	})
	start(t, srv, ln)
	p := dialRaw(t, ln.Addr().String())
	for seq := range uint64(early) {
		p.send((&rpcxpeer.Message{Seq: seq, Path: "Wait", Method: "For"}).Encode())
		receive(t, entered, "a call")
	}
	drained := make(chan error, 1)
	go func() { drained <- srv.Drain(context.Background()) }()
	for srv.drainStarted() != nil {
	}
	for seq := range uint64(late) {
		p.send((&rpcxpeer.Message{Seq: early + seq, Path: "Not", Method: "There", Payload: make([]byte, 1000)}).Encode())
	}
	close(release)
	answers, tooEarly := 0, 0 // the second: of what was sent too late, and read all the same
	for {
		m, err := rpcxpeer.Read(p)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("after %d answers: %v", answers, err)
			}
			break
		}
		if m.Seq >= early {
			tooEarly++
		} else if answers++; !m.Response || m.Failed || len(m.Payload) != size {
			t.Errorf("answered %d: failed %v, %d bytes", m.Seq, m.Failed, len(m.Payload))
		}
	}
	_ = p.Close()
	if err := receive(t, drained, "the end of the drain"); err != nil {
		t.Error(err)
	}
	if answers != early {
		t.Errorf("%d of %d calls that were read were answered", answers, early)
	}
	t.Logf("%d of %d calls were not read", late-tooEarly, late)
}
