// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// batchBytes bounds what a subscriber hands out at a time, but for one frame: a
// connection's write of it must end within the write timeout.
const batchBytes = 1 << 20

// waker is what a subscriber needs of its connection.
type waker interface{ Wake() }

// subscriber is one connection. It is a cursor per subscription and no queue of
// frames: however slow its connection is, it costs the same.
//
// A queue of encoded frames per connection, bounded and dropping, was rejected:
// what is dropped must be sent in full later, to those who can bear it least.
type subscriber struct {
	store *Store
	conn  waker
	// id is unique within the Service.
	id uint64
	// since is when the connection came.
	since time.Time
	// away: the connection was told to go. Guarded by Service.mu.
	away bool
	// leave drains the connection, and says why. It does not block.
	leave func(why string)

	// principal is who the connection has proven to be; nil before, and where
	// nobody asks.
	principal atomic.Pointer[Principal]
	// proven has room for one: principal has changed.
	proven chan struct{}

	// calls is held during a call that changes what the subscriber is
	// subscribed to, so that such calls come one after the other.
	calls sync.Mutex

	mu       sync.Mutex // guards what follows
	identity registry.Identity
	features string
	version  string
	subs     map[registry.ServiceRole]*subscription
	// queue are the subscriptions that may have something to send, in the order
	// in which they got it.
	// Invariant: sub.queued for exactly those in it.
	queue []*subscription
	// out are frames of one state that are still to be handed out, to outOf.
	out   [][]byte
	outOf *subscription
	self  registry.Self
	// selfDue: self has changed since it was sent.
	selfDue bool
	hasSelf bool
	// trusts is the digest of the authorities that the subscriber says it believes;
	// zero for one that takes none from here.
	trusts policy.Digest
	// trustDue are to be sent; nil for none.
	trustDue *authorities
	over     bool
}

// subscription is one service in one role, and where its subscriber is with it.
type subscription struct {
	owner *subscriber
	role  policy.Role
	entry *entry // set once, by Store.subscribe

	// Guarded by owner.mu.

	// sent are the parts that the subscriber has, or will have once it has read
	// what was handed out.
	sent []policy.PartDigest
	// revision is that of the state that was handed out last; 0 for none.
	revision uint64
	// held is what the subscriber held when it came, until a state that is not
	// older was found for it.
	held policy.AsOf
	// wasTold: the subscriber has, or had, this service.
	wasTold    bool
	toldBehind bool
	queued     bool
	// admitted: the subscriber's namespace is among the service's consumers.
	admitted bool
	// acked is what the subscriber says that it holds, since ackedAt; rejected is
	// what it says of the newest change.
	acked    policy.Digest
	ackedAt  time.Time
	rejected string
	// ackedPolicy covers the parts that are no endpoints, of the newest state that
	// is known to be held.
	ackedPolicy policy.Digest
}

// dirty notes that a subscription may have something to send.
func (s *subscriber) dirty(sub *subscription) {
	s.mu.Lock()
	if s.over || sub.queued || !s.stands(sub) {
		s.mu.Unlock()
		return
	}
	sub.queued = true
	s.queue = append(s.queue, sub)
	s.mu.Unlock()
	s.conn.Wake()
}

// Next implements transport.Source.
func (s *subscriber) Next() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	var batch [][]byte
	size := 0
	if a := s.trustDue; a != nil {
		batch, size, s.trustDue = append(batch, a.frame), size+len(a.frame), nil
	}
	if s.selfDue {
		if frame := s.selfFrame(); frame != nil {
			batch, size = append(batch, frame), size+len(frame)
		}
	}
	for {
		for len(s.out) > 0 {
			if size > 0 && size+len(s.out[0]) > batchBytes {
				return batch
			}
			size += len(s.out[0])
			batch = append(batch, s.out[0])
			s.out = s.out[1:]
		}
		s.out, s.outOf = nil, nil
		if len(s.queue) == 0 {
			return batch
		}
		sub := s.queue[0]
		s.queue = s.queue[1:]
		sub.queued = false
		if s.stands(sub) {
			s.out, s.outOf = s.frames(sub), sub
		}
	}
}

// stands says whether a subscription has not been replaced. REQUIRES: mu is held.
func (s *subscriber) stands(sub *subscription) bool {
	return s.subs[registry.ServiceRole{Service: sub.entry.service, Role: sub.role}] == sub
}

// stop hands out nothing more of a subscription. REQUIRES: mu is held.
func (s *subscriber) stop(sub *subscription) {
	if s.outOf == sub {
		s.out, s.outOf = nil, nil
	}
}

func (s *subscriber) selfFrame() []byte {
	s.selfDue = false
	frame, err := registry.EncodePush(&registry.SelfFrame{Self: s.self})
	if err != nil {
		s.store.cfg.Log.Error(err, "self not sent")
	}
	return frame
}

// frames gives that by which the newest state differs from what was sent, and
// moves the cursor there.
func (s *subscriber) frames(sub *subscription) [][]byte {
	if !sub.admitted {
		return nil
	}
	st := sub.entry.state.Load()
	if st == nil {
		return s.absent(sub)
	}
	if st.revision == sub.revision {
		return nil
	}
	v, err := st.view(st.key(sub.role, subscriberNamespace(&s.identity)), sub.held, func() policy.AsOf { return s.store.asOfNow(sub.entry, st) })
	if err == nil && v == nil {
		return s.behind(sub, s.store.asOfNow(sub.entry, st))
	}
	var frames [][]byte
	if err == nil {
		frames, err = st.missing(v, sub.sent)
	}
	if err != nil {
		s.store.cfg.Log.Error(err, "state not sent", "service", st.service)
		return nil
	}
	s.caughtUp(sub)
	told := sub.wasTold
	sub.revision, sub.sent, sub.wasTold = st.revision, v.names, !st.removed
	if st.removed && !told {
		return nil // it has been told already that there is no such service
	}
	return append(frames, v.change)
}

// missing gives the frames of those parts of a view that are not in sent.
func (st *state) missing(v *view, sent []policy.PartDigest) (frames [][]byte, err error) {
	for _, p := range v.names {
		if slices.Contains(sent, p) {
			continue
		}
		more, err := st.parts[p.Name].frames()
		if err != nil {
			return nil, err
		}
		frames = append(frames, more...)
	}
	return frames, nil
}

// absent handles a service that was never published here. A subscriber that
// holds it is told that it is gone once this replica has seen all that it holds.
func (s *subscriber) absent(sub *subscription) [][]byte {
	if !sub.wasTold {
		return nil
	}
	asOf := s.store.asOfNow(sub.entry, nil)
	if asOf.Behind(sub.held) {
		return s.behind(sub, asOf)
	}
	s.caughtUp(sub)
	sub.wasTold, sub.sent = false, nil
	return s.encode(&registry.GoneFrame{
		Service: sub.entry.service, Role: sub.role, Epoch: s.store.cfg.Epoch, AsOf: asOf,
	})
}

// behind tells a subscriber, once, that it holds what this replica has not seen.
func (s *subscriber) behind(sub *subscription, asOf policy.AsOf) [][]byte {
	s.store.setBehind(sub, true)
	if sub.toldBehind {
		return nil
	}
	sub.toldBehind = true
	return s.encode(&registry.BehindFrame{
		Service: sub.entry.service, Role: sub.role, Epoch: s.store.cfg.Epoch, AsOf: asOf,
	})
}

// caughtUp notes that a state was found that is not older than what the
// subscriber held.
func (s *subscriber) caughtUp(sub *subscription) {
	sub.held = nil
	if sub.toldBehind {
		sub.toldBehind = false
		s.store.setBehind(sub, false)
	}
}

// encode gives a frame of this subscriber alone.
func (s *subscriber) encode(p registry.Push) [][]byte {
	frame, err := registry.EncodePush(p)
	if err != nil {
		s.store.cfg.Log.Error(err, "message not sent", "kind", p.Kind())
		return nil
	}
	return [][]byte{frame}
}

// replace makes the request the whole subscription, and says what becomes of
// each. REQUIRES: calls is held; the names are valid and differ.
func (s *subscriber) replace(req *registry.SubscribeRequest, features string) (said answers, err error) {
	wanted := make(map[registry.ServiceRole]*registry.Subscription, len(req.Services))
	for i := range req.Services {
		r := &req.Services[i]
		wanted[registry.ServiceRole{Service: r.Service, Role: r.Role}] = r
	}
	s.mu.Lock()
	moved := subscriberNamespace(&s.identity) != subscriberNamespace(&req.Identity)
	s.identity, s.features, s.version = req.Identity, features, req.Version
	var dropped []*subscription
	for key, sub := range s.subs {
		if wanted[key] == nil {
			delete(s.subs, key)
			s.stop(sub)
			dropped = append(dropped, sub)
		}
	}
	s.mu.Unlock()
	for _, sub := range dropped {
		s.store.unsubscribe(sub)
	}
	for i := range req.Services {
		r := &req.Services[i]
		there, admitted, err := s.subscribe(r, moved)
		if err != nil {
			return answers{}, err
		}
		key := registry.ServiceRole{Service: r.Service, Role: r.Role}
		switch {
		case !there:
			said.absent = append(said.absent, key)
		case !admitted:
			said.forbidden = append(said.forbidden, key)
		default:
			said.accepted = append(said.accepted, key)
		}
	}
	return said, nil
}

// answers says what becomes of subscriptions. All of them stand.
type answers struct{ accepted, absent, forbidden []registry.ServiceRole }

// subscribe makes one subscription stand, and says whether the service is there
// or may be, and admits the subscriber. A subscription that stands keeps its cursor, since what was sent on
// this connection will be read; unless the request says that it did not fit.
func (s *subscriber) subscribe(r *registry.Subscription, moved bool) (there, admitted bool, err error) {
	key := registry.ServiceRole{Service: r.Service, Role: r.Role}
	s.mu.Lock()
	sub := s.subs[key]
	s.mu.Unlock()
	if sub == nil {
		sub = &subscription{owner: s, role: r.Role, ackedAt: time.Now()}
		if err := s.store.subscribe(sub, r.Service); err != nil {
			return false, false, err
		}
		s.mu.Lock()
		s.subs[key] = sub
		s.rewind(sub, r)
		s.mu.Unlock()
	} else if r.Again || moved {
		s.mu.Lock()
		s.rewind(sub, r)
		s.mu.Unlock()
	}
	s.mu.Lock()
	if !r.Digest.IsZero() {
		sub.hold(r.Digest, r.Parts)
	}
	sub.admitted = sub.entry.admits(sub.role, subscriberNamespace(&s.identity))
	held, admitted := sub.held, sub.admitted
	s.mu.Unlock()
	st := sub.entry.state.Load()
	there = st != nil && !st.removed || s.store.asOfNow(sub.entry, st).Behind(held)
	if !there {
		s.mu.Lock()
		sub.wasTold = false // the answer says that there is no such service
		s.mu.Unlock()
	}
	s.dirty(sub)
	return there, admitted, nil
}

// rewind sets a cursor to what the subscriber says that it holds.
func (s *subscriber) rewind(sub *subscription, r *registry.Subscription) {
	s.stop(sub)
	sub.revision, sub.sent, sub.held = 0, r.Parts, nil
	sub.wasTold = !r.Digest.IsZero()
	if r.Epoch == s.store.cfg.Epoch {
		sub.held = r.AsOf // of another history, whatever is here is new
	}
}

// end lets go of everything.
func (s *subscriber) end() {
	s.calls.Lock()
	defer s.calls.Unlock()
	s.mu.Lock()
	s.over = true
	subs := s.subs
	s.subs, s.queue, s.out = make(map[registry.ServiceRole]*subscription), nil, nil
	s.mu.Unlock()
	for _, sub := range subs {
		s.store.unsubscribe(sub)
	}
}

// setSelf notes what is known of the subscriber; push says to tell it.
func (s *subscriber) setSelf(self registry.Self, push bool) {
	s.mu.Lock()
	changed := !s.hasSelf || !s.self.Equal(self)
	s.self, s.hasSelf = self, true
	s.selfDue = s.selfDue || push && changed
	due := s.selfDue
	s.mu.Unlock()
	if due {
		s.conn.Wake()
	}
}

// ack notes what the subscriber holds of a service.
func (s *subscriber) ack(a *registry.Ack) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subs[registry.ServiceRole{Service: a.Service, Role: a.Role}]
	if sub == nil {
		return false
	}
	news = a.Rejected != "" && a.Rejected != sub.rejected
	sub.hold(a.Digest, sub.sent)
	sub.rejected = a.Rejected
	return news
}
