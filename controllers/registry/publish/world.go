// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/fairlead/fairlead/api/v1alpha1"
	"github.com/fairlead/fairlead/controllers/crd"
	"github.com/fairlead/fairlead/controllers/registry/gather"
	"github.com/fairlead/fairlead/internal/compile"
)

// key is an object's namespace and name.
type key = compile.Key

// name is an object among all kinds.
type name struct {
	kind string
	key  key
}

// world is everything that was gathered. It decides what an event means, and
// does nothing else.
type world struct {
	mu sync.RWMutex // guards objects against those who only read
	// objects has one writer, the loop, which needs no lock to read.
	objects *compile.Objects

	// Invariant: facts has a kind's objects exactly as objects does.
	facts map[string]map[key]*fact
	// listed are the kinds of which a List was seen.
	listed map[string]bool
	// latest is the highest revision of a kind that was taken up. A deletion that
	// waits is taken up, too: that it is not applied is a decision, and a
	// watermark that stood still for it would make clients refuse all that
	// follows of the kind.
	latest map[string]uint64
	// waiting and frozen count the deletions of a kind that are not decided, and
	// those that are never applied.
	waiting, frozen map[string]int
	// definitions are the UIDs of our kinds' definitions when last read.
	definitions map[string]types.UID
	// replacedAt is when the definition of a kind was made, if it took the place
	// of another that was known. Objects that are older went with that one, however
	// late their deletion is heard of.
	replacedAt map[string]time.Time
}

// fact is what is known of an object beside its content.
type fact struct {
	uid        types.UID
	generation int64
	revision   uint64
	created    time.Time
	// deletedAt is the revision of a deletion that is not applied; else 0.
	deletedAt uint64
	// frozen: the deletion will never be applied.
	frozen bool
}

// effects are what follows from events.
type effects struct {
	// services are to be compiled.
	services map[key]struct{}
	// concerned counts how often one was put there.
	concerned int
	// changed are own objects whose status may have to be written anew; true for
	// those of which nothing but the status, or the number of clients, has changed.
	changed map[name]bool
	// ask are own kinds whose definition has to be read.
	ask map[string]struct{}
	// arrived is when each change came that services are to be compiled for.
	arrived []time.Time
	// place: slices or services have changed, so what a subscriber is may have.
	place bool
}

func newEffects() *effects {
	return &effects{services: map[key]struct{}{}, changed: map[name]bool{}, ask: map[string]struct{}{}}
}

func newWorld() *world {
	w := &world{
		objects: compile.NewObjects(compile.Mode{}), facts: map[string]map[key]*fact{}, listed: map[string]bool{},
		latest: map[string]uint64{}, waiting: map[string]int{}, frozen: map[string]int{}, definitions: map[string]types.UID{},
		replacedAt: map[string]time.Time{},
	}
	for _, kind := range gather.Kinds() {
		w.facts[kind] = map[key]*fact{}
	}
	return w
}

// synced says whether every kind was listed.
func (w *world) synced() bool { return len(w.listed) == len(w.facts) }

// unlisted names the kinds that were not, sorted.
func (w *world) unlisted() *[]string {
	kinds := []string{}
	for kind := range w.facts {
		if _, listed := w.listed[kind]; !listed {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	return &kinds
}

// apply takes up one event, and says whether services are to be compiled for it.
func (w *world) apply(e gather.Event, out *effects) bool {
	concerned := out.concerned
	switch e.Op {
	case gather.List:
		w.list(e, out)
	case gather.Set:
		w.set(e.Kind, e.Object, out)
	case gather.Delete:
		w.remove(e.Kind, compile.KeyOf(e.Object), e.Revision, out)
	case gather.Mark:
	}
	w.latest[e.Kind] = max(w.latest[e.Kind], e.Revision)
	return out.concerned > concerned
}

func (w *world) list(e gather.Event, out *effects) {
	there := make(map[key]struct{}, len(e.Objects))
	for _, o := range e.Objects {
		there[compile.KeyOf(o)] = struct{}{}
		w.set(e.Kind, o, out)
	}
	for k := range w.facts[e.Kind] {
		if _, found := there[k]; !found {
			w.remove(e.Kind, k, e.Revision, out)
		}
	}
	w.listed[e.Kind] = true
	if own(e.Kind) {
		out.ask[e.Kind] = struct{}{} // it may be another definition
	}
}

func (w *world) set(kind string, o client.Object, out *effects) {
	k, revision := compile.KeyOf(o), gather.Revision(o.GetResourceVersion())
	old := w.facts[kind][k]
	if old != nil && old.deletedAt == 0 && old.uid == o.GetUID() && old.revision == revision {
		return
	}
	affected := w.store(o, revision)
	w.recount(kind, old, -1)
	w.facts[kind][k] = &fact{
		uid: o.GetUID(), generation: o.GetGeneration(), revision: revision, created: o.GetCreationTimestamp().Time,
	}
	if !own(kind) {
		out.concern(affected)
		out.place = out.place || kind != compile.KindNamespace
		return
	}
	same := old != nil && old.deletedAt == 0 && old.uid == o.GetUID() && old.generation == o.GetGeneration()
	statusOnly, known := out.changed[name{kind, k}]
	out.changed[name{kind, k}] = same && (statusOnly || !known)
	if same {
		return // its status has changed, which nothing is compiled from
	}
	out.concern(affected)
	out.place = out.place || kind == compile.KindRPCService
	if old != nil && old.frozen {
		out.ask[kind] = struct{}{} // under another definition, most likely
	}
}

func (w *world) store(o client.Object, revision uint64) []key {
	w.mu.Lock()
	defer w.mu.Unlock()
	affected, err := w.objects.Set(o, revision)
	if err != nil {
		return nil // cannot be: gather's kinds are all known there
	}
	return affected
}

// remove applies a deletion, or lets it wait until it can be believed.
func (w *world) remove(kind string, k key, revision uint64, out *effects) {
	f := w.facts[kind][k]
	switch {
	case f == nil || f.deletedAt != 0:
	case own(kind):
		f.deletedAt = max(revision, 1)
		w.recount(kind, f, 1)
		out.ask[kind] = struct{}{}
	default:
		w.drop(kind, k, revision, out)
		out.place = true
	}
}

// recount adds a fact to the counts of deletions that are not applied.
func (w *world) recount(kind string, f *fact, by int) {
	switch {
	case f == nil || f.deletedAt == 0:
	case f.frozen:
		w.frozen[kind] += by
	default:
		w.waiting[kind] += by
	}
}

func (w *world) drop(kind string, k key, revision uint64, out *effects) {
	w.mu.Lock()
	affected := w.objects.Delete(kind, k, revision)
	w.mu.Unlock()
	delete(w.facts[kind], k)
	out.concern(affected)
}

// judge takes up what was read of a kind's definition, for the deletions up to a
// revision, which was the latest when it was asked for. It gives the verdict on
// them: Freeze if that is so for one.
func (w *world) judge(kind string, now crd.Reading, upTo uint64, out *effects) crd.Verdict {
	before := w.definitions[kind]
	verdict := crd.Judge(before, now)
	if now.State == crd.Standing {
		if before != "" && before != now.UID {
			w.replacedAt[kind] = now.Created
		}
		w.definitions[kind] = now.UID
	}
	result := verdict
	for k, f := range w.facts[kind] {
		switch {
		case f.deletedAt == 0 || f.frozen:
		case f.deletedAt > upTo && verdict != crd.Freeze:
			// It came after the question. If the answer is that the definition has
			// gone, it went with it all the same.
			out.ask[kind] = struct{}{}
		case verdict == crd.Believe && !f.created.Before(w.replacedAt[kind]):
			w.recount(kind, f, -1)
			w.drop(kind, k, f.deletedAt, out)
			out.changed[name{kind, k}] = false
			out.place = true
		case verdict != crd.Wait:
			w.recount(kind, f, -1)
			f.frozen, result = true, crd.Freeze
			w.recount(kind, f, 1)
		}
	}
	return result
}

// all adds every object of ours, and with compile every service.
func (w *world) all(out *effects, compileToo bool) {
	for kind, facts := range w.facts {
		for k := range facts {
			if own(kind) {
				out.changed[name{kind, k}] = false
			}
		}
	}
	if compileToo {
		out.concern(w.objects.Services())
	}
}

// counted notes that the number of an object's clients may be another.
func (e *effects) counted(n name) {
	if _, known := e.changed[n]; !known {
		e.changed[n] = true
	}
}

func (e *effects) concern(services []key) {
	e.concerned += len(services)
	for _, k := range services {
		e.services[k] = struct{}{}
	}
}

// sorted gives the services to compile.
func (e *effects) sorted() []key {
	return slices.SortedFunc(maps.Keys(e.services), compareKeys)
}

func compareKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// own says whether objects of a kind are ours: whether their definition can go.
func own(kind string) bool { return resource(kind) != "" }

// resource names the resource of one of our kinds; empty for others.
func resource(kind string) string {
	switch kind {
	case compile.KindRPCService:
		return v1alpha1.ResourceRPCServices
	case compile.KindRPCCallPolicy:
		return v1alpha1.ResourceRPCCallPolicies
	case compile.KindRPCLimitPolicy:
		return v1alpha1.ResourceRPCLimitPolicies
	default:
		return ""
	}
}
