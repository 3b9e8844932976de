// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"fmt"
	"slices"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/transport"
)

// subscriberNamespace gives the namespace by which it is judged what a
// subscriber may see, and which overlay it gets: the proven one where proofs are
// asked for, since Subscribe puts what is proven in the place of what is
// declared.
func subscriberNamespace(who *registry.Identity) string { return who.Namespace }

// admits says whether subscribers of a namespace get the service.
func (e *entry) admits(role policy.Role, namespace string) bool {
	consumers := e.consumers.Load()
	if role != policy.Caller || consumers == nil {
		return true
	}
	_, found := slices.BinarySearch(*consumers, namespace)
	return found
}

// setConsumers notes who may subscribe, and says whether that has changed.
// REQUIRES: Store.mu is held.
func (e *entry) setConsumers(consumers []string) bool {
	old := e.consumers.Load()
	switch {
	case consumers == nil:
		e.consumers.Store(nil)
		return old != nil
	case old != nil && slices.Equal(*old, consumers):
		return false
	}
	e.consumers.Store(&consumers)
	return true
}

// reconsider looks again whether a subscription gets the service. One that does
// not any more is sent away: it subscribes anew, and is told why it is refused.
func (s *subscriber) reconsider(sub *subscription) {
	s.mu.Lock()
	before := sub.admitted
	sub.admitted = sub.entry.admits(sub.role, subscriberNamespace(&s.identity))
	lost := before && !sub.admitted && s.stands(sub)
	if lost {
		s.stop(sub)
	}
	s.mu.Unlock()
	switch {
	case lost:
		s.leave(fmt.Sprintf("%s does not let its namespace subscribe any more", sub.entry.service))
	case !before:
		s.dirty(sub)
	}
}

// leaves sends a connection away, and says why.
func (s *Service) leaves(conn *transport.ServerConn, why string) {
	s.cfg.Log.Info("a connection is drained", "reason", why, "subscriber", conn.RemoteAddr().String())
	s.sendAway(conn)
}

// forbidden refuses subscriptions that are not admitted. They stand: a change
// follows if that changes.
func forbidden(keys []registry.ServiceRole, namespace string) (refused []registry.Refusal) {
	if namespace == "" {
		namespace = "of which nothing is known"
	}
	for _, key := range keys {
		refused = append(refused, registry.Refusal{
			Service: key.Service, Role: key.Role, Reason: registry.ReasonForbidden,
			Message: fmt.Sprintf("service %q does not let callers in namespace %s subscribe: see spec.consumers of its RPCService", key.Service, namespace),
		})
	}
	return refused
}
