// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

const (
	testService  = "shop/arith"
	testRegistry = "registry.test:7443"
)

// world is a client whose registry never answers, so that a test can say in its
// place what becomes of the service; its endpoints are pipes.
type world struct {
	t  *testing.T
	rt *Runtime
	c  *Client
	w  *clientWatcher

	mu    sync.Mutex
	up    map[string]*pipeListener
	dials map[string]int
}

// pipeListener accepts the server's ends of pipes.
type pipeListener struct {
	accept chan net.Conn
	closed chan struct{}
	once   sync.Once
	mu     sync.Mutex
	conns  []net.Conn
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// inWorld runs f in virtual time.
func inWorld(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, up: map[string]*pipeListener{}, dials: map[string]int{}}
		rt, err := New(WithRegistry(testRegistry), WithDialer(w.dial))
		if err != nil {
			t.Fatal(err)
		}
		w.rt, w.c = rt, rt.NewClient(testService)
		w.w = (*clientWatcher)(w.c)
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := rt.Close(ctx); err != nil {
				t.Error(err)
			}
		}()
		f(w)
	})
}

// pass lets time pass in the bubble.
func (w *world) pass(d time.Duration) { time.Sleep(d) }

func (w *world) dial(ctx context.Context, address string) (net.Conn, error) {
	if address == testRegistry {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	w.mu.Lock()
	w.dials[address]++
	l := w.up[address]
	w.mu.Unlock()
	if l == nil {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	select {
	case l.accept <- theirs:
		l.mu.Lock()
		l.conns = append(l.conns, theirs)
		l.mu.Unlock()
		return ours, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	}
}

// serve starts an instance; down kills it.
func (w *world) serve(address string) {
	l := &pipeListener{accept: make(chan net.Conn), closed: make(chan struct{})}
	srv := w.rt.NewServer()
	HandleRaw(srv, "Raw.Echo", echoRaw)
	start(w.t, srv, l)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up[address] = l
}

func (w *world) down(address string) {
	w.mu.Lock()
	l := w.up[address]
	delete(w.up, address)
	w.mu.Unlock()
	l.mu.Lock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.mu.Unlock()
	synctest.Wait()
}

func (w *world) dialled(address string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials[address]
}

// call makes one call within d, and says how long it took.
func (w *world) call(d time.Duration, opts ...CallOption) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	began := time.Now()
	_, err := Call[[]byte](ctx, w.c, "Raw.Echo", []byte("x"), opts...)
	return time.Since(began), err
}

func (w *world) mustCall() {
	w.t.Helper()
	if _, err := w.call(time.Second); err != nil {
		w.t.Fatal(err)
	}
}

// mustFailAtOnce wants NotFound in no time, and returns the error.
func (w *world) mustFailAtOnce() *status.Error {
	w.t.Helper()
	took, err := w.call(time.Second)
	e := wantFate(w.t, err, status.NotFound, status.FateUnexecuted)
	if took != 0 {
		w.t.Errorf("failed after %s, want at once: %v", took, err)
	}
	return e
}

func (w *world) changed(endpoints ...policy.Endpoint) {
	w.w.Changed(snapshotOf(10*time.Second, endpoints...), registry.Live)
}

func snapshotOf(timeout time.Duration, endpoints ...policy.Endpoint) *policy.Snapshot {
	return &policy.Snapshot{
		Service: testService, Role: policy.Caller, Endpoints: endpoints,
		Layers: []policy.Layer{{Step: policy.StepOwnerService, Fields: policy.CallFields{Timeout: &timeout, Attempts: ptr(int32(1))}}},
	}
}

func at(address string) policy.Endpoint {
	return policy.Endpoint{ID: address, Addresses: []string{address}, State: policy.Ready}
}

func suspect(e policy.Endpoint) policy.Endpoint {
	e.State = policy.Suspect
	return e
}

func unknownService() error {
	err := &registry.NotFoundError{Service: testService, Registry: testRegistry}
	return status.New(status.NotFound, err.Error()).WithCause(err)
}

func goneService(forgotten bool) error {
	err := &registry.GoneError{Service: testService, Registry: testRegistry, Since: time.Now(), Forgotten: forgotten}
	return status.New(status.NotFound, err.Error()).WithCause(err)
}

const one, two = "10.0.0.1:80", "10.0.0.2:80"

func TestFirstSnapshotIsWaitedFor(t *testing.T) {
	tests := []struct {
		name string
		// comes is when the snapshot does; 0 for never.
		deadline, comes, took time.Duration
		code                  status.Code
	}{
		{name: "it comes", deadline: 5 * time.Second, comes: 2 * time.Second, took: 2 * time.Second, code: status.OK},
		{name: "it comes too late", deadline: 3 * time.Second, comes: 4 * time.Second, took: 3 * time.Second, code: status.DeadlineExceeded},
		{name: "never, with a deadline beyond the default", deadline: time.Minute, took: time.Minute, code: status.DeadlineExceeded},
		{name: "never, without a deadline", took: waitForPolicy, code: status.DeadlineExceeded},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.serve(one)
				if tt.comes > 0 {
					timer := time.AfterFunc(tt.comes, func() { w.changed(at(one)) })
					defer timer.Stop()
				}
				ctx, cancel := context.WithCancel(context.Background())
				if tt.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.deadline)
				}
				defer cancel()
				began := time.Now()
				_, err := Call[[]byte](ctx, w.c, "Raw.Echo", nil)
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %s, want %s", took, tt.took)
				}
				if tt.code == status.OK {
					if err != nil {
						t.Error(err)
					}
					return
				}
				e := wantFate(t, err, tt.code, status.FateUnexecuted)
				for _, what := range []string{testService, testRegistry, "nothing was heard"} {
					if !strings.Contains(e.Message(), what) {
						t.Errorf("the error does not say %q: %v", what, e)
					}
				}
			})
		})
	}
}

func TestCancelledWaitForTheFirstSnapshot(t *testing.T) {
	inWorld(t, func(w *world) {
		ctx, cancel := context.WithCancel(context.Background())
		defer time.AfterFunc(time.Second, cancel).Stop()
		_, err := Call[[]byte](ctx, w.c, "Raw.Echo", nil)
		wantFate(t, err, status.Canceled, status.FateUnexecuted)
	})
}

func TestUnknownServiceFailsAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		pending := Go[[]byte](context.Background(), w.c, "Raw.Echo", nil) // waits since nothing is known
		synctest.Wait()
		w.w.Invalid(unknownService())
		_, err := pending.Result()
		wantFate(t, err, status.NotFound, status.FateUnexecuted)
		var missing *registry.NotFoundError
		if e := w.mustFailAtOnce(); !errors.As(e, &missing) {
			t.Errorf("lost its cause: %v", e)
		}
		w.w.Ambient(errors.New("the registry went away"))
		w.mustFailAtOnce()
		w.serve(one)
		w.changed(at(one)) // it stayed subscribed
		w.mustCall()
	})
}

func TestWaitForService(t *testing.T) {
	inWorld(t, func(w *world) {
		w.w.Invalid(unknownService())
		took, err := w.call(3*time.Second, WaitForService())
		wantFate(t, err, status.NotFound, status.FateUnexecuted)
		if took != 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave up after %s: %v", took, err)
		}
		w.serve(one)
		time.AfterFunc(2*time.Second, func() { w.w.Invalid(unknownService()) }) // news, but not the one
		time.AfterFunc(4*time.Second, func() { w.changed(at(one)) })
		if took, err := w.call(10*time.Second, WaitForService()); err != nil || took != 4*time.Second {
			t.Errorf("took %s: %v", took, err)
		}
	})
}

func TestWhatKeepsASnapshot(t *testing.T) {
	tests := []struct {
		name  string
		tell  func(w *clientWatcher)
		keeps bool
	}{
		{"invalid", func(w *clientWatcher) { w.Invalid(status.New(status.Internal, "does not decode")) }, true},
		{"not found", func(w *clientWatcher) { w.Invalid(unknownService()) }, true},
		{"ambient", func(w *clientWatcher) { w.Ambient(errors.New("the registry is away")) }, true},
		{"gone", func(w *clientWatcher) { w.Invalid(goneService(false)) }, true},
		{"gone and forgotten", func(w *clientWatcher) { w.Invalid(goneService(true)) }, false},
		{"gone, then forgotten", func(w *clientWatcher) { w.Invalid(goneService(false)); w.Invalid(goneService(true)) }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				w.serve(one)
				w.changed(at(one))
				w.mustCall()
				tt.tell(w.w)
				if kept := w.c.Snapshot() != nil; kept != tt.keeps {
					t.Fatalf("kept: %t, want %t", kept, tt.keeps)
				}
				if tt.keeps {
					w.mustCall()
				} else {
					w.mustFailAtOnce()
				}
			})
		})
	}
}

// A reader that takes the state again and again never finds the policy of one
// snapshot beside the endpoints of another.
func TestPolicyAndEndpointsMoveTogether(t *testing.T) {
	inWorld(t, func(w *world) {
		timeouts := map[string]time.Duration{one: time.Second, two: 2 * time.Second}
		w.w.Changed(snapshotOf(timeouts[one], at(one)), registry.Live)
		stop := make(chan struct{})
		var reading sync.WaitGroup
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mp := w.c.state.Load().method("Raw.Echo")
				state, ok := mp.picker.Pick(balancer.PickInfo{})
				if !ok {
					t.Error("nothing to pick")
					return
				}
				state.Done(balancer.Abandoned)
				if timeouts[state.ID()] != mp.timeout {
					t.Errorf("endpoint %s with a timeout of %s", state.ID(), mp.timeout)
					return
				}
			}
		})
		for i := range 2000 {
			id := []string{two, one}[i%2]
			w.w.Changed(snapshotOf(timeouts[id], at(id)), registry.Live)
		}
		close(stop)
		reading.Wait()
	})
}
