// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
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
	// delay is the smoothed time between reading a request and its handler's
	// start, in nanoseconds.
	delay atomic.Int64
	// shared bounds the bytes of requests on all connections.
	shared *transport.Shared
	// loose are the calls without a connection of ours.
	loose looseCalls
	// values is the context whose values handlers see.
	values context.Context // handlers inherit values, not cancellation

	// accepting are the loops of Serve; lateDrains drain what they accepted in a drain.
	accepting, lateDrains sync.WaitGroup
	// sniffing are the newcomers' goroutines, protocols those of Protocol.Serve.
	sniffing, protocols sync.WaitGroup
	// foreignListeners are those of opts.protocols, made by the first Serve.
	foreignListeners []*foreignListener
	// broken gets the first error of a Protocol.Serve.
	broken chan error // of capacity 1

	// callee makes our connections; made by the first Serve.
	callee *transport.Callee

	mu        sync.Mutex // guards what follows, and writes to handlers and services
	listeners map[net.Listener]struct{}
	// conns are our connections, with what was agreed on those with TLS.
	conns        map[*transport.ServerConn]*tls.ConnectionState
	newcomers    map[*newcomer]struct{}
	foreignConns map[*foreignConn]struct{}
	watches      []func()
	port         string // of the first listener
	state        serverState
	// drainedBy is when a drain that runs must be over.
	drainedBy time.Time
	grace     time.Duration
	// endDrain ends what a drain waits for; nil before.
	endDrain context.CancelFunc
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
		conns: map[*transport.ServerConn]*tls.ConnectionState{}, newcomers: map[*newcomer]struct{}{}, foreignConns: map[*foreignConn]struct{}{},
		values: context.Background(), broken: make(chan error, 1), closing: make(chan struct{}), done: make(chan struct{}),
	}
	for _, o := range opts {
		o.applyServer(&s.opts)
	}
	s.shared = transport.NewShared(s.opts.maxRequestBytes)
	s.opts.transport.Shared, s.opts.transport.Load, s.opts.transport.DrainTimeout = s.shared, s.load, s.opts.drainTimeout
	s.handlers.Store(&handlerTable{byName: map[methodName]*handler{}, paths: map[string]struct{}{}})
	s.services.Store(&[]*served{})
	if !rt.addServer(s) { // too late: Serve says so
		s.state = serverDraining
		close(s.done)
	}
	return s
}

func (s *Server) register(h handler, fn ServerInvoker) {
	if err := s.tryRegister(registration{h, fn}); err != nil {
		panic(err) //nolint:forbidigo // a mistake in the program, found at its start
	}
}

// registration is a handler, with the function that goes behind the interceptors.
type registration struct {
	handler
	fn ServerInvoker
}

// tryRegister adds all handlers, or none.
func (s *Server) tryRegister(all ...registration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.handlers.Load()
	table := &handlerTable{byName: maps.Clone(old.byName), paths: maps.Clone(old.paths)}
	for _, r := range all {
		path, method, err := splitMethod(r.name)
		if err != nil {
			return fmt.Errorf("rpcruntime: %w", err)
		}
		if reservedPath(path) {
			return fmt.Errorf("rpcruntime: method %q: paths that start with %q belong to the protocol", r.name, wire.ControlPath)
		}
		key := methodName{path, method}
		if _, taken := table.byName[key]; taken {
			return fmt.Errorf("rpcruntime: method %q is registered already", r.name)
		}
		h := r.handler
		h.pace = new(pace)
		h.invoke = serverChain(r.fn, s.opts.interceptors)
		table.byName[key] = &h
		table.paths[path] = struct{}{}
	}
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
// was read has been answered, an error if the drain had to be cut, or if the
// options or a Protocol do not work. Handlers see ctx's values, but not its end.
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
	var broken error
	select {
	case <-ctx.Done():
	case <-accepted: // the listener was closed
	case broken = <-s.broken:
	}
	return errors.Join(broken, s.drain(context.WithoutCancel(ctx), s.opts.drainTimeout))
}

func (s *Server) start(ctx context.Context, ln net.Listener) error {
	if err := s.opts.checkTLS(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == serverDraining {
		return ErrServerClosed
	}
	if s.state == serverIdle {
		s.state = serverServing
		s.values = context.WithoutCancel(ctx)
		s.callee = transport.NewCallee(s.opts.transport, (*serverHandler)(s))
		s.loose.start()
		s.startProtocols(ln.Addr())
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

// serveConn gives a new connection its place, if there is one.
func (s *Server) serveConn(nc net.Conn) {
	s.mu.Lock()
	switch {
	case s.countConnsLocked() >= s.opts.maxConns:
		s.mu.Unlock()
		s.rt.log.Info("connection refused: too many", "peer", nc.RemoteAddr().String(), "limit", s.opts.maxConns)
		s.rt.observer.Refused(RefusedEvent{Reason: reasonConnections})
		_ = nc.Close() // refused anyway
	case s.wasCut:
		s.mu.Unlock()
		_ = nc.Close() // as all others
	case s.opts.tls != nil || len(s.opts.protocols) > 0:
		n := &newcomer{srv: s, nc: nc, until: time.Now().Add(sniffTimeout)}
		s.newcomers[n] = struct{}{}
		s.sniffing.Add(1)
		s.mu.Unlock()
		go n.sniff()
	default:
		s.takeConnLocked(nc, nil, nil)
	}
}

// countConnsLocked counts the connections of all kinds.
func (s *Server) countConnsLocked() int { return len(s.conns) + len(s.newcomers) + len(s.foreignConns) }

// takeConnLocked serves a connection that speaks our protocol, of which read was
// read. It unlocks.
func (s *Server) takeConnLocked(nc net.Conn, state *tls.ConnectionState, read []byte) {
	// The lock is held over Serve, so that Closed, which removes the
	// connection, finds it there, and so does attach.
	c := s.callee.Serve(nc, read)
	s.conns[c] = state
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
	s.mu.Lock()
	state := s.conns[c]
	s.mu.Unlock()
	ic := &inboundConn{srv: s, conn: c, peer: Peer{Addr: c.RemoteAddr().String(), TLS: state}}
	c.Attachment = ic
	return ic
}

func (s *Server) detach(c *transport.ServerConn, _ error) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

// ServerConnOf returns the connection that a handler's call came on; PushConnOf
// is for pushes that this process encodes. ok is false for calls that came by
// another way.
func ServerConnOf(ctx context.Context) (_ *transport.ServerConn, ok bool) {
	if c, ok := handling(ctx); ok && c.conn.conn != nil {
		return c.conn.conn, true
	}
	return nil, false
}
