// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// Client watches a registry for one process. Its methods may be called from any
// goroutine.
//
// One goroutine, the loop, owns everything but the fields under mu, and calls
// the watchers. What may block (dialling, calls, writing files) runs beside it
// and posts what came of it. Locks around the state instead of the loop were
// rejected: the watchers' calls could not be kept in order without holding them.
type Client struct {
	cfg   Config
	cache *cache

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	// closing is closed by Close; looped by the loop when it returns.
	closing, looped chan struct{}
	// beside counts the goroutines that run beside the loop.
	beside sync.WaitGroup

	// ownWheel is nil if the configuration has one; set when the loop starts.
	ownWheel *wheel.Wheel

	// unknown counts the pushes that this version does not know.
	unknown atomic.Int64

	mu sync.Mutex // guards what follows
	// started: the loop runs, or has run.
	started, closed bool
	inbox           []func()
	// inboxBytes counts the bytes of pushes in inbox.
	inboxBytes int
	status     Status
	self       Self
	hasSelf    bool
	serving    []string
	// conns are the connections that are not over.
	conns map[*session]struct{}

	// wake has room for one: inbox has something.
	wake chan struct{}

	// The rest belongs to the loop.

	subs map[ServiceRole]*sub
	regs []*registration
	// current is the connection in use; next is to replace it, as it drains.
	current, next *session
	dialing       bool
	dialAt        time.Time // not before
	failures      int       // in a row
	order         []string  // addresses still to be tried in this round
	// brokeOff is why a connection was broken off last, as logged at brokeOffAt.
	brokeOff   string
	brokeOffAt time.Time

	ackAt, lastAck time.Time // ackAt is zero when nothing is to be acked
	trustAck       bool      // the authorities are to be acked, too
	renewAt        time.Time // zero without a connection, or a source of tokens
}

// New makes a client. It touches no network and no file before it is asked to
// watch or register something. It must be closed.
func New(cfg Config) *Client {
	ctx, cancel := context.WithCancel(context.Background())
	c := &Client{
		cfg: cfg.withDefaults(), ctx: ctx, cancel: cancel,
		closing: make(chan struct{}), looped: make(chan struct{}), wake: make(chan struct{}, 1),
		subs:    make(map[ServiceRole]*sub),
		conns:   make(map[*session]struct{}),
		serving: slices.Clone(cfg.Identity.Addresses),
	}
	c.cache = newCache(c.cfg, &c.beside)
	return c
}

// Watch tells w of a service, namespace/name, until stop is called. The first
// outcome comes within about a second, even if the registry is away. A call of
// w's that has begun may end after stop returned.
func (c *Client) Watch(service string, role policy.Role, w Watcher) (stop func()) {
	entry := &watcher{Watcher: w}
	key := ServiceRole{Service: service, Role: role}
	c.post(func() { c.watch(key, entry) })
	return func() {
		entry.stopped.Store(true)
		c.post(func() { c.unwatch(key, entry) })
	}
}

// Self returns what the registry knows of this process, once it has said so.
func (c *Client) Self() (Self, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.self, c.hasSelf
}

// SetServing tells the registry at which addresses, host:port, this process
// serves. With at least one, the client stays connected even if nothing is
// watched, so that Self comes.
func (c *Client) SetServing(addresses []string) {
	addresses = slices.Clone(addresses)
	c.mu.Lock()
	same := slices.Equal(c.serving, addresses)
	c.serving = addresses
	c.mu.Unlock()
	if !same {
		c.post(c.resubscribe)
	}
}

// Status says how things stand with the registry.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	if s.Connected {
		s.AsOf = time.Now()
	}
	if s.Address == "" && len(c.cfg.Addresses) > 0 {
		s.Address = c.cfg.Addresses[0]
	}
	return s
}

// Close ends everything and waits for it; what is still to be cached is written
// first. It must not be called by a watcher.
func (c *Client) Close() {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	started := c.started
	c.mu.Unlock()
	if first {
		close(c.closing)
		c.cancel()
	}
	if started {
		<-c.looped
	}
	c.mu.Lock()
	conns := slices.Collect(maps.Keys(c.conns))
	c.mu.Unlock()
	for _, s := range conns {
		s.conn.Close()
	}
	c.cache.close()
	c.beside.Wait()
	if first && c.ownWheel != nil {
		c.ownWheel.Close()
	}
}

// post has the loop run f, and starts the loop if need be.
func (c *Client) post(f func()) { c.postBytes(0, f) }

// postBytes is post for what holds n bytes; false when too many wait already.
func (c *Client) postBytes(n int, f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return true
	}
	if n > 0 && c.inboxBytes+n > maxStaged {
		return false
	}
	c.inboxBytes += n
	c.inbox = append(c.inbox, f)
	if !c.started {
		c.started = true
		if c.cfg.Transport.Wheel == nil {
			c.ownWheel = wheel.New()
			c.cfg.Transport.Wheel = c.ownWheel
		}
		go c.loop()
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

// spawn runs f beside the loop. Only the loop calls it.
func (c *Client) spawn(f func()) {
	c.beside.Add(1)
	go func() {
		defer c.beside.Done()
		f()
	}()
}

func (c *Client) loop() {
	defer close(c.looped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := c.tick(time.Now())
		timer.Reset(max(0, time.Until(next)))
		select {
		case <-c.closing:
			return
		case <-timer.C:
		case <-c.wake:
			for _, f := range c.takeInbox() {
				f()
			}
		}
	}
}

func (c *Client) takeInbox() []func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	inbox := c.inbox
	c.inbox, c.inboxBytes = nil, 0
	return inbox
}

// UnknownPushes counts the messages that the registry sent and that this version
// does not know.
func (c *Client) UnknownPushes() int64 { return c.unknown.Load() }

// tick does what is due, and says when to be called next.
func (c *Client) tick(now time.Time) time.Time {
	next := now.Add(time.Hour) // anything that happens comes earlier
	due := func(at time.Time) bool {
		if at.IsZero() || !now.Before(at) {
			return !at.IsZero()
		}
		if at.Before(next) {
			next = at
		}
		return false
	}
	for _, s := range c.subs {
		if due(s.outcomeBy) {
			s.outcomeBy = time.Time{}
			c.firstOutcome(s)
		}
		if due(s.forgetAt) {
			c.forget(s)
		}
		if due(s.againAt) {
			c.resubscribe() // which clears it, as soon as it can be sent
		}
	}
	c.tickRegistrations(due)
	if due(c.ackAt) {
		c.sendAcks(now)
	}
	for due(c.renewAt) { // once, and then it is due later
		c.renewTokens(now)
	}
	if c.wantsDial() && due(cmpTime(c.dialAt, now)) {
		c.dial()
	}
	return next
}

// cmpTime gives at, or now when it is zero: a zero time is never due.
func cmpTime(at, now time.Time) time.Time {
	if at.IsZero() {
		return now
	}
	return at
}

// wanted says whether there is anything to be connected for.
func (c *Client) wanted() bool {
	if len(c.subs) > 0 || len(c.regs) > 0 {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.serving) > 0
}

// watch adds a watcher, and tells it what is known already.
func (c *Client) watch(key ServiceRole, w *watcher) {
	if w.stopped.Load() {
		return
	}
	if err := validate(key); err != nil {
		w.Invalid(invalid(status.InvalidArgument, err))
		return
	}
	s := c.subs[key]
	if s == nil {
		s = &sub{key: key, outcomeBy: time.Now().Add(firstOutcome)}
		s.held = c.cache.load(key)
		s.again = true // the registry may think of one that was watched before
		c.subs[key] = s
		c.resubscribe()
	}
	s.watchers = append(s.watchers, w)
	if c.current != nil && c.current.deaf != nil && s.invalid == nil {
		c.startFromCache(s)
		s.fail(invalid(status.FailedPrecondition, c.current.deaf))
		return
	}
	if s.delivered {
		w.Changed(s.held.snapshot, s.held.origin)
	}
	switch {
	case s.invalid != nil:
		w.Invalid(s.invalid)
	case !s.delivered && s.outcomeBy.IsZero():
		w.Ambient(c.trouble())
	}
}

func (c *Client) unwatch(key ServiceRole, w *watcher) {
	s := c.subs[key]
	if s == nil {
		return
	}
	s.watchers = slices.DeleteFunc(s.watchers, func(other *watcher) bool { return other == w })
	if len(s.watchers) == 0 {
		delete(c.subs, key)
		for _, session := range []*session{c.current, c.next} {
			if session != nil && !c.watches(key.Service) {
				session.staging.dropService(key.Service)
			}
		}
		c.resubscribe()
	}
}

// watches says whether anybody watches a service, in whatever role.
func (c *Client) watches(service string) bool {
	return c.subs[ServiceRole{service, policy.Caller}] != nil || c.subs[ServiceRole{service, policy.Server}] != nil
}

// trouble is what keeps the registry from answering.
func (c *Client) trouble() error {
	s := c.Status()
	if s.Err != nil {
		return s.Err
	}
	return status.Errorf(status.Unavailable, "%s has not answered yet", s)
}
