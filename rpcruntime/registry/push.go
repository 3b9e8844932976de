// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// push handles what the registry sends without being asked.
func (c *Client) push(s *session, kind string, payload []byte) {
	if s.ended || s.deaf != nil {
		return
	}
	p, ok, err := DecodePush(kind, payload)
	if !ok {
		if strings.HasPrefix(kind, criticalMark) {
			c.deafen(s, kind)
		}
		c.unknown.Add(1)
		return
	}
	var critical *policy.CriticalFieldError
	if errors.As(err, &critical) {
		c.notUnderstood(s, p, critical)
		return
	}
	if err == nil {
		err = c.handle(s, p)
	}
	if err != nil {
		c.breakOff(s, fmt.Errorf("registry %s: %w", s.address, err))
	}
}

func (c *Client) handle(s *session, p Push) error {
	switch p := p.(type) {
	case *PartFrame:
		if !c.watches(p.Service) {
			return nil
		}
		if err := s.staging.add(p); err != nil {
			broken := &FrameError{Kind: KindPart, Service: p.Service, Err: err}
			c.failService(p.Service, invalid(status.Internal, broken))
			return broken
		}
	case *ChangeFrame:
		return c.change(s, p)
	case *GoneFrame:
		c.gone(s, p)
	case *BehindFrame:
		if sub := c.subs[ServiceRole{p.Service, p.Role}]; sub != nil {
			c.behind(sub, s)
		}
	case *SelfFrame:
		c.setSelf(p.Self)
	case *TrustFrame:
		return c.trust(s, p)
	}
	return nil
}

// failService tells all who watch a service, in whatever role.
func (c *Client) failService(service string, err *status.Error) {
	for key, sub := range c.subs {
		if key.Service == service {
			sub.fail(err)
		}
	}
}

// notUnderstood handles a push with a critical field that is not known.
func (c *Client) notUnderstood(s *session, p Push, critical *policy.CriticalFieldError) {
	switch p := p.(type) {
	case *PartFrame:
		s.staging.spoil(p.Service, p.Part, critical)
	case *ChangeFrame:
		if sub := c.subs[ServiceRole{p.Service, p.Role}]; sub != nil {
			c.reject(sub, p.Digest, critical)
		}
	default:
		c.cfg.Log.Info("a message of the registry was not understood", "kind", p.Kind(), "reason", critical.Error())
	}
}

// deafen stops listening to a registry that needs a newer runtime; what is held
// stays in use.
func (c *Client) deafen(s *session, kind string) {
	s.deaf = &policy.CriticalFieldError{Part: "registry", Item: kind}
	c.cfg.Log.Info("the registry needs a newer runtime", "address", s.address, "reason", s.deaf.Error())
	for _, sub := range c.subs {
		sub.fail(invalid(status.FailedPrecondition, s.deaf))
	}
}
