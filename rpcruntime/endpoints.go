// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// EndpointInfo is what a client knows of an endpoint at a moment.
type EndpointInfo struct {
	// ID is the registry's, Address the one preferred, host:port.
	ID, Address string
	// Connected: there is a connection, which takes calls.
	Connected bool
	// Draining: the endpoint asked to be left alone for new calls.
	Draining bool
	// AtWindow: it takes no more calls than are in flight on the connection.
	AtWindow bool
	// InFlight is the number of this client's calls on it.
	InFlight int
	// Load is what it said of its load last; nil if it has not.
	Load *wire.Load
}

// Endpoints returns what the client knows of its endpoints, in the registry's
// order; none while it knows nothing of its service. It is for showing.
func (c *Client) Endpoints() []EndpointInfo {
	var infos []EndpointInfo
	for _, state := range c.endpointStates() {
		info := EndpointInfo{ID: state.ID(), Address: state.Endpoint().Addresses[0], InFlight: state.InFlight()}
		if e, ok := state.Attached().(*endpoint); ok {
			if conn := e.link.Load().standing(false); conn != nil {
				info.Connected, info.Draining, info.AtWindow = true, conn.Draining(), conn.AtWindow()
				if load, ok := conn.PeerLoad(); ok {
					info.Load = &load
				}
			}
		}
		infos = append(infos, info)
	}
	return infos
}

// endpointStates returns the state of each endpoint of the snapshot, once each,
// in its order.
func (c *Client) endpointStates() []*balancer.EndpointState {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.state.Load()
	if st.snapshot == nil {
		return nil
	}
	states := make([]*balancer.EndpointState, 0, len(st.snapshot.Endpoints))
	seen := make(map[*balancer.EndpointState]struct{}, len(st.snapshot.Endpoints))
	for i := range st.snapshot.Endpoints {
		state, ok := c.table.Lookup(st.snapshot.Endpoints[i].ID)
		if _, twice := seen[state]; !ok || twice {
			continue
		}
		seen[state] = struct{}{}
		states = append(states, state)
	}
	return states
}

// maxRepicks is how many other endpoints are looked for when the first choice is
// at its window. When all are, waiting at the first is as good as anywhere.
const maxRepicks = 2

// pick chooses the endpoint of the next attempt, and counts a call in flight on
// it; nil if there is none. An endpoint whose connection is at its window is
// passed over for one that is not.
func (o *outgoingCall) pick(now time.Duration) *balancer.EndpointState {
	info := balancer.PickInfo{Tried: o.tried, AllowTried: o.allowTried, Now: now, Rand: rand.Uint64()}
	first, ok := o.policy.picker.Pick(info)
	if !ok {
		return nil
	}
	large := o.large()
	if !atWindow(first, large) {
		return first
	}
	info.Tried, info.AllowTried = append(slices.Clone(o.tried), first), false
	for range maxRepicks {
		info.Rand = rand.Uint64()
		other, ok := o.policy.picker.Pick(info)
		if !ok {
			break
		}
		if !atWindow(other, large) {
			first.Done(balancer.Abandoned)
			return other
		}
		other.Done(balancer.Abandoned)
		info.Tried = append(info.Tried, other)
	}
	return first
}

// atWindow reports whether the connection that the call would take is at its window.
func atWindow(state *balancer.EndpointState, large bool) bool {
	e, ok := state.Attached().(*endpoint)
	if !ok {
		return false
	}
	c := e.link.Load().standing(large)
	return c != nil && c.AtWindow()
}
