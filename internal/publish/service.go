// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
)

// ServiceConfig sets up a Service.
type ServiceConfig struct {
	// Store is what is served. Required. An instance that a change adds is told
	// that it is one before callers are told of the change.
	Store *Store
	// SelfOf says what is known of a subscriber, by what it says of itself and
	// where it calls from. Required.
	SelfOf func(registry.Identity, net.Addr) registry.Self
	// Authenticate says who a token's bearer is; nil asks nobody. What is proven
	// counts from then on, and not what is declared.
	Authenticate Authenticator
	// IsPeer says whether a call comes from another replica of this registry; nil
	// believes nobody.
	IsPeer func(ctx context.Context) bool
	// Replica names this one to others.
	Replica string
	// Registrar takes instances that register themselves; nil refuses them.
	Registrar Registrar
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
	// MaxSubscriptions bounds those of one connection; 0 means
	// registry.MaxSubscriptions, and more is not possible.
	MaxSubscriptions int
}

// Registrar keeps the leases of instances that register themselves. It is called
// by many goroutines and must not block for long. A holder is a connection.
type Registrar interface {
	// Register grants or renews a lease. An instance that another holder
	// registered before goes over to this one.
	Register(holder uint64, r registry.RegisterRequest) (lease time.Duration, err error)
	// Leave ends a lease: the instance drains.
	Leave(holder uint64, service, address string)
	// Lost says that a holder's connection ended: the instances that it still
	// holds are not to be used, unless they come back before their leases end.
	Lost(holder uint64)
}

// Service is the registry as a service: its methods, and its subscribers.
type Service struct {
	cfg ServiceConfig

	mu          sync.Mutex // guards what follows
	subscribers map[*transport.ServerConn]*subscriber
	lastID      uint64
	closed      bool

	// trust is what subscribers are to believe; nil for nothing.
	trust atomic.Pointer[authorities]

	balance balance

	// stale has room for one: what is known of subscribers may have changed.
	stale chan struct{}
	// closing is closed by Close.
	closing chan struct{}
	running sync.WaitGroup
}

// NewService makes the service. It must be closed.
func NewService(cfg ServiceConfig) *Service {
	if cfg.MaxSubscriptions <= 0 || cfg.MaxSubscriptions > registry.MaxSubscriptions {
		cfg.MaxSubscriptions = registry.MaxSubscriptions
	}
	s := &Service{
		cfg: cfg, subscribers: make(map[*transport.ServerConn]*subscriber),
		stale: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	cfg.Store.attach(s)
	s.running.Add(1)
	go s.refreshLoop()
	return s
}

// Close lets go of all subscribers and waits for the service's goroutines. The
// connections are the server's to end; close the service before, so that those
// who register do not count as lost because the registry goes.
func (s *Service) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.cfg.Store.detach(s)
	s.running.Wait()
}

// subscriber gives that of a connection, from its first call on.
func (s *Service) subscriber(conn *transport.ServerConn) (*subscriber, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub := s.subscribers[conn]; sub != nil {
		return sub, nil
	}
	if s.closed {
		return nil, status.New(status.Unavailable, errStoreClosed.Error())
	}
	s.lastID++
	sub := &subscriber{
		store: s.cfg.Store, conn: conn, id: s.lastID, subs: make(map[registry.ServiceRole]*subscription),
		since: time.Now(), proven: make(chan struct{}, 1),
	}
	sub.leave = func(why string) { s.leaves(conn, why) }
	s.subscribers[conn] = sub
	conn.SetSubscribed(true)
	conn.SetSource(sub)
	s.running.Add(1)
	go s.waitForEnd(conn, sub)
	return sub, nil
}

func (s *Service) waitForEnd(conn *transport.ServerConn, sub *subscriber) {
	defer s.running.Done()
	lost := s.watchEnd(conn, sub)
	s.mu.Lock()
	delete(s.subscribers, conn)
	s.mu.Unlock()
	sub.end()
	if lost && s.cfg.Registrar != nil {
		s.cfg.Registrar.Lost(sub.id)
	}
}

// watchEnd waits for the end of a connection, or of the Service; it sends away a
// connection whose proof runs out.
func (s *Service) watchEnd(conn *transport.ServerConn, sub *subscriber) (lost bool) {
	drained := false
	for {
		over, ended := s.awaitEnd(conn, sub, drained)
		if over {
			return ended
		}
		if p := sub.principal.Load(); p != nil && !p.Expires.IsZero() && !time.Now().Before(p.Expires) {
			drained = true
			s.noteDrain(conn, "its token has expired, and no other came", p)
			s.sendAway(conn)
		}
	}
}

// awaitEnd waits for what ends a connection, or its proof; over says that the
// first is so, or the Service is, and ended which of the two.
func (s *Service) awaitEnd(conn *transport.ServerConn, sub *subscriber, drained bool) (over, ended bool) {
	var expires <-chan time.Time
	if timer := sub.expiry(); timer != nil && !drained {
		defer timer.Stop()
		expires = timer.C
	}
	select {
	case <-conn.Done():
		return true, true
	case <-s.closing:
		return true, false
	case <-sub.proven:
	case <-expires:
	}
	return false, false
}

// Subscribe replaces what a connection is subscribed to.
func (s *Service) Subscribe(
	ctx context.Context, conn *transport.ServerConn, req *registry.SubscribeRequest,
) (*registry.SubscribeReply, error) {
	if !s.cfg.Store.Ready() {
		return nil, status.New(status.Unavailable, "the registry has not read everything yet").WithRetryAfter(time.Second)
	}
	if err := s.check(req); err != nil {
		return nil, err
	}
	principal, err := s.authenticate(ctx, conn, req.Token, req.Identity)
	if err != nil {
		return nil, err
	}
	sub, err := s.subscriber(conn)
	if err != nil {
		return nil, err
	}
	sub.calls.Lock()
	defer sub.calls.Unlock()
	if principal != nil {
		sub.prove(principal)
		req.Identity = principal.as(req.Identity)
	}
	sub.holds(req.Trust)
	sub.offer(s.trust.Load())
	reply := &registry.SubscribeReply{
		Epoch: s.cfg.Store.cfg.Epoch, Revision: s.cfg.Store.lastRevision(), Self: s.selfOf(sub, req.Identity, conn),
	}
	if seen := s.cfg.Store.cfg.Seen; seen != nil {
		reply.AsOf = seen()
	}
	valid := *req
	valid.Services, reply.Refused = split(req.Services)
	said, err := sub.replace(&valid, featureSet(req.Features))
	if err != nil {
		return nil, status.New(status.Unavailable, err.Error())
	}
	sub.setSelf(reply.Self, false)
	reply.Accepted = said.accepted
	reply.Refused = slices.Concat(reply.Refused, s.notFound(said.absent), forbidden(said.forbidden, subscriberNamespace(&req.Identity)))
	return reply, nil
}

func (s *Service) check(req *registry.SubscribeRequest) error {
	if n := len(req.Services); n > s.cfg.MaxSubscriptions {
		return status.Errorf(status.ResourceExhausted, "%d subscriptions on one connection, more than %d", n, s.cfg.MaxSubscriptions)
	}
	seen := make(map[registry.ServiceRole]struct{}, len(req.Services))
	for i := range req.Services {
		key := registry.ServiceRole{Service: req.Services[i].Service, Role: req.Services[i].Role}
		if _, twice := seen[key]; twice {
			return status.Errorf(status.InvalidArgument, "%.200q stands twice as %.80q", key.Service, key.Role)
		}
		seen[key] = struct{}{}
	}
	return nil
}

// split keeps what is valid and refuses the rest.
func split(all []registry.Subscription) (valid []registry.Subscription, refused []registry.Refusal) {
	for _, r := range all {
		err := policy.ValidateServiceName(r.Service)
		if r.Role != policy.Caller && r.Role != policy.Server {
			err = fmt.Errorf("role %.80q is neither %s nor %s", r.Role, policy.Caller, policy.Server)
		}
		if err != nil {
			refused = append(refused, registry.Refusal{Service: r.Service, Role: r.Role, Reason: registry.ReasonInvalid, Message: err.Error()})
			continue
		}
		valid = append(valid, r)
	}
	return valid, refused
}

// nearAtMost bounds for how many unknown names near ones are looked for, as that
// goes through all there are.
const nearAtMost = 16

func (s *Service) notFound(absent []registry.ServiceRole) (refused []registry.Refusal) {
	if len(absent) == 0 {
		return nil
	}
	names := s.cfg.Store.Services()
	for i, key := range absent {
		r := registry.Refusal{Service: key.Service, Role: key.Role, Reason: registry.ReasonNotFound}
		if i < nearAtMost {
			r.Near = near(key.Service, names)
		}
		refused = append(refused, r)
	}
	return refused
}

// featureSet gives one text for the same features.
func featureSet(features []string) string {
	sorted := slices.Clone(features)
	slices.Sort(sorted)
	return strings.Join(slices.Compact(sorted), ",")
}

// Ack notes what a connection holds.
func (s *Service) Ack(conn *transport.ServerConn, req *registry.AckRequest) {
	s.mu.Lock()
	sub := s.subscribers[conn]
	s.mu.Unlock()
	if sub == nil {
		return
	}
	if !req.Trust.IsZero() {
		sub.holds(req.Trust)
	}
	for i := range req.Acks {
		if a := &req.Acks[i]; sub.ack(a) {
			s.cfg.Log.Info("a subscriber rejected a change", "service", a.Service, "role", a.Role,
				"subscriber", conn.RemoteAddr().String(), "reason", a.Rejected)
		}
	}
}

// Register takes, renews or leaves the lease of an instance.
func (s *Service) Register(conn *transport.ServerConn, req *registry.RegisterRequest) (*registry.RegisterReply, error) {
	if s.cfg.Registrar == nil {
		return nil, status.New(status.Unimplemented, "instances do not register here: in Kubernetes, add an EndpointSlice")
	}
	if err := policy.ValidateServiceName(req.Service); err != nil {
		return nil, status.New(status.InvalidArgument, err.Error())
	}
	if err := policy.ValidateAddress(req.Address); err != nil {
		return nil, status.New(status.InvalidArgument, err.Error())
	}
	if err := s.admit(conn); err != nil {
		return nil, err
	}
	sub, err := s.subscriber(conn)
	if err != nil {
		return nil, err
	}
	sub.calls.Lock() // so that Lost, which follows the end, comes last
	defer sub.calls.Unlock()
	sub.mu.Lock()
	over := sub.over
	sub.mu.Unlock()
	switch {
	case over:
		return nil, status.New(status.Unavailable, "the connection is over")
	case req.Leave:
		s.cfg.Registrar.Leave(sub.id, req.Service, req.Address)
		return new(registry.RegisterReply), nil
	}
	lease, err := s.cfg.Registrar.Register(sub.id, *req)
	if err != nil {
		return nil, err
	}
	return &registry.RegisterReply{LeaseMillis: lease.Milliseconds()}, nil
}

// RefreshSelf says that what is known of subscribers may have changed. Those for
// which it has are told before long. Call it after publishing, so that an
// instance that goes is told after its callers are.
func (s *Service) RefreshSelf() {
	select {
	case s.stale <- struct{}{}:
	default:
	}
}

func (s *Service) refreshLoop() {
	defer s.running.Done()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select { // not more often than changes go out
		case <-s.closing:
			return
		case <-pause.C:
		}
		select {
		case <-s.closing:
			return
		case <-s.stale:
		}
		s.refreshSelf()
		pause.Reset(maxWindow)
	}
}

// selfOf gives what is known of a subscriber, its ServiceAccount by its proof.
func (s *Service) selfOf(sub *subscriber, who registry.Identity, conn *transport.ServerConn) registry.Self {
	self := s.cfg.SelfOf(who, conn.RemoteAddr())
	if p := sub.principal.Load(); p != nil {
		self.Namespace, self.ServiceAccount = p.Namespace, p.ServiceAccount
		self.Pod = cmp.Or(p.Pod, self.Pod)
	}
	return self
}

func (s *Service) refreshSelf() {
	type one struct {
		conn *transport.ServerConn
		sub  *subscriber
	}
	s.mu.Lock()
	all := make([]one, 0, len(s.subscribers))
	for conn, sub := range s.subscribers {
		all = append(all, one{conn, sub})
	}
	s.mu.Unlock()
	for _, o := range all {
		o.sub.calls.Lock()
		o.sub.mu.Lock()
		identity, known := o.sub.identity, o.sub.hasSelf
		o.sub.mu.Unlock()
		if known {
			o.sub.setSelf(s.selfOf(o.sub, identity, o.conn), true)
		}
		o.sub.calls.Unlock()
	}
}
