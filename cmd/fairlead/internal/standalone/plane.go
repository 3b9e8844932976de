// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"cmp"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/manifest"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// plane turns files and registrations into what the store serves.
//
// One goroutine, the loop, owns everything that is not said to be shared. Others
// ask it by do, which returns when what they did has been saved and published.
// What comes while it works makes one batch: one write of the state, however
// many instances join at once. A lock instead of the loop was rejected: each
// registration would wait for a write of its own.
type plane struct {
	store *publish.Store
	dir   *stateDir
	log   *journal
	now   func() time.Time
	// self says that what is known of subscribers may have changed.
	self func()
	// clients counts subscribers, for the log.
	clients func() []publish.ClientCount

	objects *compile.Objects
	leases  *leases
	// epoch and revision are those of state.
	epoch    string
	revision uint64
	files    manifest.Set
	findings map[manifest.Finding]struct{} // as they were last reported
	// loaded: there was once a reading without an error. Until then nothing is
	// served: an answer out of half of the files would be believed.
	loaded bool

	// affected are the services to be compiled and published.
	affected map[compile.Key]struct{}
	// unsaved: the state differs from the one on disk.
	unsaved bool
	// failure is why it could not be saved, retryAt when to try again.
	failure error
	retryAt time.Time
	// published is what each service was when it was last reported.
	published map[compile.Key]report

	// seen is shared: the watermark of what has been published.
	seen atomic.Pointer[policy.AsOf]

	inbox chan request // never closed
	// closing is closed by close, looped by the loop when it returns, ready by
	// the loop when the store is.
	closing, looped, ready chan struct{}
}

// request is something for the loop to do.
type request struct {
	apply func(now time.Time)
	// done has room for one: nil, or why what was done is not saved yet.
	done chan error
}

// kinds are those of asOf. Files and registrations have one counter, so all have
// been seen up to the same revision.
func kinds() []string {
	return []string{
		compile.KindRPCService, compile.KindRPCCallPolicy, compile.KindRPCLimitPolicy,
		compile.KindService, compile.KindEndpointSlice, compile.KindInstance,
	}
}

// retryAfter is the wait before a failed write of the state is tried again.
const retryAfter = time.Second

// maxBatch bounds how many requests one write of the state may have to wait for.
const maxBatch = 1024

// newPlane makes a plane that goes on from s. run starts it.
func newPlane(s state, dir *stateDir, log *journal, now func() time.Time) *plane {
	p := &plane{
		dir: dir, log: log, now: now, self: func() {}, clients: func() []publish.ClientCount { return nil },
		objects: compile.NewObjects(compile.Mode{Registered: true}),
		leases:  restoreLeases(s.instances, now()),
		epoch:   s.epoch, revision: s.revision,
		findings: map[manifest.Finding]struct{}{}, affected: map[compile.Key]struct{}{}, published: map[compile.Key]report{},
		inbox: make(chan request), closing: make(chan struct{}), looped: make(chan struct{}), ready: make(chan struct{}),
	}
	p.store = publish.NewStore(publish.StoreConfig{Epoch: s.epoch, Seen: p.watermark, Log: log.logger("store")})
	for _, i := range s.instances {
		p.set(i)
	}
	p.see()
	return p
}

func (p *plane) watermark() policy.AsOf { return *p.seen.Load() }

// see says that everything up to the revision has been published.
func (p *plane) see() {
	asOf := policy.NewAsOf(p.seenRevisions()...)
	p.seen.Store(&asOf)
}

func (p *plane) seenRevisions() []policy.KindRevision {
	var all []policy.KindRevision
	for _, kind := range kinds() {
		all = append(all, policy.KindRevision{Kind: kind, Seen: p.revision})
	}
	return all
}

// run is the loop.
func (p *plane) run() {
	defer close(p.looped)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(p.wait())
		var batch []request
		select {
		case <-p.closing:
			return
		case <-timer.C:
		case r := <-p.inbox:
			batch = p.gather(r)
		}
		now := p.now()
		p.expire(now)
		for _, r := range batch {
			r.apply(now)
		}
		err := p.commit(now)
		for _, r := range batch {
			r.done <- err
		}
	}
}

// wait is how long nothing is due.
func (p *plane) wait() time.Duration {
	var next time.Time
	if p.loaded {
		next = p.leases.next()
	}
	if p.loaded && p.unsaved && (next.IsZero() || p.retryAt.Before(next)) {
		next = p.retryAt
	}
	if next.IsZero() {
		return time.Hour // anything that happens comes earlier
	}
	return max(0, next.Sub(p.now()))
}

// gather takes what else waits already.
func (p *plane) gather(first request) []request {
	batch := []request{first}
	for len(batch) < maxBatch {
		select {
		case r := <-p.inbox:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// do has the loop run apply, and waits until what follows from it has been
// published. ran is false when the loop is over.
func (p *plane) do(apply func(now time.Time)) (ran bool, err error) {
	r := request{apply: apply, done: make(chan error, 1)}
	select {
	case p.inbox <- r:
		return true, <-r.done
	case <-p.looped:
		return false, nil
	}
}

// close ends the loop and waits for it, and closes the store.
func (p *plane) close() {
	close(p.closing)
	<-p.looped
	p.store.Close()
}

// set takes an object as it is by now.
func (p *plane) set(object any) {
	services, err := p.objects.Set(object, p.revision)
	if err != nil {
		p.log.problem("%v", err)
	}
	p.affect(services)
}

func (p *plane) affect(services []compile.Key) {
	for _, s := range services {
		p.affected[s] = struct{}{}
	}
}

// accept counts a change, which the caller makes next.
func (p *plane) accept() {
	p.revision++
	p.unsaved = true
}

// setFiles takes a reading of the manifests.
func (p *plane) setFiles(now time.Time, set manifest.Set, findings []manifest.Finding) {
	p.reportFindings(findings)
	if !p.loaded {
		if anyError(p.findings) {
			return
		}
		p.loaded, p.unsaved = true, true
		p.leases = restoreLeases(p.leases.instances(), now) // from now on they can be renewed
	}
	changed, deleted := set.Since(p.files)
	p.files = set
	if len(changed)+len(deleted) == 0 {
		return
	}
	p.accept()
	for _, d := range deleted {
		p.affect(p.objects.Delete(d.Kind, d.NamespacedName, p.revision))
	}
	for _, o := range changed {
		p.set(o)
	}
}

// expire removes the instances whose leases have run out.
func (p *plane) expire(now time.Time) {
	if !p.loaded {
		return // nobody can renew yet
	}
	for _, i := range p.leases.expire(now) {
		p.log.line("%s: %s gave no sign of life for %s and is removed", i.Service, i.Address, leaseTime)
		p.remove(i.Key())
	}
}

func (p *plane) remove(key compile.Key) {
	p.accept()
	p.affect(p.objects.Delete(compile.KindInstance, key, p.revision))
}

// commit saves the state and then publishes what follows from it: nobody may
// hold a revision that a restart would not know of. It gives why the state
// could not be saved; then nothing was published, and it is tried again.
func (p *plane) commit(now time.Time) error {
	if !p.loaded {
		return nil
	}
	if p.unsaved {
		if p.failure != nil && now.Before(p.retryAt) {
			return p.failure
		}
		err := p.dir.save(state{epoch: p.epoch, revision: p.revision, instances: p.leases.instances()})
		if err != nil {
			p.retryAt = now.Add(retryAfter)
			if p.failure == nil || p.failure.Error() != err.Error() {
				p.log.problem("%v; nothing changes for anybody until it can be written", err)
			}
			p.failure = err
			return err
		}
		p.unsaved, p.failure = false, nil
	}
	// The store tells new instances what they are before it tells callers of them.
	for _, service := range slices.SortedFunc(maps.Keys(p.affected), compareKeys) {
		p.publish(service)
	}
	if len(p.affected) > 0 {
		clear(p.affected)
		p.see()
		p.self()
	}
	if !p.store.Ready() {
		p.store.SetReady()
		close(p.ready)
	}
	return nil
}

func compareKeys(a, b compile.Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// publish compiles one service and gives it to the store.
func (p *plane) publish(service compile.Key) {
	out := compile.Service(p.objects.Input(service))
	seen := make(map[string]uint64)
	for _, kind := range kinds() {
		seen[kind] = p.revision
	}
	asOf := p.objects.AsOf(service, seen)
	switch {
	case out.Published:
		change := publish.Change{Service: service.String(), Parts: out.Parts, AsOf: asOf, Consumers: out.Consumers}
		if err := p.store.Publish(change); err != nil {
			p.log.problem("%v", err)
		}
	case out.Report == nil:
		p.store.Remove(service.String(), asOf)
	}
	p.report(&out)
}

// selfOf says what is known of a subscriber. It is called by any goroutine.
func (p *plane) selfOf(who registry.Identity, _ net.Addr) registry.Self {
	var found compile.Self
	if ran, _ := p.do(func(time.Time) { // nothing changes, so there is nothing to be saved
		found = p.objects.Self(compile.Identity{Namespace: who.Namespace, PodUID: who.PodUID, Addresses: who.Addresses})
	}); !ran {
		return registry.Self{Namespace: who.Namespace}
	}
	self := registry.Self{Namespace: found.Namespace, Pod: found.Pod, Zone: found.Zone}
	for _, s := range found.Serves {
		self.Serves = append(self.Serves, registry.Serving{Service: s.Service, Port: strconv.Itoa(int(s.Port))})
	}
	return self
}
