// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/internal/compile"
)

// ServiceState is all that the status of an RPCService is made of.
type ServiceState struct {
	// Object is as last seen; it is shared and not to be changed.
	Object *v1alpha1.RPCService
	Report *compile.ServiceReport
	Counts compile.Counts
	// Clients and Honoured are what is to be said of clients.
	Clients  *v1alpha1.ClientCount
	Honoured *metav1.Condition
	// LossSince is since when most endpoints are suspect; zero when they are not.
	LossSince time.Time
}

// policyState is a policy, of the one kind or the other, and the status that it
// should have, without times.
type policyState struct {
	call   *v1alpha1.RPCCallPolicy
	limit  *v1alpha1.RPCLimitPolicy
	status v1alpha1.PolicyStatus
}

// said gives what is to be said of clients, where was is what is said now. What
// cannot be told yet, or by this replica, stays as it is; a condition that was
// never there says so. REQUIRES: mu is held.
func (c *Controller) said(
	count compile.Count, generation int64, was *v1alpha1.ClientCount, conditions []metav1.Condition,
) (*v1alpha1.ClientCount, *metav1.Condition) {
	if !c.census.Counted {
		count.Clients = was
	}
	if count.Honoured == nil && meta.FindStatusCondition(conditions, v1alpha1.ConditionHonoured) == nil {
		count.Honoured = &metav1.Condition{
			Type: v1alpha1.ConditionHonoured, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonReconciling,
			Message: "clients have not been counted yet", ObservedGeneration: generation,
		}
	}
	return count.Clients, count.Honoured
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
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.services[k]
	if s == nil || s.report == nil || s.object == nil {
		return ServiceState{}, false
	}
	state := ServiceState{Object: s.object, Report: s.report, Counts: s.counts, LossSince: s.lossSince}
	count := c.census.CountService(s.object)
	state.Clients, state.Honoured = c.said(count, s.object.Generation, s.object.Status.Clients, s.object.Status.Conditions)
	return state, true
}

// CallPolicy gives a policy as last seen, which is shared, and the status that
// it should have, without times.
func (c *Controller) CallPolicy(k compile.Key) (*v1alpha1.RPCCallPolicy, v1alpha1.PolicyStatus, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p, found := c.policies[name{compile.KindRPCCallPolicy, k}]
	if !found || !c.Ready() {
		return nil, v1alpha1.PolicyStatus{}, false
	}
	return p.call, c.withCount(&p, c.census.CountCallPolicy(p.call, c.book.Reports), &p.call.Status), true
}

// LimitPolicy gives a policy as last seen, which is shared, and the status that
// it should have, without times.
func (c *Controller) LimitPolicy(k compile.Key) (*v1alpha1.RPCLimitPolicy, v1alpha1.PolicyStatus, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	p, found := c.policies[name{compile.KindRPCLimitPolicy, k}]
	if !found || !c.Ready() {
		return nil, v1alpha1.PolicyStatus{}, false
	}
	return p.limit, c.withCount(&p, c.census.CountLimitPolicy(p.limit, c.book.Reports), &p.limit.Status), true
}

// withCount gives a policy's status with what is to be said of clients.
// REQUIRES: mu is held.
func (c *Controller) withCount(p *policyState, count compile.Count, was *v1alpha1.PolicyStatus) v1alpha1.PolicyStatus {
	status := p.status
	var honoured *metav1.Condition
	status.Clients, honoured = c.said(count, status.ObservedGeneration, was.Clients, was.Conditions)
	if honoured != nil {
		status.Conditions = append(slices.Clone(status.Conditions), *honoured)
	}
	return status
}

// Self gives what is known of a subscriber.
func (c *Controller) Self(who compile.Identity) compile.Self {
	c.world.mu.RLock()
	defer c.world.mu.RUnlock()
	return c.world.objects.Self(who)
}

// Addresses gives where a Service's endpoints are, in whatever state they are.
func (c *Controller) Addresses(service compile.Key, port string) []string {
	c.world.mu.RLock()
	defer c.world.mu.RUnlock()
	return c.world.objects.Addresses(service, port)
}
