// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
)

// Principal is who a connection has proven to be. It is immutable.
type Principal struct {
	Namespace, ServiceAccount string
	// Pod and PodUID are those of the Pod that the proof is bound to; empty for a
	// proof that is bound to none.
	Pod, PodUID string
	// Expires is when the proof runs out; zero for never.
	Expires time.Time
	// Replica: another replica of this registry.
	Replica bool
}

// Authenticator judges a token, and what its bearer declares to be. An error goes
// to the bearer; without a code of its own it becomes Unauthenticated. It must
// not hold the token.
type Authenticator func(ctx context.Context, token string, declared registry.Identity) (*Principal, error)

// same says whether a renewed proof is of the same bearer.
func (p *Principal) same(other *Principal) bool {
	return p.Namespace == other.Namespace && p.ServiceAccount == other.ServiceAccount && p.PodUID == other.PodUID
}

// as gives what a bearer declares, with what it has proven in its place.
func (p *Principal) as(declared registry.Identity) registry.Identity {
	declared.Namespace = p.Namespace
	if p.PodUID != "" {
		declared.Pod, declared.PodUID = p.Pod, p.PodUID
	}
	return declared
}

// drainProof bounds the drain of a connection whose proof has run out. Nothing is
// in flight for long: the time is for the client to find another connection.
const drainProof = 10 * time.Second

// Principal gives what a connection has proven; false if it has proven nothing,
// or nobody asks.
func (s *Service) Principal(conn *transport.ServerConn) (*Principal, bool) {
	s.mu.Lock()
	sub := s.subscribers[conn]
	s.mu.Unlock()
	if sub == nil {
		return nil, false
	}
	p := sub.principal.Load()
	return p, p != nil
}

// admit says whether a connection may make calls that need a proof.
func (s *Service) admit(conn *transport.ServerConn) error {
	if s.cfg.Authenticate == nil {
		return nil
	}
	if _, proven := s.Principal(conn); !proven {
		return status.New(status.Unauthenticated, "nothing was proven on this connection yet: subscribe, or renew, with a token first")
	}
	return nil
}

// authenticate judges what the bearer of a token declares; nil without an
// Authenticator.
func (s *Service) authenticate(ctx context.Context, conn *transport.ServerConn, token string, declared registry.Identity) (*Principal, error) {
	if s.cfg.Authenticate == nil {
		return nil, nil //nolint:nilnil // both: nobody is asked
	}
	p, err := s.cfg.Authenticate(ctx, token, declared)
	if err != nil {
		if status.CodeOf(err) == status.Unknown {
			err = status.New(status.Unauthenticated, err.Error()).WithCause(err)
		}
		return nil, err
	}
	if old, proven := s.Principal(conn); proven && !old.same(p) {
		return nil, status.Errorf(status.PermissionDenied, "the connection is that of %s/%s, and the token is another's: use another connection",
			old.Namespace, old.ServiceAccount)
	}
	return p, nil
}

// Renew takes a newer proof of a connection.
func (s *Service) Renew(ctx context.Context, conn *transport.ServerConn, req *registry.RenewRequest) (*registry.RenewReply, error) {
	declared := registry.Identity{}
	s.mu.Lock()
	sub := s.subscribers[conn]
	s.mu.Unlock()
	if sub != nil {
		sub.mu.Lock()
		declared = sub.identity
		sub.mu.Unlock()
	}
	p, err := s.authenticate(ctx, conn, req.Token, declared)
	if err != nil || p == nil {
		return new(registry.RenewReply), err
	}
	if sub, err = s.subscriber(conn); err != nil {
		return nil, err
	}
	sub.prove(p)
	return new(registry.RenewReply), nil
}

// prove notes a proof, which moves the end of the connection.
func (s *subscriber) prove(p *Principal) {
	s.principal.Store(p)
	select {
	case s.proven <- struct{}{}:
	default:
	}
}

// expiry gives a timer for when a subscriber's proof runs out; nil for never.
func (s *subscriber) expiry() *time.Timer {
	p := s.principal.Load()
	if p == nil || p.Expires.IsZero() {
		return nil
	}
	return time.NewTimer(time.Until(p.Expires))
}

// noteDrain says why a connection is sent away.
func (s *Service) noteDrain(conn *transport.ServerConn, why string, p *Principal) {
	s.cfg.Log.Info("a connection is drained", "reason", why, "namespace", p.Namespace, "serviceAccount", p.ServiceAccount,
		"pod", p.Pod, "subscriber", conn.RemoteAddr().String())
}

// DrainPod sends away the connections of a Pod that is gone.
func (s *Service) DrainPod(uid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || uid == "" {
		return
	}
	for conn, sub := range s.subscribers {
		if p := sub.principal.Load(); p != nil && p.PodUID == uid {
			s.noteDrain(conn, "its Pod is gone", p)
			s.drain(conn)
		}
	}
}
