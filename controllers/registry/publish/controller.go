// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

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

	inbox struct {
		sync.Mutex
		events   []gather.Event
		readings []reading
		announce bool
	}
	// wake has room for one: the inbox has something.
	wake chan struct{}

	// world belongs to the loop, save what its lock guards.
	world *world
	// asking are the kinds whose definition is being read. The loop's.
	asking map[string]struct{}
	// readers are the goroutines that read definitions.
	readers sync.WaitGroup

	mu sync.RWMutex // guards what follows; the loop alone writes
	// services are those that exist or that a policy targets.
	services map[key]*service
	targets  map[compile.Target]compile.TargetReport
	watchers map[string][]func(k key, statusOnly bool)
}

// service is what came of compiling one.
type service struct {
	report  *compile.ServiceReport
	counts  compile.Counts
	targets []compile.TargetReport
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
		services: map[key]*service{}, targets: map[compile.Target]compile.TargetReport{},
		watchers: map[string][]func(key, bool){},
	}
	c.seen.Store(&policy.AsOf{})
	return c, nil
}

// Receive takes an event. It does not block.
func (c *Controller) Receive(e gather.Event) {
	c.inbox.Lock()
	c.inbox.events = append(c.inbox.events, e)
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

// Seen gives, for each kind, the revision up to which all has been published.
func (c *Controller) Seen() policy.AsOf { return *c.seen.Load() }

// Run publishes into the store until ctx ends.
func (c *Controller) Run(ctx context.Context, into Store) {
	defer c.readers.Wait()
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
			continue
		}
		first := !c.ready.Load()
		if first || announce {
			c.world.all(pending, first)
		}
		c.publish(into, pending)
		if first {
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
	events, readings := c.inbox.events, c.inbox.readings
	announce = c.inbox.announce
	c.inbox.events, c.inbox.readings, c.inbox.announce = nil, nil, false
	c.inbox.Unlock()
	for _, e := range events {
		c.world.apply(e, out)
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
	for _, k := range out.sorted() {
		c.compile(into, k, seen, out)
	}
	watermark := policy.NewAsOf(revisions...)
	c.seen.Store(&watermark)
	c.metrics.publishedAll(seen, len(c.world.objects.Services()))
	if out.place {
		// The store has told those that are new; the rest comes after callers know.
		c.cfg.Moved()
	}
}

// compile compiles one service and publishes it.
func (c *Controller) compile(into Store, k key, seen map[string]uint64, out *effects) {
	start := c.cfg.Now()
	result := compile.Service(c.world.objects.Input(k))
	c.metrics.compiled(c.cfg.Now().Sub(start))
	asOf := c.world.objects.AsOf(k, seen)
	switch {
	case result.Published:
		if err := into.Publish(store.Change{Service: k.String(), Parts: result.Parts, AsOf: asOf}); err != nil {
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
	c.record(k, &result, out)
}

// record keeps what statuses are made of, and notes whose status it changes.
func (c *Controller) record(k key, result *compile.ServiceOutput, out *effects) {
	old := c.services[k]
	if old == nil {
		old = &service{}
	}
	next := &service{report: result.Report, counts: result.Counts, targets: result.Targets}
	if result.Report != nil && result.Report.MassLoss {
		next.lossSince = old.lossSince
		if next.lossSince.IsZero() {
			next.lossSince = c.cfg.Now()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A policy that has ceased to target the service was changed, and is told of
	// for that reason.
	before := make(map[compile.Target]compile.TargetReport, len(old.targets))
	for _, t := range old.targets {
		before[t.Target] = t
		delete(c.targets, t.Target)
	}
	for _, t := range next.targets {
		c.targets[t.Target] = t
		if !reflect.DeepEqual(before[t.Target], t) {
			out.changed[name{t.Kind, t.Policy}] = false
		}
	}
	out.changed[name{compile.KindRPCService, k}] = false
	if next.report == nil && len(next.targets) == 0 {
		delete(c.services, k)
		return
	}
	c.services[k] = next
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
