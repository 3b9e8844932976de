// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// StoreConfig sets up a Store.
type StoreConfig struct {
	// Epoch says which history the revisions in AsOf belong to. Required.
	Epoch string
	// Seen says up to which revisions of each kind everything has been published
	// by now: it may move on only after Publish or Remove returned for what it
	// covers. It must not block or call the Store. Without it, a subscriber that
	// holds a service which this store never had is never told that it is gone.
	Seen func() policy.AsOf
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
}

// Change is all of a service.
type Change struct {
	// Service is namespace/name.
	Service string
	// Parts are endpoints, owner and limits, and any number of overlays: all of
	// them each time, unchanged ones included.
	Parts []policy.Part
	// AsOf says what the parts were made of.
	AsOf policy.AsOf
	// Consumers are the namespaces whose callers may subscribe, sorted; nil for
	// all. It bites at once, however changes of the parts are merged.
	Consumers []string
}

// Store holds the newest state of every service.
type Store struct {
	cfg   StoreConfig
	ready atomic.Bool

	mu sync.Mutex // guards what follows
	// revision is the last one given out.
	revision uint64
	entries  map[string]*entry
	// waiting are the entries that hold a change back.
	waiting map[*entry]struct{}
	// behind are the subscriptions that hold what this replica has not seen.
	behind map[*subscription]struct{}
	// recheckAt is when to look at behind again.
	recheckAt time.Time
	closed    bool
	// services serve this store.
	services []*Service

	// kick has room for one: waiting or behind has something new.
	kick chan struct{}
	// closing is closed by Close, looped by the loop when it returns.
	closing, looped chan struct{}
}

// entry is one service: known, or subscribed to, or both.
type entry struct {
	service string
	// state is nil while the service was never published. Stored under Store.mu.
	state atomic.Pointer[state]
	// held: a change is held back, so state is not all that was published.
	held atomic.Bool
	// consumers are the namespaces whose callers get the service, sorted; nil for
	// all. Stored under Store.mu.
	consumers atomic.Pointer[[]string]

	// Guarded by Store.mu.

	subs    map[*subscription]struct{}
	pending *Change
	due     time.Time // of pending
	window  window
}

// NewStore makes an empty store. It must be closed.
func NewStore(cfg StoreConfig) *Store {
	s := &Store{
		cfg: cfg, entries: make(map[string]*entry), waiting: make(map[*entry]struct{}),
		behind: make(map[*subscription]struct{}), kick: make(chan struct{}, 1),
		closing: make(chan struct{}), looped: make(chan struct{}),
	}
	go s.loop()
	return s
}

// SetReady says that everything has been published once: from now on it is
// served.
func (s *Store) SetReady() { s.ready.Store(true) }

// Ready reports whether SetReady was called.
func (s *Store) Ready() bool { return s.ready.Load() }

// Close ends the store's goroutine and waits for it. What is held back stays so.
func (s *Store) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	<-s.looped
}

// Publish takes what a service is from now on. Parts that have not changed cost
// subscribers nothing.
func (s *Store) Publish(c Change) error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("publish %.200q: %w", c.Service, err)
	}
	s.enlist(&c)
	now := time.Now()
	s.mu.Lock()
	e := s.entryLocked(c.Service)
	var judged []*subscription
	if e.setConsumers(c.Consumers) {
		judged = subsOf(e)
	}
	old := e.state.Load()
	due := e.window.due(now)
	if old == nil || old.removed || takesAway(old, c.Parts) {
		due = now
	}
	e.pending = &c
	var subs []*subscription
	if due.After(now) {
		if !e.held.Swap(true) {
			e.due = due
			s.waiting[e] = struct{}{}
			s.kickLocked()
		}
	} else {
		subs = s.releaseLocked(e, now, e.held.Load())
	}
	s.mu.Unlock()
	for _, sub := range judged {
		sub.owner.reconsider(sub)
	}
	wake(subs)
	return nil
}

// enlist tells the instances that a change adds what they are, before callers
// learn of them: an instance refuses calls for a service that is not its own.
func (s *Store) enlist(c *Change) {
	if !s.Ready() {
		return // there are no subscribers
	}
	s.mu.Lock()
	var before *policy.Part
	if e := s.entries[c.Service]; e != nil {
		if st := e.state.Load(); st != nil && !st.removed {
			before = &st.parts[policy.PartEndpoints].part
		}
	}
	services := slices.Clone(s.services)
	s.mu.Unlock()
	fresh := added(before, c.Parts)
	if len(fresh) == 0 {
		return
	}
	for _, service := range services {
		service.enlist(c.Service, fresh)
	}
}

// attach has a service told of what is published.
func (s *Store) attach(service *Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services = append(s.services, service)
}

func (s *Store) detach(service *Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.services = slices.DeleteFunc(s.services, func(other *Service) bool { return other == service })
}

// takesAway says whether the parts take endpoints away from callers, compared
// with what callers have.
func takesAway(old *state, parts []policy.Part) bool {
	i := slices.IndexFunc(parts, func(p policy.Part) bool { return p.Name == policy.PartEndpoints })
	return urgent(&old.parts[policy.PartEndpoints].part, &parts[i])
}

func (c *Change) validate() error {
	if err := policy.ValidateServiceName(c.Service); err != nil {
		return err
	}
	if err := c.AsOf.Validate(); err != nil {
		return err
	}
	var seen []string
	for i := range c.Parts {
		name := c.Parts[i].Name
		known := name == policy.PartEndpoints || name == policy.PartOwner || name == policy.PartLimits ||
			strings.HasPrefix(name, policy.OverlayPart(""))
		if !known || slices.Contains(seen, name) {
			return fmt.Errorf("part %.200q is not known, or stands twice", name)
		}
		seen = append(seen, name)
	}
	for _, name := range []string{policy.PartEndpoints, policy.PartOwner, policy.PartLimits} {
		if !slices.Contains(seen, name) {
			return fmt.Errorf("part %q is missing", name)
		}
	}
	return nil
}

// Remove takes a service away and tells its subscribers that it is gone. The
// caller has made sure that it was deleted.
func (s *Store) Remove(service string, asOf policy.AsOf) {
	s.mu.Lock()
	e := s.entries[service]
	if e == nil || e.state.Load() == nil || e.state.Load().removed {
		s.mu.Unlock()
		return
	}
	s.unholdLocked(e)
	s.revision++
	e.state.Store(&state{service: service, epoch: s.cfg.Epoch, revision: s.revision, asOf: asOf, removed: true})
	e.window = window{}
	subs := subsOf(e)
	s.tidyLocked(e)
	s.mu.Unlock()
	wake(subs)
}

// Services gives the names of all services that are there, sorted.
func (s *Store) Services() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, e := range s.entries {
		if st := e.state.Load(); st != nil && !st.removed {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// lastRevision is the newest revision given out.
func (s *Store) lastRevision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// Digest gives the digest of what subscribers of a namespace get of a service
// in a role; false when there is no such service.
func (s *Store) Digest(service string, role policy.Role, namespace string) (policy.Digest, bool) {
	names := s.parts(service, role, namespace)
	if names == nil {
		return policy.Digest{}, false
	}
	return policy.ServiceDigest(names), true
}

// parts gives the parts of that, sorted by name; nil when there is no such
// service.
func (s *Store) parts(service string, role policy.Role, namespace string) []policy.PartDigest {
	s.mu.Lock()
	e := s.entries[service]
	s.mu.Unlock()
	if e == nil {
		return nil
	}
	st := e.state.Load()
	if st == nil || st.removed {
		return nil
	}
	return st.names(st.key(role, namespace))
}

func (s *Store) entryLocked(service string) *entry {
	e := s.entries[service]
	if e == nil {
		e = &entry{service: service, subs: make(map[*subscription]struct{})}
		s.entries[service] = e
	}
	return e
}

// tidyLocked forgets an entry that nobody needs.
func (s *Store) tidyLocked(e *entry) {
	st := e.state.Load()
	if len(e.subs) == 0 && e.pending == nil && (st == nil || st.removed) && s.entries[e.service] == e {
		delete(s.entries, e.service)
	}
}

func (s *Store) unholdLocked(e *entry) {
	e.pending = nil
	e.held.Store(false)
	delete(s.waiting, e)
}

// releaseLocked makes the pending change the state, and gives who is to be
// woken.
func (s *Store) releaseLocked(e *entry, now time.Time, merged bool) []*subscription {
	c, old := e.pending, e.state.Load()
	defer s.unholdLocked(e)
	if old.sameParts(c.Parts) {
		// Nothing for subscribers. New ones get to know how new it is.
		e.state.Store(&state{
			service: e.service, epoch: s.cfg.Epoch, revision: old.revision, asOf: old.asOf.Max(c.AsOf), parts: old.parts,
		})
		return nil
	}
	s.revision++
	next := &state{
		service: e.service, epoch: s.cfg.Epoch, revision: s.revision, asOf: c.AsOf,
		parts: make(map[string]*encodedPart, len(c.Parts)),
	}
	for _, p := range c.Parts {
		if old != nil && old.parts[p.Name] != nil && old.parts[p.Name].part.Digest == p.Digest {
			next.parts[p.Name] = old.parts[p.Name]
		} else {
			next.parts[p.Name] = newEncodedPart(e.service, p)
		}
	}
	e.state.Store(next)
	e.window.released(now, merged)
	return subsOf(e)
}

func subsOf(e *entry) []*subscription {
	return slices.Collect(maps.Keys(e.subs))
}

func wake(subs []*subscription) {
	for _, sub := range subs {
		sub.owner.dirty(sub)
	}
}

// asOfNow gives how new a state is by now. It moves on without a change as long
// as nothing else was published: Seen is read first, so what it covers is in
// the state, or held back, or the state is not the newest.
func (s *Store) asOfNow(e *entry, st *state) policy.AsOf {
	var seen policy.AsOf
	if s.cfg.Seen != nil {
		seen = s.cfg.Seen()
	}
	switch {
	case e.held.Load() || e.state.Load() != st:
		if st == nil {
			return nil
		}
		return st.asOf
	case st == nil:
		return seen
	default:
		return st.asOf.Max(seen)
	}
}

func (s *Store) kickLocked() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// recheck is how often it is looked whether this replica has caught up with a
// subscriber that is ahead of it.
const recheck = 250 * time.Millisecond

// loop releases what was held back, and looks after those who were ahead.
func (s *Store) loop() {
	defer close(s.looped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		subs, next := s.releaseDue(time.Now())
		wake(subs)
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(0, time.Until(next)))
		}
		select {
		case <-s.closing:
			return
		case <-s.kick:
		case <-timer.C:
		}
	}
}

// releaseDue releases what is due, and says when something is next; zero for
// never.
func (s *Store) releaseDue(now time.Time) (subs []*subscription, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.waiting {
		switch {
		case !now.Before(e.due):
			subs = append(subs, s.releaseLocked(e, now, true)...)
		case next.IsZero() || e.due.Before(next):
			next = e.due
		}
	}
	if len(s.behind) > 0 {
		if !now.Before(s.recheckAt) {
			s.recheckAt = now.Add(recheck)
			subs = slices.AppendSeq(subs, maps.Keys(s.behind))
		}
		if next.IsZero() || s.recheckAt.Before(next) {
			next = s.recheckAt
		}
	}
	return subs, next
}

// errStoreClosed is a subscription after Close.
var errStoreClosed = errors.New("the registry is closing")

// subscribe enters a subscription.
func (s *Store) subscribe(sub *subscription, service string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errStoreClosed
	}
	sub.entry = s.entryLocked(service)
	sub.entry.subs[sub] = struct{}{}
	return nil
}

func (s *Store) unsubscribe(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(sub.entry.subs, sub)
	delete(s.behind, sub)
	s.tidyLocked(sub.entry)
}

// setBehind notes whether a subscription is ahead of this replica.
func (s *Store) setBehind(sub *subscription, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, stands := sub.entry.subs[sub]; !on || !stands {
		delete(s.behind, sub)
		return
	}
	if len(s.behind) == 0 {
		s.recheckAt = time.Now().Add(recheck)
		s.kickLocked()
	}
	s.behind[sub] = struct{}{}
}
