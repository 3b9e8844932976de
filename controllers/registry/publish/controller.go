// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/crd"
	"github.com/fairlead/fairlead/controllers/registry/gather"
	"github.com/fairlead/fairlead/internal/compile"
	store "github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// Store is where services are published.
type Store interface {
	Publish(change store.Change) error
	Remove(service string, asOf policy.AsOf)
	SetReady()
}

// Definitions reads the definition of one of our resources, live.
type Definitions interface {
	Read(ctx context.Context, resource string) crd.Reading
}

// Config sets up a Controller.
type Config struct {
	Definitions Definitions
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Moved is called when what is known of subscribers may have changed, after
	// what follows from that is published.
	Moved func()
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// RetryMin and RetryMax bound the wait before a definition that could not be
	// read is read again; 0 means 1 s and 30 s.
	RetryMin, RetryMax time.Duration
}

func (c *Config) setDefaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.RetryMin <= 0 {
		c.RetryMin = time.Second
	}
	if c.RetryMax <= 0 {
		c.RetryMax = 30 * time.Second
	}
}

// Controller compiles and publishes.
type Controller struct {
	cfg     Config
	metrics *metrics
	ready   atomic.Bool
	seen    atomic.Pointer[policy.AsOf]
	// unlisted are the kinds that were not listed yet; nil before Run.
	unlisted atomic.Pointer[[]string]

	inbox struct {
		sync.Mutex
		events   []gather.Event
		arrived  []time.Time // of each of events
		readings []reading
		announce bool
		census   *compile.Census
	}
	// wake has room for one: the inbox has something.
	wake chan struct{}

	// world belongs to the loop, save what its lock guards.
	world *world
	// settling is when policies of a service changed of late. The loop's.
	settling map[key]time.Time
	// asking are the kinds whose definition is being read. The loop's.
	asking map[string]struct{}
	// readers are the goroutines that read definitions.
	readers sync.WaitGroup

	mu sync.RWMutex // guards what follows; the loop alone writes
	// Invariant: services, book and policies are all of the same batch of events,
	// so that a status is never made of objects and verdicts that do not belong
	// together.

	// services are those that exist or that a policy targets.
	services map[key]*service
	book     compile.Book
	policies map[name]policyState
	// census is what is known of clients.
	census   compile.Census
	watchers map[string][]func(k key, statusOnly bool)
}

// service is what came of compiling one.
type service struct {
	object  *v1alpha1.RPCService
	report  *compile.ServiceReport
	counts  compile.Counts
	targets []compile.TargetReport
	// policies covers all that is published but the endpoints.
	policies policy.Digest
	// lossSince is since when most endpoints are suspect; zero when they are not.
	lossSince time.Time
}

// reading is an answer about a definition.
type reading struct {
	kind string
	crd.Reading
	upTo uint64
}

// New makes a Controller. It does nothing before Run.
func New(cfg Config) (*Controller, error) {
	cfg.setDefaults()
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	c := &Controller{
		cfg: cfg, metrics: m, wake: make(chan struct{}, 1), world: newWorld(), asking: map[string]struct{}{},
		settling: map[key]time.Time{},
		services: map[key]*service{}, policies: map[name]policyState{},
		watchers: map[string][]func(key, bool){},
	}
	c.seen.Store(&policy.AsOf{})
	return c, nil
}

// Receive takes an event. It does not block.
func (c *Controller) Receive(e gather.Event) {
	now := c.cfg.Now()
	c.inbox.Lock()
	c.inbox.events = append(c.inbox.events, e)
	c.inbox.arrived = append(c.inbox.arrived, now)
	c.inbox.Unlock()
	c.kick()
}

// Announce tells those who watch of every object, as if it had changed.
func (c *Controller) Announce() {
	c.inbox.Lock()
	c.inbox.announce = true
	c.inbox.Unlock()
	c.kick()
}

// Count takes what is known of clients, from now on. It is not to be changed any
// more.
func (c *Controller) Count(census compile.Census) {
	c.inbox.Lock()
	c.inbox.census = &census
	c.inbox.Unlock()
	c.kick()
}

func (c *Controller) answer(r reading) {
	c.inbox.Lock()
	c.inbox.readings = append(c.inbox.readings, r)
	c.inbox.Unlock()
	c.kick()
}

func (c *Controller) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Ready says whether everything was published once. It stays so.
func (c *Controller) Ready() bool { return c.ready.Load() }

// Waiting names the kinds that were not listed yet, sorted; running is false before
// Run is called. It may be called from any goroutine.
func (c *Controller) Waiting() (kinds []string, running bool) {
	if p := c.unlisted.Load(); p != nil {
		return *p, true
	}
	return nil, false
}

// Seen gives, for each kind, the revision up to which all has been published.
func (c *Controller) Seen() policy.AsOf { return *c.seen.Load() }

// Run publishes into the store until ctx ends.
func (c *Controller) Run(ctx context.Context, into Store) {
	defer c.readers.Wait()
	c.unlisted.Store(c.world.unlisted())
	// What follows from events before everything is listed is kept until then.
	pending := newEffects()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		announce := c.take(ctx, pending)
		if !c.world.synced() {
			c.unlisted.Store(c.world.unlisted())
			continue
		}
		first := !c.ready.Load()
		if first || announce {
			c.world.all(pending, first)
		}
		c.publish(into, pending)
		c.metrics.changesPublished(pending.arrived, c.cfg.Now())
		if first {
			c.unlisted.Store(c.world.unlisted())
			into.SetReady()
			c.ready.Store(true)
			c.cfg.Log.Info("published everything once; serving", "services", len(c.world.objects.Services()))
		}
		c.tell(pending)
		pending = newEffects()
	}
}

// take applies all that waits.
func (c *Controller) take(ctx context.Context, out *effects) (announce bool) {
	c.inbox.Lock()
	events, arrived, readings := c.inbox.events, c.inbox.arrived, c.inbox.readings
	announce = c.inbox.announce
	census := c.inbox.census
	c.inbox.events, c.inbox.arrived, c.inbox.readings, c.inbox.announce, c.inbox.census = nil, nil, nil, false, nil
	c.inbox.Unlock()
	if census != nil {
		c.takeCensus(census, out)
	}
	for i, e := range events {
		if c.world.apply(e, out) && c.ready.Load() {
			out.arrived = append(out.arrived, arrived[i])
		}
		c.metrics.heard(e.Kind, c.cfg.Now())
	}
	for _, r := range readings {
		c.judge(r, out)
	}
	c.metrics.held(c.world)
	for kind := range out.ask {
		c.ask(ctx, kind)
		delete(out.ask, kind)
	}
	return announce
}

// takeCensus notes what is known of clients, and whose status it changes: those
// of services whose clients have changed, and of policies for them.
func (c *Controller) takeCensus(next *compile.Census, out *effects) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.census
	c.census = *next
	c.census.Of = c.settled(old.Of, next.Of)
	next = &c.census
	all := old.Counted != next.Counted || old.Complete != next.Complete
	for k, s := range c.services {
		if !all && reflect.DeepEqual(old.Of[k], next.Of[k]) {
			continue
		}
		out.counted(name{compile.KindRPCService, k})
		for i := range s.targets {
			out.counted(name{s.targets[i].Kind, s.targets[i].Policy})
		}
	}
	if all { // policies that reach no service, too
		for n := range c.policies {
			out.counted(n)
		}
	}
}

// judge takes up what was read of a definition.
func (c *Controller) judge(r reading, out *effects) {
	waiting := c.world.waiting[r.kind]
	verdict := c.world.judge(r.kind, r.Reading, r.upTo, out)
	if r.State != crd.Unreadable {
		delete(c.asking, r.kind)
	}
	if waiting == 0 || verdict == crd.Believe {
		return
	}
	c.metrics.heldBack.WithLabelValues(r.kind, r.State.String()).Inc()
	log := c.cfg.Log.WithValues("kind", r.kind, "definition", r.State.String(), "deletions", waiting)
	if verdict == crd.Freeze {
		log.Info("objects went together with their definition: their deletion is ignored, and what they say stays in force")
	} else {
		log.Error(r.Err, "deletions are held back until the definition of their kind can be read")
	}
}

// ask reads a kind's definition, again and again until it can be read.
func (c *Controller) ask(ctx context.Context, kind string) {
	if _, already := c.asking[kind]; already {
		return // deletions that come after the question ask again
	}
	c.asking[kind] = struct{}{}
	upTo := c.world.latest[kind]
	c.readers.Go(func() {
		for wait := c.cfg.RetryMin; ; wait = min(2*wait, c.cfg.RetryMax) {
			r := c.cfg.Definitions.Read(ctx, resource(kind))
			if ctx.Err() != nil {
				return
			}
			c.answer(reading{kind, r, upTo})
			if r.State != crd.Unreadable {
				return
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return
			}
		}
	})
}

// publish compiles and publishes what is concerned, and moves the watermark.
func (c *Controller) publish(into Store, out *effects) {
	seen := make(map[string]uint64, len(c.world.latest))
	revisions := make([]policy.KindRevision, 0, len(c.world.latest))
	for kind, latest := range c.world.latest {
		seen[kind] = latest
		revisions = append(revisions, policy.KindRevision{Kind: kind, Seen: latest})
	}
	compiled := make(map[key]*service, len(out.services))
	for _, k := range out.sorted() {
		compiled[k] = c.compile(into, k, seen)
	}
	c.record(compiled, out)
	watermark := policy.NewAsOf(revisions...)
	c.seen.Store(&watermark)
	c.metrics.publishedAll(seen, len(c.world.objects.Services()))
	if out.place {
		// The store has told those that are new; the rest comes after callers know.
		c.cfg.Moved()
	}
}

// compile compiles one service, publishes it, and gives what came of it.
func (c *Controller) compile(into Store, k key, seen map[string]uint64) *service {
	start := c.cfg.Now()
	result := compile.Service(c.world.objects.Input(k))
	c.metrics.compiled(c.cfg.Now().Sub(start))
	asOf := c.world.objects.AsOf(k, seen)
	switch {
	case result.Published:
		change := store.Change{Service: k.String(), Parts: result.Parts, AsOf: asOf, Consumers: result.Consumers}
		if err := into.Publish(change); err != nil {
			c.cfg.Log.Error(err, "what was compiled cannot be published; what was published before stays", "service", k)
		}
		c.metrics.publishes.Inc()
	case result.Report == nil:
		// Objects lets go of an RPCService only when its deletion is believed; one
		// that never was is only named by a policy.
		if old := c.services[k]; old != nil && old.report != nil {
			into.Remove(k.String(), asOf)
			c.cfg.Log.Info("the service was deleted: callers are told that it is gone", "service", k)
		}
	default:
		c.cfg.Log.V(1).Info("the service is not accepted; what was published of it before stays", "service", k)
	}
	next := &service{report: result.Report, counts: result.Counts, targets: result.Targets}
	for i := range result.Parts {
		if p := &result.Parts[i]; p.Name != policy.PartEndpoints {
			// The names of parts are told apart, too: an overlay may move.
			next.policies = next.policies.Add(policy.ServiceDigest([]policy.PartDigest{{Name: p.Name, Digest: p.Digest}}))
		}
	}
	return next
}

// record keeps what statuses are made of, all of a batch at once, and notes
// whose status it changes.
func (c *Controller) record(compiled map[key]*service, out *effects) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, next := range compiled {
		c.replace(k, next, out)
	}
	for n := range out.changed {
		switch n.kind {
		case compile.KindRPCService:
			if s := c.services[n.key]; s != nil {
				s.object = c.world.objects.RPCService(n.key)
			}
		default:
			c.judgePolicy(n)
		}
	}
}

// replace keeps what came of compiling one service. REQUIRES: mu is held.
func (c *Controller) replace(k key, next *service, out *effects) {
	old := c.services[k]
	if old == nil {
		old = &service{}
	}
	if next.report != nil && next.report.MassLoss {
		next.lossSince = old.lossSince
		if next.lossSince.IsZero() {
			next.lossSince = c.cfg.Now()
		}
	}
	before := make(map[compile.Target]compile.TargetReport, len(old.targets))
	for _, t := range old.targets {
		before[t.Target] = t
	}
	for _, t := range next.targets {
		if !reflect.DeepEqual(before[t.Target], t) {
			out.changed[name{t.Kind, t.Policy}] = false
		}
		delete(before, t.Target)
	}
	for t := range before { // it is out of the policy's reach now
		out.changed[name{t.Kind, t.Policy}] = false
	}
	if old.policies != next.policies {
		c.census.Of = outdated(c.census.Of, k)
		if c.census.Counted { // else there is nothing to wait for
			c.settling[k] = c.cfg.Now()
		}
	}
	c.book.Set(old.targets, next.targets)
	out.changed[name{compile.KindRPCService, k}] = false
	if next.report == nil && len(next.targets) == 0 {
		delete(c.services, k)
		delete(c.settling, k)
		return
	}
	c.services[k] = next
}

// settle is what clients get to take a change of policies before those who have
// not are counted one by one.
const settle = 4 * time.Second

// settled gives a census in which services that have just changed stay as they
// were counted, until all of their clients follow or settle is over: numbers are
// written seldom, and one on the way would keep people from the one they wait
// for.
func (c *Controller) settled(old, next map[key][]compile.Clients) map[key][]compile.Clients {
	kept := maps.Clone(next) // it is shared
	for k, since := range c.settling {
		behind := slices.ContainsFunc(next[k], func(clients compile.Clients) bool { return !clients.Current })
		if !behind || c.cfg.Now().Sub(since) >= settle {
			delete(c.settling, k)
			continue
		}
		if len(old[k]) > 0 {
			kept[k] = old[k]
		}
	}
	return kept
}

// outdated gives a census in which nobody holds what is served of a service: it
// has changed since they were counted.
func outdated(of map[key][]compile.Clients, k key) map[key][]compile.Clients {
	if len(of[k]) == 0 {
		return of
	}
	next := maps.Clone(of)
	next[k] = slices.Clone(of[k])
	for i := range next[k] {
		next[k][i].Current = false
	}
	return next
}

// judgePolicy puts a policy's status together. REQUIRES: mu is held.
func (c *Controller) judgePolicy(n name) {
	delete(c.policies, n)
	switch n.kind {
	case compile.KindRPCCallPolicy:
		if p := c.world.objects.CallPolicy(n.key); p != nil {
			c.policies[n] = policyState{call: p, status: compile.CallPolicyStatus(p, c.book.Reports)}
		}
	case compile.KindRPCLimitPolicy:
		if p := c.world.objects.LimitPolicy(n.key); p != nil {
			c.policies[n] = policyState{limit: p, status: compile.LimitPolicyStatus(p, c.book.Reports)}
		}
	}
}

// tell calls those who watch, without a lock: they look things up.
func (c *Controller) tell(out *effects) {
	c.mu.RLock()
	watchers := maps.Clone(c.watchers)
	c.mu.RUnlock()
	for n, statusOnly := range out.changed {
		for _, f := range watchers[n.kind] {
			f(n.key, statusOnly)
		}
	}
}
