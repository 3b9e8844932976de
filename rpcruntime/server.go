// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// Server takes calls. Make it with Runtime.NewServer, register methods, then
// Serve. All methods are safe for concurrent use.
type Server struct {
	rt   *Runtime
	opts serverOptions

	// handlers is replaced as a whole, so that lookups take no lock.
	handlers atomic.Pointer[handlerTable]
	// services are those whose identity and limits are ours.
	services atomic.Pointer[[]*served]
	// running are the calls whose handlers have not returned, inFlight those
	// that are not answered.
	// Invariant: running <= inFlight, but for an instant.
	running, inFlight atomic.Int64
	workers           workers
	// values is the context whose values handlers see.
	values context.Context // handlers inherit values, not cancellation

	// accepting are the loops of Serve; lateDrains drain what they accepted in a drain.
	accepting, lateDrains sync.WaitGroup

	mu        sync.Mutex // guards what follows, and writes to handlers and services
	listeners map[net.Listener]struct{}
	conns     map[*transport.ServerConn]struct{}
	watches   []func()
	port      string // of the first listener
	state     serverState
	// drainedBy is when a drain that runs must be over.
	drainedBy time.Time
	grace     time.Duration
	// wasCut: a drain's context ended. What still comes is closed at once.
	wasCut bool
	// unfinished counts the calls that were in flight then.
	unfinished int64
	// closing is closed when a drain closes the listeners.
	closing chan struct{}
	// done is closed when a drain is over; drainErr is set before.
	done     chan struct{}
	drainErr error
}

// serverState only ever grows.
type serverState uint8

const (
	serverIdle serverState = iota
	serverServing
	serverDraining
)

type handlerTable struct {
	byName map[methodName]*handler
	paths  map[string]struct{}
}

type methodName struct{ path, method string }

// serverHandler is the Server as the transport sees it.
type serverHandler Server

func (s *serverHandler) server() *Server { return (*Server)(s) }

// ErrServerClosed is returned by Serve on a server that was drained before.
var ErrServerClosed = errors.New("rpcruntime: the server has been drained; make a new one")

// NewServer returns a server of the runtime, which owns it: Runtime.Close drains
// it. It opens nothing before Serve.
func (rt *Runtime) NewServer(opts ...ServerOption) *Server {
	s := &Server{
		rt: rt, opts: defaultServerOptions(rt), listeners: map[net.Listener]struct{}{},
		conns: map[*transport.ServerConn]struct{}{}, values: context.Background(),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	for _, o := range opts {
		o.applyServer(&s.opts)
	}
	s.handlers.Store(&handlerTable{byName: map[methodName]*handler{}, paths: map[string]struct{}{}})
	s.services.Store(&[]*served{})
	if !rt.addServer(s) { // too late: Serve says so
		s.state = serverDraining
		close(s.done)
	}
	return s
}

func (s *Server) register(h handler, fn ServerInvoker) {
	if err := s.tryRegister(h, fn); err != nil {
		panic(err) //nolint:forbidigo // a mistake in the program, found at its start
	}
}

// tryRegister adds the handler h, with fn behind the interceptors.
func (s *Server) tryRegister(h handler, fn ServerInvoker) error {
	path, method, err := splitMethod(h.name)
	if err != nil {
		return fmt.Errorf("rpcruntime: %w", err)
	}
	if reservedPath(path) {
		return fmt.Errorf("rpcruntime: method %q: paths that start with %q belong to the protocol", h.name, wire.ControlPath)
	}
	h.invoke = serverChain(fn, s.opts.interceptors)
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.handlers.Load()
	key := methodName{path, method}
	if _, taken := old.byName[key]; taken {
		return fmt.Errorf("rpcruntime: method %q is registered already", h.name)
	}
	table := &handlerTable{byName: maps.Clone(old.byName), paths: maps.Clone(old.paths)}
	table.byName[key] = &h
	table.paths[path] = struct{}{}
	s.handlers.Store(table)
	return nil
}

func (s *Server) lookup(path, method []byte) *handler {
	return s.handlers.Load().byName[methodName{string(path), string(method)}]
}

func (s *Server) hasPath(path []byte) bool {
	_, ok := s.handlers.Load().paths[string(path)]
	return ok
}

// ListenAndServe listens on addr (host:port; an empty host means all addresses,
// port 0 any free one) and serves until ctx ends.
func (s *Server) ListenAndServe(ctx context.Context, addr string) error {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("rpcruntime: %w", err)
	}
	return s.Serve(ctx, ln)
}

// Serve accepts connections from ln, which it closes, until ctx ends. The end of
// ctx starts the drain; Serve returns when that is over: nil if every call that
// was read has been answered, an error if the drain had to be cut. Handlers see
// ctx's values, but not its end.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	if err := s.start(ctx, ln); err != nil {
		_ = ln.Close() // the reason for not serving matters more
		return err
	}
	accepted := make(chan struct{})
	go func() { // the drain waits for it
		defer s.accepting.Done()
		defer close(accepted)
		s.accept(ln)
	}()
	select {
	case <-ctx.Done():
	case <-accepted: // the listener was closed
	}
	return s.drain(context.WithoutCancel(ctx), s.opts.drainTimeout)
}

func (s *Server) start(ctx context.Context, ln net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == serverDraining {
		return ErrServerClosed
	}
	if s.state == serverIdle {
		s.state = serverServing
		s.values = context.WithoutCancel(ctx)
		s.identifyLocked(ln)
	}
	s.listeners[ln] = struct{}{}
	s.accepting.Add(1)
	s.rt.log.Info("serving", "address", ln.Addr().String(), "services", s.opts.services)
	return nil
}

// accept takes connections until the listener is closed.
func (s *Server) accept(ln net.Listener) {
	var pause time.Duration
	for {
		nc, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// Out of file descriptors, mostly: wait for some to come free.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.rt.log.Error(err, "accepting a connection failed", "retryIn", pause.String())
			if !s.pause(pause) {
				return
			}
			continue
		}
		pause = 0
		s.serveConn(nc)
	}
}

// pause waits for d, and reports false if the listeners were closed meanwhile.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.closing:
		return false
	}
}

func (s *Server) serveConn(nc net.Conn) {
	s.mu.Lock()
	full := len(s.conns) >= s.opts.maxConns
	s.mu.Unlock()
	if full {
		s.rt.log.Info("connection refused: too many", "peer", nc.RemoteAddr().String(), "limit", s.opts.maxConns)
		s.rt.observer.Refused(RefusedEvent{Reason: "connections"})
		_ = nc.Close() // refused anyway
		return
	}
	// The lock is held over NewServer, so that Closed, which removes the
	// connection, finds it there.
	s.mu.Lock()
	c := transport.NewServer(nc, s.opts.transport, (*serverHandler)(s), nil)
	s.conns[c] = struct{}{}
	draining, grace, by, wasCut := s.state == serverDraining, s.grace, s.drainedBy, s.wasCut
	s.mu.Unlock()
	switch {
	case wasCut:
		c.Close()
	case draining:
		left := time.Until(by)
		s.lateDrains.Go(func() { c.Drain(left-s.opts.drainTimeout+grace, left) })
	}
}

// attach gives a connection its place in the server. Called by its reader.
func (s *Server) attach(c *transport.ServerConn) *inboundConn {
	ic := &inboundConn{conn: c, peer: Peer{Addr: c.RemoteAddr().String()}}
	c.Attachment = ic
	return ic
}

func (s *Server) detach(c *transport.ServerConn, _ error) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// drainMargin is what the end of a drain needs: bye, half-close, discard.
const drainMargin = 2 * time.Second

// Drain stops taking new work, finishes what was taken, tells callers to go
// elsewhere, and returns when all is done or ctx or DrainTimeout has cut it: then
// connections and the contexts of handlers end, and Drain returns an error at
// most a second later, even if a handler does not heed that. A server that is
// draining can still call.
func (s *Server) Drain(ctx context.Context) error { return s.drain(ctx, s.opts.drainTimeout) }

func (s *Server) drain(ctx context.Context, timeout time.Duration) error {
	s.mu.Lock()
	if s.state == serverDraining {
		s.mu.Unlock()
		defer context.AfterFunc(ctx, s.cut)()
		<-s.done
		return s.drainErr
	}
	s.state = serverDraining
	s.grace = max(timeout-drainMargin, timeout/2)
	s.drainedBy = time.Now().Add(timeout)
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	s.rt.log.Info("draining", "connections", len(conns), "inFlight", s.inFlight.Load(), "timeout", timeout.String())

	began := time.Now()
	stop := context.AfterFunc(ctx, s.cut)
	defer stop()
	s.leave()
	s.drainConns(conns, timeout)
	s.closeListeners()
	s.accepting.Wait()
	s.drainConns(s.remaining(), time.Until(s.drainedBy)) // those that came meanwhile
	s.lateDrains.Wait()
	s.drainErr = s.outcome(time.Since(began), timeout)
	if !s.workers.close(handlerMargin) {
		s.rt.log.Info("handlers go on although their contexts have ended", "calls", s.inFlight.Load())
	}
	s.rt.removeServer(s)
	close(s.done)
	return s.drainErr
}

// outcome says whether a drain that took so long had to be cut.
func (s *Server) outcome(took, timeout time.Duration) error {
	s.mu.Lock()
	unfinished := s.unfinished
	s.mu.Unlock()
	if took >= timeout { // only what is cut takes as long
		unfinished = max(unfinished, s.inFlight.Load(), 1)
	}
	if unfinished == 0 {
		return nil
	}
	return fmt.Errorf("rpcruntime: drain cut after %s with %s unfinished: raise DrainTimeout, or have handlers heed the end of their contexts",
		took.Round(time.Millisecond), plural(int(unfinished), "call"))
}

// handlerMargin is how long a drain that was cut waits for handlers to see that
// their contexts have ended.
const handlerMargin = time.Second

func (s *Server) drainConns(conns []*transport.ServerConn, timeout time.Duration) {
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(func() { c.Drain(s.grace, timeout) })
	}
	all.Wait()
}

func (s *Server) remaining() []*transport.ServerConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

// leave ends what ties the server to the registry: it is not to be found by
// newcomers any more.
func (s *Server) leave() {
	s.mu.Lock()
	watches := s.watches
	s.watches = nil
	for _, v := range *s.services.Load() {
		if v.unwatch != nil {
			watches = append(watches, v.unwatch)
		}
	}
	s.mu.Unlock()
	for _, stop := range watches {
		stop()
	}
}

func (s *Server) closeListeners() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.closing)
	for ln := range s.listeners {
		if err := ln.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.rt.log.Error(err, "closing a listener failed", "address", ln.Addr().String())
		}
	}
	clear(s.listeners)
}

// cut ends every connection at once; a drain runs and waits for their ends.
func (s *Server) cut() {
	s.mu.Lock()
	s.wasCut = true
	s.unfinished = max(s.unfinished, s.inFlight.Load())
	conns := slices.Collect(maps.Keys(s.conns))
	s.mu.Unlock()
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(c.Close)
	}
	all.Wait()
}

// ServerConnOf returns the connection that a handler's call came on, for pushes
// to that caller.
func ServerConnOf(ctx context.Context) (*transport.ServerConn, bool) {
	if c, ok := handling(ctx); ok {
		return c.conn.conn, true
	}
	return nil, false
}
