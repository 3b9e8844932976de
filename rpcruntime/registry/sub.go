// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// watcher is one Watch call.
type watcher struct {
	Watcher
	stopped atomic.Bool
}

// held is what the client has of a service. It is immutable.
type held struct {
	epoch    string
	asOf     policy.AsOf
	digest   policy.Digest
	parts    []policy.Part // with the bytes as they came, for the cache and for deltas
	snapshot *policy.Snapshot
	origin   Origin
}

func newHeld(former *held, key ServiceRole, epoch string, asOf policy.AsOf, parts []policy.Part, origin Origin) (*held, error) {
	var before *policy.Snapshot
	if former != nil {
		before = former.snapshot
	}
	snapshot, err := policy.DecodeAfter(before, key.Service, key.Role, parts)
	if err != nil {
		return nil, err
	}
	snapshot.Epoch, snapshot.AsOf = epoch, asOf
	return &held{epoch: epoch, asOf: asOf, digest: snapshot.Digest, parts: parts, snapshot: snapshot, origin: origin}, nil
}

// sub is a service in one role, watched by at least one watcher.
type sub struct {
	key      ServiceRole
	watchers []*watcher
	// held is nil while nothing is known.
	held *held
	// delivered: the watchers have held.
	delivered bool
	// invalid is the last outcome if that was Invalid.
	invalid error
	// outcomeBy is when the watchers must have heard something; zero once they
	// have.
	outcomeBy time.Time
	// goneSince and forgetAt are set while the service is gone.
	goneSince, forgetAt time.Time
	// again: ask in full, at againAt, since something did not fit; askedAgain
	// is when that was done last.
	again               bool
	againAt, askedAgain time.Time
	// from is the connection that held came on, at revision; nil if it did not.
	from     *session
	revision uint64
	// told is the digest that the registry has been told on this connection, and
	// rejected why the newest change was not taken.
	told        policy.Digest
	rejected    string
	rejectedFor policy.Digest
	// mustAck: something changed since the last ack.
	mustAck bool
}

func validate(key ServiceRole) error {
	if key.Role != policy.Caller && key.Role != policy.Server {
		return fmt.Errorf("role %.80q is neither %s nor %s", key.Role, policy.Caller, policy.Server)
	}
	return policy.ValidateServiceName(key.Service)
}

func (s *sub) each(f func(w Watcher)) {
	s.outcomeBy = time.Time{}
	for _, w := range append([]*watcher(nil), s.watchers...) { // f may stop one
		if !w.stopped.Load() {
			f(w)
		}
	}
}

// deliver gives the watchers what is held, unless they have it.
func (s *sub) deliver() {
	if s.held == nil || s.delivered && s.invalid == nil {
		return
	}
	s.delivered, s.invalid = true, nil
	h := s.held
	s.each(func(w Watcher) { w.Changed(h.snapshot, h.origin) })
}

func (s *sub) fail(err *status.Error) {
	s.invalid = err
	s.each(func(w Watcher) { w.Invalid(err) })
}

// firstOutcome makes sure that watchers do not wait for a registry that is away:
// they get what the cache holds, and what the trouble is.
func (c *Client) firstOutcome(s *sub) {
	c.startFromCache(s)
	err := c.trouble()
	s.each(func(w Watcher) { w.Ambient(err) })
}

func (c *Client) startFromCache(s *sub) {
	if s.held == nil || s.delivered || s.invalid != nil {
		return
	}
	c.cfg.Log.Info("starting from the cache: the registry has not answered", "service", s.key.Service, "role", s.key.Role,
		"digest", s.held.digest.Short(), "trouble", c.trouble().Error())
	s.deliver()
}

// ambient tells everyone of trouble with the registry.
func (c *Client) ambient(err error) {
	for _, s := range c.subs {
		c.startFromCache(s)
		s.each(func(w Watcher) { w.Ambient(err) })
	}
}

// change handles a change: the only way in which what is held moves on.
func (c *Client) change(from *session, f *ChangeFrame) error {
	s := c.subs[ServiceRole{f.Service, f.Role}]
	if s == nil {
		return nil // not watched any more
	}
	if s.held != nil && s.held.epoch == f.Epoch && f.AsOf.Behind(s.held.asOf) {
		c.behind(s, from)
		c.askAgain(s)
		return nil
	}
	var have []policy.Part
	if s.held != nil {
		have = s.held.parts
	}
	parts, err := from.staging.assemble(f, have)
	if errors.Is(err, errMissing) {
		c.askAgain(s)
		return nil
	}
	var critical *policy.CriticalFieldError
	if errors.As(err, &critical) {
		c.reject(s, f.Digest, err)
		return nil
	}
	if err != nil {
		broken := &FrameError{Kind: KindChange, Service: f.Service, Err: err}
		s.fail(invalid(status.Internal, broken))
		return broken
	}
	for _, p := range f.Parts {
		from.staging.drop(partKey{f.Service, p.Name})
	}
	next, err := newHeld(s.held, s.key, f.Epoch, f.AsOf, parts, Live)
	if err != nil {
		c.reject(s, f.Digest, err)
		return nil
	}
	s.from, s.revision = from, f.Revision
	c.apply(s, next)
	return nil
}

// apply moves on to what the registry says now.
func (c *Client) apply(s *sub, next *held) {
	same := s.held != nil && s.held.digest == next.digest && s.held.origin == Live
	if !same || s.held.epoch != next.epoch {
		c.cache.save(s.key, next)
	}
	s.held = next
	s.delivered = s.delivered && same
	s.goneSince, s.forgetAt = time.Time{}, time.Time{}
	s.again, s.againAt = false, time.Time{}
	s.rejected, s.rejectedFor = "", policy.Digest{}
	if s.told != next.digest {
		s.mustAck = true
		c.ackSoon()
	}
	s.deliver()
}

// reject keeps what is held, says so, and tells the registry at once.
func (c *Client) reject(s *sub, digest policy.Digest, err error) {
	c.cfg.Log.Info("a change was not taken: what was known before stays in use", "service", s.key.Service, "role", s.key.Role,
		"digest", digest.Short(), "reason", err.Error())
	s.rejected, s.rejectedFor = err.Error(), digest
	s.mustAck = true
	c.ackAt = time.Now()
	code := status.Internal
	var critical *policy.CriticalFieldError
	if errors.As(err, &critical) {
		code = status.FailedPrecondition
	}
	s.fail(invalid(code, err))
}

// behind tells that a replica has not seen what is held.
func (c *Client) behind(s *sub, from *session) {
	c.startFromCache(s)
	err := &BehindError{Service: s.key.Service, Registry: from.address}
	s.each(func(w Watcher) { w.Ambient(err) })
}

// askAgain subscribes in full before long, as something did not fit together.
func (c *Client) askAgain(s *sub) {
	s.again = true
	s.againAt = time.Now()
	if earliest := s.askedAgain.Add(againInterval); s.againAt.Before(earliest) {
		s.againAt = earliest
	}
}

// missing handles a service that the registry does not have, or no more. A
// process that used it goes on with what it holds for a while; one that did not
// believes the registry and not its cache.
func (c *Client) missing(s *sub, registry string, near []string) {
	now := time.Now()
	if !s.delivered {
		s.held = nil
		s.fail(invalid(status.NotFound, &NotFoundError{Service: s.key.Service, Registry: registry, AsOf: now, Near: near}))
		return
	}
	if s.goneSince.IsZero() {
		s.goneSince, s.forgetAt = now, now.Add(forgetAfter)
	}
	s.fail(invalid(status.NotFound, &GoneError{Service: s.key.Service, Registry: registry, Since: s.goneSince}))
}

// gone handles a service that was seen deleted.
func (c *Client) gone(from *session, f *GoneFrame) {
	s := c.subs[ServiceRole{f.Service, f.Role}]
	if s == nil {
		return // not watched any more
	}
	if s.held != nil && s.held.epoch == f.Epoch && f.AsOf.Behind(s.held.asOf) {
		c.behind(s, from)
		return
	}
	c.cache.remove(s.key) // a process that starts from now on must not find it
	c.missing(s, from.address, nil)
}

// forget drops what is held of a service that has been gone for long.
func (c *Client) forget(s *sub) {
	c.cache.remove(s.key)
	err := &GoneError{Service: s.key.Service, Registry: c.Status().Address, Since: s.goneSince, Forgotten: true}
	s.held, s.delivered = nil, false
	s.goneSince, s.forgetAt = time.Time{}, time.Time{}
	s.fail(invalid(status.NotFound, err))
}

// refused handles a subscription that gives nothing for now, unless a change
// came since: pushes and answers may overtake each other.
func (c *Client) refused(s *sub, from *session, at uint64, r *Refusal) {
	if s.from == from && s.revision > at {
		return
	}
	if r.Reason == ReasonNotFound {
		c.missing(s, from.address, r.Near)
		return
	}
	message := r.Message
	if message == "" {
		message = fmt.Sprintf("registry %s refused the subscription to %q: %s", from.address, r.Service, r.Reason)
	}
	code := status.InvalidArgument
	if r.Reason == ReasonForbidden {
		code = status.PermissionDenied
	}
	s.fail(status.New(code, message))
}
