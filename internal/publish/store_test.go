// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// reader is a subscriber's other end: it reads frames when the test lets it, and
// keeps to the rules of a client as strictly as can be.
type reader struct {
	t   testing.TB
	sub *subscriber
	// staged and held are parts by service and name.
	staged, held map[string]policy.Part
	chunks       map[string]uint32
	// have is the newest change by service and role; gone is none.
	have  map[registry.ServiceRole]*registry.ChangeFrame
	asked map[registry.ServiceRole]bool
	parts int
}

func (r *reader) Wake() {}

func newReader(t testing.TB, s *Store, namespace string) *reader {
	r := &reader{
		t: t, staged: make(map[string]policy.Part), held: make(map[string]policy.Part), chunks: make(map[string]uint32),
		have: make(map[registry.ServiceRole]*registry.ChangeFrame), asked: make(map[registry.ServiceRole]bool),
	}
	r.sub = &subscriber{store: s, conn: r, subs: make(map[registry.ServiceRole]*subscription), identity: registry.Identity{Namespace: namespace}}
	return r
}

// subscribe asks for exactly these services, and says what is held.
func (r *reader) subscribe(namespace string, keys ...registry.ServiceRole) {
	req := &registry.SubscribeRequest{Identity: registry.Identity{Namespace: namespace}}
	for _, key := range keys {
		want := registry.Subscription{Service: key.Service, Role: key.Role, Again: !r.asked[key]}
		if c := r.have[key]; c != nil {
			want.Digest, want.Epoch, want.AsOf, want.Parts = c.Digest, c.Epoch, c.AsOf, c.Parts
		}
		req.Services = append(req.Services, want)
	}
	r.sub.calls.Lock()
	said, err := r.sub.replace(req, "")
	r.sub.calls.Unlock()
	if err != nil {
		r.t.Fatal(err)
	}
	clear(r.asked)
	for _, key := range keys {
		r.asked[key] = true
	}
	for _, key := range said.absent {
		delete(r.have, key)
	}
}

// read takes one batch, as a connection that is writable does.
func (r *reader) read() (more bool) {
	frames := r.sub.Next()
	for _, b := range frames {
		f, err := wire.Parse(b)
		if err != nil {
			r.t.Fatal(err)
		}
		p, ok, err := registry.DecodePush(string(f.Method), f.Payload)
		if !ok || err != nil {
			r.t.Fatalf("%s: %v", f.Method, err)
		}
		switch p := p.(type) {
		case *registry.PartFrame:
			r.part(p)
		case *registry.ChangeFrame:
			r.change(p)
		case *registry.GoneFrame:
			delete(r.have, registry.ServiceRole{Service: p.Service, Role: p.Role})
		}
	}
	return len(frames) > 0
}

func (r *reader) part(p *registry.PartFrame) {
	r.parts++
	key := p.Service + " " + p.Part
	if p.Chunk == 0 {
		r.chunks[key] = 0 // begun anew
	}
	if r.chunks[key] != p.Chunk {
		r.t.Fatalf("%s: chunk %d, want %d", key, p.Chunk, r.chunks[key])
	}
	all := r.staged[key]
	if p.Chunk == 0 {
		all = policy.Part{Name: p.Part, Digest: p.Digest}
	}
	all.Items = append(slices.Clip(all.Items), p.Items...)
	r.staged[key] = all
	r.chunks[key]++
	if p.Last {
		r.chunks[key] = 0
		if err := all.Verify(); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *reader) change(c *registry.ChangeFrame) {
	var parts []policy.Part
	for _, want := range c.Parts {
		key := c.Service + " " + want.Name
		if p, ok := r.staged[key]; ok && p.Digest == want.Digest && r.chunks[key] == 0 {
			r.held[key] = p
			delete(r.staged, key)
		}
		if r.held[key].Digest != want.Digest {
			r.t.Fatalf("%s as %s names %s at %s, which never came", c.Service, c.Role, want.Name, want.Digest.Short())
		}
		parts = append(parts, r.held[key])
	}
	snapshot, err := policy.Decode(c.Service, c.Role, parts)
	if err != nil {
		r.t.Fatal(err)
	}
	if snapshot.Digest != c.Digest {
		r.t.Fatalf("%s: digest %s, not %s", c.Service, snapshot.Digest.Short(), c.Digest.Short())
	}
	r.together(snapshot)
	r.have[registry.ServiceRole{Service: c.Service, Role: c.Role}] = c
}

// together checks that the parts are of one state: each was published with the
// state's number in all its parts.
func (r *reader) together(s *policy.Snapshot) {
	number := time.Duration(-1)
	for _, e := range s.Endpoints {
		if name, ok := strings.CutPrefix(e.ID, "number-"); ok {
			if _, err := fmt.Sscan(name, (*int64)(&number)); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	for _, l := range s.Layers {
		if number >= 0 && *l.Fields.Timeout != number+time.Millisecond {
			r.t.Fatalf("endpoints of %d with policy of %d", number, *l.Fields.Timeout-time.Millisecond)
		}
	}
}

// numbered is a state all of whose parts carry its number.
func numbered(n int64, overlays []string) shape {
	sh := shape{
		endpoints: map[string]policy.EndpointState{fmt.Sprintf("number-%d", n): policy.Ready},
		timeout:   time.Duration(n) + time.Millisecond, burst: int32(n % 1000), overlays: make(map[string]time.Duration),
	}
	for _, namespace := range overlays {
		sh.overlays[namespace] = sh.timeout
	}
	return sh
}

// program runs random operations against a store and some readers, and checks
// that each reader comes to hold exactly what the store holds.
func program(t *testing.T, rnd *rand.Rand, steps int) {
	store := NewStore(StoreConfig{Epoch: "e", Seen: func() policy.AsOf { return asOf(1 << 40) }})
	defer store.Close()
	services := []string{"n/a", "n/b", "n/c"}
	namespaces := []string{"web", "other"}
	readers := []*reader{newReader(t, store, "web"), newReader(t, store, "other"), newReader(t, store, "web")}
	for n := int64(1); n <= int64(steps); n++ {
		service, r := services[rnd.IntN(len(services))], readers[rnd.IntN(len(readers))]
		switch k := rnd.IntN(20); {
		case k < 8:
			var overlays []string
			if rnd.IntN(2) == 0 {
				overlays = append(overlays, namespaces[rnd.IntN(2)])
			}
			number := 1 + rnd.Int64N(6) // few, so that states come back
			if err := store.Publish(Change{Service: service, Parts: numbered(number, overlays).parts(t), AsOf: asOf(uint64(n))}); err != nil {
				t.Fatal(err)
			}
		case k < 9:
			store.Remove(service, asOf(uint64(n)))
		case k < 12:
			var keys []registry.ServiceRole
			for _, s := range services {
				for _, role := range []policy.Role{policy.Caller, policy.Server} {
					if rnd.IntN(2) == 0 {
						keys = append(keys, registry.ServiceRole{Service: s, Role: role})
					}
				}
			}
			r.subscribe(namespaces[rnd.IntN(2)], keys...)
		case k < 17:
			r.read()
		default:
			time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
		}
	}
	time.Sleep(time.Second)
	synctest.Wait()
	for _, r := range readers {
		for r.read() {
		}
		for key := range r.asked {
			want, there := store.Digest(key.Service, key.Role, r.sub.identity.Namespace)
			have := r.have[key]
			switch {
			case there != (have != nil):
				t.Errorf("%v: there %v, held %v", key, there, have != nil)
			case there && have.Digest != want:
				t.Errorf("%v: holds %s, not %s", key, have.Digest.Short(), want.Short())
			}
		}
		r.sub.end()
	}
}

func TestRandomOperations(t *testing.T) {
	for seed := range uint64(25) {
		synctest.Test(t, func(t *testing.T) {
			program(t, rand.New(rand.NewPCG(seed, 1)), 400)
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		})
		if t.Failed() {
			return
		}
	}
}

// However many changes a subscriber does not read, they cost it nothing: the
// states in between are gone, and it gets the newest alone.
func TestSlowSubscriberCostsNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewStore(StoreConfig{Epoch: "e"})
		defer store.Close()
		r := newReader(t, store, "web")
		key := registry.ServiceRole{Service: arith, Role: policy.Caller}
		var between []weak.Pointer[state]
		for n := range int64(100) {
			if err := store.Publish(Change{Service: arith, Parts: numbered(n, nil).parts(t), AsOf: asOf(uint64(n))}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if n == 0 {
				r.subscribe("web", key)
				r.read()
				continue
			}
			between = append(between, weak.Make(store.entries[arith].state.Load()))
		}
		runtime.GC()
		runtime.GC()
		alive := 0
		for _, w := range between[:len(between)-1] {
			if w.Value() != nil {
				alive++
			}
		}
		if alive > 0 {
			t.Errorf("%d states are kept", alive)
		}
		if len(r.sub.queue) != 1 || len(r.sub.out) != 0 {
			t.Errorf("%d subscriptions queued, %d frames kept", len(r.sub.queue), len(r.sub.out))
		}
		r.parts = 0
		for r.read() {
		}
		if r.parts != 2 {
			t.Errorf("%d parts for one change", r.parts)
		}
		r.sub.end()
	})
}

// A state that takes more than one batch is finished, with its change, before
// the next one begins: a part that changes all the time comes through.
func TestLargeStateIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewStore(StoreConfig{Epoch: "e"})
		defer store.Close()
		large := func(n byte) []policy.Part {
			parts := numbered(0, nil).parts(t)
			var endpoints []policy.Endpoint
			for i := range 2500 {
				endpoints = append(endpoints, policy.Endpoint{
					ID: fmt.Sprintf("%d-%d", n, i), Addresses: []string{"10.0.0.1:80"}, Version: strings.Repeat("v", 1000),
				})
			}
			var err error
			if parts[0], err = policy.EncodeEndpoints(endpoints); err != nil {
				t.Fatal(err)
			}
			return parts
		}
		publish := func(n byte) {
			if err := store.Publish(Change{Service: arith, Parts: large(n), AsOf: asOf(uint64(n))}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		publish(1)
		r := newReader(t, store, "web")
		key := registry.ServiceRole{Service: arith, Role: policy.Caller}
		r.subscribe("web", key)
		r.read()
		r.subscribe("web")
		if r.read() {
			t.Error("frames of a service that is not subscribed to any more")
		}
		r.subscribe("web", key)
		first, _ := store.Digest(arith, policy.Caller, "web")
		for n := byte(2); r.have[key] == nil; n++ {
			if n > 20 {
				t.Fatal("never complete")
			}
			size := 0
			for _, b := range r.sub.out {
				size += len(b)
			}
			if size > 8<<20 {
				t.Errorf("%d bytes are kept", size)
			}
			r.read()
			publish(n)
		}
		if got := r.have[key].Digest; got != first {
			t.Errorf("holds %s, not %s", got.Short(), first.Short())
		}
		for r.read() {
		}
		if last, _ := store.Digest(arith, policy.Caller, "web"); r.have[key].Digest != last {
			t.Error("the newest did not follow")
		}
		r.sub.end()
	})
}

// A state is as new as the watermark says, unless it is not all there is.
func TestAsOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := uint64(7)
		store := NewStore(StoreConfig{Epoch: "e", Seen: func() policy.AsOf { return policy.AsOf{{Kind: "Thing", Seen: seen}} }})
		defer store.Close()
		publish := func(n int64) {
			if err := store.Publish(Change{Service: arith, Parts: numbered(n, nil).parts(t), AsOf: asOf(uint64(n))}); err != nil {
				t.Fatal(err)
			}
		}
		is := func(what string, e *entry, st *state, want uint64) {
			t.Helper()
			if got := store.asOfNow(e, st).Get("Thing").Seen; got != want {
				t.Errorf("%s: seen %d, want %d", what, got, want)
			}
		}
		publish(1)
		e := store.entries[arith]
		first := e.state.Load()
		is("the newest", e, first, 7)
		publish(2)
		is("with one held back", e, first, 1)
		time.Sleep(time.Second)
		synctest.Wait()
		is("one that is not the newest", e, first, 1)
		is("the newest", e, e.state.Load(), 7)
		is("a service that is not here", new(entry), nil, 7)
		seen = 1
		is("a watermark that is not there yet", e, e.state.Load(), 2)
	})
}

// Every subscriber gets the very same bytes.
func TestEncodedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewStore(StoreConfig{Epoch: "e"})
		defer store.Close()
		if err := store.Publish(Change{Service: arith, Parts: numbered(1, nil).parts(t), AsOf: asOf(1)}); err != nil {
			t.Fatal(err)
		}
		var first [][]byte
		for i := range 100 {
			r := newReader(t, store, fmt.Sprintf("namespace-%d", i%3))
			r.subscribe(r.sub.identity.Namespace, registry.ServiceRole{Service: arith, Role: policy.Caller})
			frames := r.sub.Next()
			if i == 0 {
				first = frames
			}
			for k := range frames {
				if &frames[k][0] != &first[k][0] {
					t.Fatalf("frame %d of subscriber %d is a copy", k, i)
				}
			}
			r.sub.end()
		}
		if len(first) != 3 {
			t.Errorf("%d frames", len(first))
		}
	})
}

func TestChunksAreBounded(t *testing.T) {
	var items []policy.Item
	for i := range 100 {
		items = append(items, policy.Item{ID: fmt.Sprintf("%03d", i), Bytes: make([]byte, 50_000)})
	}
	items = append(items, policy.Item{ID: "large", Bytes: make([]byte, policy.MaxItemBytes)}, policy.Item{ID: "small", Bytes: []byte{1}})
	for n := range []int{0, 1, len(items)} {
		part, err := policy.NewPart("endpoints", items[:n])
		if err != nil {
			t.Fatal(err)
		}
		frames, err := encodePart(arith, &part)
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for i, b := range frames {
			f, err := wire.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			p, _, err := registry.DecodePush(string(f.Method), f.Payload)
			if err != nil {
				t.Fatal(err)
			}
			part := p.(*registry.PartFrame)
			count += len(part.Items)
			if int(part.Chunk) != i || part.Last != (i == len(frames)-1) {
				t.Errorf("chunk %d of %d says %d, %v", i, len(frames), part.Chunk, part.Last)
			}
			if len(b) > registry.ChunkBytes+1024 && len(part.Items) > 1 {
				t.Errorf("chunk %d has %d bytes", i, len(b))
			}
		}
		if count != n || len(frames) == 0 {
			t.Errorf("%d of %d items in %d frames", count, n, len(frames))
		}
	}
}

func TestPublishRefuses(t *testing.T) {
	store := NewStore(StoreConfig{Epoch: "e"})
	defer store.Close()
	good := numbered(1, []string{"web"}).parts(t)
	unknown := good[0]
	unknown.Name = "routes"
	for name, c := range map[string]Change{
		"no name":        {Service: "arith", Parts: good},
		"no limits":      {Service: arith, Parts: good[:2]},
		"a part twice":   {Service: arith, Parts: append(slices.Clone(good), good[0])},
		"a part unknown": {Service: arith, Parts: append(slices.Clone(good), unknown)},
		"a wrong asOf":   {Service: arith, Parts: good, AsOf: policy.AsOf{{}}},
	} {
		if err := store.Publish(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := store.Publish(Change{Service: arith, Parts: good}); err != nil {
		t.Error(err)
	}
	if got := store.Services(); !slices.Equal(got, []string{arith}) {
		t.Errorf("services %q", got)
	}
}
