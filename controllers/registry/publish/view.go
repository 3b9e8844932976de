// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"time"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

// ServiceState is all that the status of an RPCService is made of.
type ServiceState struct {
	// Object is as last seen; it is shared and not to be changed.
	Object *v1alpha1.RPCService
	Report *compile.ServiceReport
	Counts compile.Counts
	// LossSince is since when most endpoints are suspect; zero when they are not.
	LossSince time.Time
}

// Watch has f called for each object of a kind whose status may have to be
// written, on the loop's goroutine: f must not block, and may call Service,
// CallPolicy and LimitPolicy. statusOnly says that the object's status has
// changed and nothing else has: most often it was just written. Objects that are
// there already are told of, too.
func (c *Controller) Watch(kind string, f func(k compile.Key, statusOnly bool)) {
	c.mu.Lock()
	c.watchers[kind] = append(c.watchers[kind], f)
	c.mu.Unlock()
	c.Announce()
}

// Service gives what is known of an RPCService; false if it is not there, or
// nothing is published yet.
func (c *Controller) Service(k compile.Key) (ServiceState, bool) {
	if !c.Ready() {
		return ServiceState{}, false
	}
	c.world.mu.RLock()
	object := c.world.objects.RPCService(k)
	c.world.mu.RUnlock()
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.services[k]
	if object == nil || s == nil || s.report == nil {
		return ServiceState{}, false
	}
	return ServiceState{Object: object, Report: s.report, Counts: s.counts, LossSince: s.lossSince}, true
}

// CallPolicy gives a policy as last seen, which is shared, and the status that
// it should have, without times.
func (c *Controller) CallPolicy(k compile.Key) (*v1alpha1.RPCCallPolicy, v1alpha1.PolicyStatus, bool) {
	if !c.Ready() {
		return nil, v1alpha1.PolicyStatus{}, false
	}
	c.world.mu.RLock()
	p := c.world.objects.CallPolicy(k)
	c.world.mu.RUnlock()
	if p == nil {
		return nil, v1alpha1.PolicyStatus{}, false
	}
	return p, compile.CallPolicyStatus(p, c.report), true
}

// LimitPolicy gives a policy as last seen, which is shared, and the status that
// it should have, without times.
func (c *Controller) LimitPolicy(k compile.Key) (*v1alpha1.RPCLimitPolicy, v1alpha1.PolicyStatus, bool) {
	if !c.Ready() {
		return nil, v1alpha1.PolicyStatus{}, false
	}
	c.world.mu.RLock()
	p := c.world.objects.LimitPolicy(k)
	c.world.mu.RUnlock()
	if p == nil {
		return nil, v1alpha1.PolicyStatus{}, false
	}
	return p, compile.LimitPolicyStatus(p, c.report), true
}

func (c *Controller) report(t compile.Target) (compile.TargetReport, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r, found := c.targets[t]
	return r, found
}

// Self gives what is known of a subscriber.
func (c *Controller) Self(who compile.Identity) compile.Self {
	c.world.mu.RLock()
	defer c.world.mu.RUnlock()
	return c.world.objects.Self(who)
}
