// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/retry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// Client calls one service. Make it with Runtime.NewClient and keep it. All
// methods are safe for concurrent use.
//
// The path of a call loads state, which is immutable, and takes no lock of the
// client's. The control path, under mu, replaces it.
type Client struct {
	rt      *Runtime
	service string
	to      string // what connections announce to call; empty with fixed endpoints
	opts    clientOptions
	invoke  ClientInvoker
	broken  *status.Error // why no call can succeed; nil for a good client

	state  atomic.Pointer[clientState]
	sizes  replySizes
	pushes *pushReceiver // nil if the client takes none; never changes

	mu      sync.Mutex // guards what follows, and writes to state
	table   balancer.Table
	budgets map[budgetKey]*retry.Budget
	// changed is closed and replaced whenever state is.
	changed chan struct{}
	closed  bool
	stop    func()         // ends the watch; nil with fixed endpoints
	running sync.WaitGroup // calls made by Go, and the goroutine of pushes
	// ended is closed by the close that came first, when it is done.
	ended chan struct{}
}

// clientState is what the calls of a moment go by. It is immutable.
type clientState struct {
	// snapshot is nil while there is none.
	snapshot *policy.Snapshot
	// invalid is why there is none, if that is known: the service is unknown or gone.
	invalid *status.Error
	// gone is set while snapshot is that of a service which is gone.
	gone *goneState
	// ambient is the trouble with the registry, for error messages; may be nil.
	ambient error
	methods map[string]*methodPolicy
	other   *methodPolicy
}

// methodPolicy is a method's effective policy, made ready for use.
type methodPolicy struct {
	timeout    time.Duration
	rules      retry.Rules
	idempotent bool
	refused    bool // the service refuses what it does not declare
	picker     balancer.Picker
	budget     *retry.Budget
}

// budgetKey tells budgets apart: methods with the same parameters share one, for
// it is the caller's whole load on the service that they bound.
type budgetKey struct {
	budget  policy.Budget
	minimum policy.Rate
}

// NewClient returns a client of the service namespace/name, or of name in one's
// own namespace. It does not wait for the registry: calls do. A client that
// cannot work, for want of a registry, say, says so in every call.
func (rt *Runtime) NewClient(service string, opts ...ClientOption) *Client {
	c := &Client{rt: rt, service: service, changed: make(chan struct{}), budgets: map[budgetKey]*retry.Budget{}, ended: make(chan struct{})}
	for _, o := range opts {
		o.applyClient(&c.opts)
	}
	c.invoke = clientChain(c.perform, c.opts.interceptors)
	c.state.Store(&clientState{})
	err := c.openPushes()
	if !rt.addClient(c) {
		c.broken = c.closedError()
		c.close() // of pushes
		return c
	}
	if err == nil {
		err = c.open()
	}
	if err != nil {
		c.broken = status.New(status.FailedPrecondition, err.Error()).WithFate(status.FateUnexecuted)
	}
	return c
}

// open connects the client with where its endpoints come from.
func (c *Client) open() error {
	if t := c.opts.compress; !c.rt.codecs.HasCompressor(t) {
		return fmt.Errorf("client of %s: WithCompression: %w: give the runtime one by WithCodecs", c.service, &codec.UnknownCompressError{Type: t})
	}
	if len(c.opts.endpoints) > 0 {
		return c.openFixed()
	}
	if c.opts.fields != (policy.CallFields{}) || len(c.opts.methods.Declared) > 0 {
		return fmt.Errorf("client of %s: FixedPolicy needs Endpoints: with a registry, write an RPCCallPolicy", c.service)
	}
	c.service = qualify(c.service, c.rt.opts.env.namespace)
	c.to = c.service
	if err := policy.ValidateServiceName(c.service); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if c.rt.registry == nil {
		return fmt.Errorf("client of %s: no registry: set FAIRLEAD_REGISTRY, mount /var/run/fairlead as `fairlead inject` does, or give the client Endpoints", c.service)
	}
	stop := c.watch()
	c.mu.Lock()
	c.stop = stop
	closed := c.closed
	c.mu.Unlock()
	if closed { // by the runtime, meanwhile
		stop()
	}
	return nil
}

func (c *Client) openFixed() error {
	s := &policy.Snapshot{Service: c.service, Role: policy.Caller, Methods: c.opts.methods}
	for _, a := range c.opts.endpoints {
		e := policy.Endpoint{ID: a, Addresses: []string{a}}
		if err := e.Validate(); err != nil {
			return fmt.Errorf("client of %s: endpoint: %w", c.service, err)
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	layer := policy.Layer{Step: policy.StepOwnerService, Fields: c.opts.fields}
	if err := layer.Validate(); err != nil {
		return fmt.Errorf("client of %s: FixedPolicy: %w", c.service, err)
	}
	s.Layers = []policy.Layer{layer}
	if bad := s.Effective("").Fallbacks; len(bad) > 0 { // code can be corrected, unlike what a registry says
		return fmt.Errorf("client of %s: FixedPolicy: %s %s: %s", c.service, bad[0].Field, bad[0].Value, bad[0].Reason)
	}
	c.apply(s)
	return nil
}

// apply makes a snapshot the one that calls go by.
func (c *Client) apply(s *policy.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	ch := c.updateLocked(s)
	for _, state := range ch.Added {
		e := &endpoint{client: c, state: state}
		state.Attach(e)
		c.rt.join(e, c.to, state.Endpoint())
	}
	for _, state := range ch.Moved {
		if e, ok := state.Attached().(*endpoint); ok {
			c.rt.leave(e)
			state.Disconnected()
			c.rt.join(e, c.to, state.Endpoint())
		}
	}
	c.setLocked(c.buildLocked(s))
	for _, state := range ch.Removed { // calls on them go on; new ones cannot find them
		if e, ok := state.Attached().(*endpoint); ok {
			c.rt.leave(e)
		}
	}
}

// updateLocked brings the table in line with a snapshot: with its few changes,
// where they are known, and else with all of it.
func (c *Client) updateLocked(s *policy.Snapshot) balancer.Changes {
	if changed, removed, known := s.EndpointsSince(c.state.Load().snapshot); known {
		return c.table.Apply(changed, removed)
	}
	return c.table.Replace(s.Endpoints)
}

// buildLocked makes the state for a snapshot over the table as it is.
func (c *Client) buildLocked(s *policy.Snapshot) *clientState {
	candidates := c.table.Usable()
	pickers := map[policy.LoadBalancer]balancer.Picker{}
	budgets := map[budgetKey]*retry.Budget{}
	ready := func(method string) *methodPolicy {
		eff := s.Effective(method)
		if pickers[eff.LoadBalancer] == nil {
			pickers[eff.LoadBalancer] = balancer.Build(eff.LoadBalancer, candidates, rand.Uint64())
		}
		key := budgetKey{eff.Budget, eff.MinRetryRate}
		if budgets[key] == nil {
			if budgets[key] = c.budgets[key]; budgets[key] == nil {
				budgets[key] = retry.NewBudget(eff.Budget, eff.MinRetryRate)
			}
		}
		return &methodPolicy{
			timeout:    eff.Timeout,
			rules:      retry.Rules{FailMode: eff.FailMode, Attempts: int(eff.Attempts), PerTryTimeout: eff.PerTryTimeout, Backoff: eff.Backoff},
			idempotent: s.MethodIdempotent(method),
			refused:    s.Refused(method),
			picker:     pickers[eff.LoadBalancer],
			budget:     budgets[key],
		}
	}
	st := &clientState{snapshot: s, methods: map[string]*methodPolicy{}, other: ready("")}
	st.other.idempotent, st.other.refused = false, s.Methods.RefuseUndeclared
	for _, m := range s.LayeredMethods() {
		st.methods[m] = ready(m)
	}
	for _, m := range s.Methods.Declared {
		if st.methods[m.Name] == nil {
			st.methods[m.Name] = ready(m.Name)
		}
	}
	c.budgets = budgets
	return st
}

func (c *Client) setLocked(st *clientState) {
	c.state.Store(st)
	close(c.changed)
	c.changed = make(chan struct{})
}

// evidenceLost rebuilds the pickers when a connection was lost while suspects
// are about: whether they are used depends on their connections.
func (c *Client) evidenceLost() {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if c.closed || st.snapshot == nil {
		return
	}
	for i := range st.snapshot.Endpoints {
		if st.snapshot.Endpoints[i].State == policy.Suspect {
			next := c.buildLocked(st.snapshot)
			next.gone = st.gone
			c.setLocked(next)
			return
		}
	}
}

// current returns the state to go by, waiting for the first one, and with wait
// for the service to appear.
func (c *Client) current(ctx context.Context, deadline time.Time, wait bool) (*clientState, error) {
	for {
		st := c.state.Load()
		if st.snapshot != nil {
			return st, nil
		}
		if st.invalid != nil && !wait {
			return nil, st.invalid
		}
		c.mu.Lock()
		changed, closed := c.changed, c.closed
		again := c.state.Load() != st
		c.mu.Unlock()
		if closed {
			return nil, c.closedError()
		}
		if again {
			continue
		}
		timer := time.NewTimer(time.Until(deadline))
		select {
		case <-changed:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return nil, c.neverCame(st, ctx.Err())
		case <-timer.C:
			return nil, c.neverCame(st, context.DeadlineExceeded)
		}
	}
}

// ErrClientClosed is the error of calls by a client that was closed.
var ErrClientClosed = errors.New("rpcruntime: the client has been closed")

func (c *Client) closedError() *status.Error {
	why := ErrClientClosed
	if c.rt.isClosed() {
		why = ErrRuntimeClosed
	}
	return status.New(status.Unavailable, why.Error()).WithCause(why).WithFate(status.FateUnexecuted)
}

func (st *clientState) method(name string) *methodPolicy {
	if mp := st.methods[name]; mp != nil {
		return mp
	}
	return st.other
}

// spawn runs f on a goroutine that close waits for; false when it is closed.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running.Go(f)
	return true
}

// Close ends the client: calls under way go on over the connections that there
// are, new ones fail, and connections that no other client uses are ended once
// their calls have. It waits for calls made by Go. A runtime closes its clients
// itself.
func (c *Client) Close() {
	c.close()
	c.rt.removeClient(c)
}

func (c *Client) close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		<-c.ended
		return
	}
	defer close(c.ended)
	c.closed = true
	stop := c.stop
	ch := c.table.Replace(nil)
	c.setLocked(&clientState{invalid: c.closedError()})
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
	if c.pushes != nil {
		c.pushes.close()
	}
	c.running.Wait()
	for _, state := range ch.Removed {
		if e, ok := state.Attached().(*endpoint); ok {
			c.rt.leave(e)
		}
	}
}

// Service returns the name of the service.
func (c *Client) Service() string { return c.service }

// Snapshot returns what the client knows of its service, or nil while it knows
// nothing. It is shared and must not be changed.
func (c *Client) Snapshot() *policy.Snapshot { return c.state.Load().snapshot }
