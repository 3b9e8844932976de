// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// Registration is an instance that joins a service by itself, in a standalone
// control plane.
type Registration struct {
	// Service is namespace/name, Address host:port.
	Service, Address string
	// Zone is empty when not known.
	Zone string
	// Metadata may be nil.
	Metadata map[string]string
	// OnError, if not nil, is called on the client's goroutine when the state of
	// the registration changes: with nil when it is granted, else with what keeps
	// it from being. It must not block.
	OnError func(error)
}

// registration is a Registration that is kept alive. It belongs to the loop.
type registration struct {
	Registration
	// at is when to register or renew next; zero while there is no connection.
	at time.Time
	// calling: a call is on its way.
	calling bool
	// granted and problem are the last outcome.
	granted  bool
	problem  string
	failures int
	// left is closed when the lease has been left; nil until leave is called.
	left chan struct{}
}

// Register takes a lease for an instance and renews it until leave is called,
// over reconnects. leave ends the lease and returns when the registry knows, or
// ctx ends, or there is no connection, in which case the lease runs out.
func (c *Client) Register(r Registration) (leave func(ctx context.Context) error) {
	r.Metadata = maps.Clone(r.Metadata)
	reg := &registration{Registration: r}
	left := make(chan struct{})
	c.post(func() {
		c.regs = append(c.regs, reg)
		if c.current != nil && c.current.live {
			reg.at = time.Now()
		}
	})
	return func(ctx context.Context) error {
		c.post(func() {
			if reg.left == nil {
				reg.left = left
				reg.at = time.Now()
			}
		})
		select {
		case <-left:
			return nil
		case <-c.closing:
			return nil
		case <-ctx.Done():
			return status.Convert(ctx.Err())
		}
	}
}

// renewAll registers everything on a new connection.
func (c *Client) renewAll(s *session) {
	if s != c.current {
		return
	}
	for _, reg := range c.regs {
		if !s.renewed {
			reg.at = time.Now()
		}
	}
	s.renewed = true
}

// tickRegistrations registers, renews and leaves what is due.
func (c *Client) tickRegistrations(due func(time.Time) bool) {
	for _, reg := range slices.Clone(c.regs) {
		if reg.calling || !due(reg.at) {
			continue
		}
		reg.at = time.Time{}
		connected := c.current != nil && c.current.live
		switch {
		case connected:
			c.register(reg, c.current)
		case reg.left != nil:
			c.removeRegistration(reg) // the lease runs out by itself
		}
	}
}

func (c *Client) register(reg *registration, s *session) {
	req := &RegisterRequest{
		Service: reg.Service, Address: reg.Address, PodUID: c.cfg.Identity.PodUID, Zone: reg.Zone, Leave: reg.left != nil,
	}
	for _, k := range slices.Sorted(maps.Keys(reg.Metadata)) {
		req.Metadata = append(req.Metadata, KeyValue{Key: k, Value: reg.Metadata[k]})
	}
	reg.calling = true
	c.spawn(func() {
		reply := new(RegisterReply)
		err := c.call(s, MethodRegister, req, reply)
		c.post(func() { c.registered(reg, req.Leave, reply, err) })
	})
}

// registered handles the answer to a Register.
func (c *Client) registered(reg *registration, leaving bool, reply *RegisterReply, err error) {
	reg.calling = false
	now := time.Now()
	switch {
	case leaving:
		c.removeRegistration(reg)
		return
	case reg.left != nil:
		reg.at = now // asked to leave in the meantime
		return
	case err != nil:
		reg.failures++
		window := min(retryMax, retryBase<<min(reg.failures, 10))
		reg.at = now.Add(window/2 + time.Duration(c.cfg.Rand()%uint64(window/2)))
	default:
		reg.failures = 0
		lease := time.Duration(reply.LeaseMillis) * time.Millisecond
		reg.at = now.Add(max(lease/3, time.Second))
	}
	c.tellRegistration(reg, err)
}

func (c *Client) tellRegistration(reg *registration, err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if reg.granted == (err == nil) && reg.problem == problem {
		return
	}
	reg.granted, reg.problem = err == nil, problem
	if err != nil {
		c.cfg.Log.Info("not registered", "service", reg.Service, "address", reg.Address, "reason", problem)
	}
	if reg.OnError != nil {
		reg.OnError(err)
	}
}

func (c *Client) removeRegistration(reg *registration) {
	c.regs = slices.DeleteFunc(c.regs, func(other *registration) bool { return other == reg })
	close(reg.left)
	c.resubscribe()
}
