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
	"time"

	"github.com/fairlead/fairlead/rpcruntime/transport"
)

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
	began := time.Now() // before drainedBy, or a drain that was cut might seem to have been in time
	s.drainedBy = began.Add(timeout)
	until, endDrain := context.WithDeadline(context.WithoutCancel(ctx), s.drainedBy)
	defer endDrain()
	s.endDrain = endDrain
	conns := slices.Collect(maps.Keys(s.conns))
	for n := range s.newcomers {
		n.limitLocked()
	}
	s.mu.Unlock()
	s.rt.log.Info("draining", "connections", len(conns), "inFlight", s.inFlight.Load(), "timeout", timeout.String())

	stop := context.AfterFunc(ctx, s.cut)
	defer stop()
	s.leave()
	var all sync.WaitGroup
	all.Go(func() { s.drainConns(conns, timeout) })
	all.Go(func() { s.shutProtocols(until) })
	all.Wait()
	s.closeListeners()
	s.accepting.Wait()
	s.sniffing.Wait()
	s.drainConns(s.remaining(), time.Until(s.drainedBy)) // those that came meanwhile
	s.lateDrains.Wait()
	s.loose.drain(until)
	s.endProtocols()
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
	for n := range s.newcomers {
		_ = n.nc.Close() // its goroutine finds out
	}
	if s.endDrain != nil {
		s.endDrain()
	}
	s.mu.Unlock()
	s.loose.cut()
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(c.Close)
	}
	all.Wait()
}

// startProtocols makes the protocols serve, at the first Serve of the server.
func (s *Server) startProtocols(addr net.Addr) {
	for _, p := range s.opts.protocols {
		ln := newForeignListener(addr)
		s.foreignListeners = append(s.foreignListeners, ln)
		s.protocols.Go(func() {
			err := p.Serve(ln, s)
			_ = ln.Close() // it cannot fail
			if err != nil && !errors.Is(err, net.ErrClosed) {
				s.protocolEnded(fmt.Errorf("rpcruntime: serving another protocol on the port: %w", err))
			}
		})
	}
}

// protocolEnded makes Serve fail with err, unless the server ends anyway.
func (s *Server) protocolEnded(err error) {
	s.mu.Lock()
	serving := s.state == serverServing
	s.mu.Unlock()
	if !serving {
		return
	}
	select {
	case s.broken <- err:
	default: // one is enough
	}
}

// shutProtocols lets the other protocols finish what they have begun.
func (s *Server) shutProtocols(ctx context.Context) {
	var all sync.WaitGroup
	for i, p := range s.opts.protocols {
		if i >= len(s.foreignListeners) {
			break // never served
		}
		all.Go(func() {
			if err := p.Shutdown(ctx); err != nil {
				s.rt.log.Info("another protocol on the port did not finish in time", "error", err.Error())
			}
			_ = s.foreignListeners[i].Close() // it cannot fail
		})
	}
	all.Wait()
}

// endProtocols closes what the other protocols have left, and waits for them. A
// Serve that does not return although its listener is closed is left behind.
func (s *Server) endProtocols() {
	s.mu.Lock()
	left := slices.Collect(maps.Keys(s.foreignConns))
	s.mu.Unlock()
	for _, c := range left {
		_ = c.Close() // its protocol had its time
	}
	if !waitFor(&s.protocols, handlerMargin) {
		s.rt.log.Info("another protocol on the port goes on although its listener has been closed")
	}
}

// waitFor waits for all of wg, at most d, and reports whether they ended.
func waitFor(wg *sync.WaitGroup, d time.Duration) bool {
	ended := make(chan struct{})
	go func() { // as long as the slowest
		wg.Wait()
		close(ended)
	}()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ended:
		return true
	case <-t.C:
		return false
	}
}
