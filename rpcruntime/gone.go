// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// goneState is a service that the registry does not have any more and whose
// last snapshot is still in use. It is immutable.
type goneState struct {
	err registry.GoneError
	at  time.Duration // when the client learnt of it
}

// forgotten is the error of calls once the snapshot is dropped.
func (g *goneState) forgotten() *status.Error {
	err := g.err
	err.Forgotten = true
	return status.New(status.NotFound, err.Error()).WithCause(&err).WithFate(status.FateUnexecuted)
}

// goneLocked keeps the snapshot, and remembers that its service is gone: the
// registry's clock, or the failure of its endpoints, ends its use.
func (c *Client) goneLocked(old *clientState, err *registry.GoneError) {
	if old.gone != nil {
		return // what counts is when it was first said
	}
	next := *old
	next.gone = &goneState{err: *err, at: c.rt.now()}
	c.setLocked(&next)
}

// forgetLocked drops what is known of the service.
func (c *Client) forgetLocked(why *status.Error) {
	for _, state := range c.table.Replace(nil).Removed {
		if e, ok := state.Attached().(*endpoint); ok {
			c.rt.leave(e)
		}
	}
	c.setLocked(&clientState{invalid: why})
}

// endpointFailed forgets a service that is gone once its endpoints have failed:
// there is nobody left for whom its last snapshot would be of use.
func (c *Client) endpointFailed() {
	if c.state.Load().gone == nil || !c.forgetIfFailed() {
		return
	}
	c.rt.log.Info("the service is gone and none of its endpoints can be reached; forgetting it", "service", c.service)
	c.rt.registryEvent(c.service, policy.Caller, "invalid", "")
}

func (c *Client) forgetIfFailed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if c.closed || st.gone == nil || !c.allFailedLocked(st) {
		return false
	}
	c.forgetLocked(st.gone.forgotten())
	return true
}

// allFailedLocked reports whether each endpoint that a call could be sent to has
// no connection, and could not be dialled since the service was gone. Which they
// are is for the picker to say: it knows the suspects and the wrong ones.
func (c *Client) allFailedLocked(st *clientState) bool {
	info := balancer.PickInfo{Now: c.rt.now(), Rand: rand.Uint64()}
	pick := func() *balancer.EndpointState {
		state, ok := st.other.picker.Pick(info)
		if !ok {
			return nil
		}
		state.Done(balancer.Abandoned) // no attempt is made
		return state
	}
	// It prefers endpoints that did not fail, so that mostly one look is enough.
	first := pick()
	if first == nil || !failedSince(first, st.gone.at) {
		return first == nil
	}
	for i := range st.snapshot.Endpoints {
		state, ok := c.table.Lookup(st.snapshot.Endpoints[i].ID)
		if ok && failedSince(state, st.gone.at) {
			info.Tried = append(info.Tried, state)
		}
	}
	return pick() == nil
}

// failedSince reports whether the endpoint has no connection, and the last dial,
// at or after that time, failed.
func failedSince(state *balancer.EndpointState, at time.Duration) bool {
	e, ok := state.Attached().(*endpoint)
	if !ok {
		return false
	}
	l := e.link.Load()
	if conn := l.conn.Load(); conn != nil && !conn.Shut() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed != nil && l.failedAt >= at
}

// asGone returns the *registry.GoneError that err is, or nil.
func asGone(err error) *registry.GoneError {
	var gone *registry.GoneError
	if errors.As(err, &gone) {
		return gone
	}
	return nil
}
