// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/status"
)

// isSecure says whether a connection is one of TLS.
func isSecure(nc net.Conn) bool {
	_, ok := nc.(interface{ ConnectionState() tls.ConnectionState })
	return ok
}

// token gives the process's token. Without one it goes on, since the registry
// may not ask; why there is none is said if it does.
func (c *Client) token(s *session) (token string, missing error) {
	if c.cfg.Token == nil || !s.secure {
		return "", nil
	}
	token, err := c.cfg.Token(c.ctx)
	switch {
	case err != nil:
		return "", err
	case len(token) > MaxToken:
		return "", fmt.Errorf("the token has %d bytes, more than %d: that is none", len(token), MaxToken)
	default:
		return token, nil
	}
}

// withoutToken says with a refusal why no token was sent.
func withoutToken(err, missing error) error {
	if missing == nil || status.CodeOf(err) != status.Unauthenticated {
		return err
	}
	return fmt.Errorf("%w; no token was sent: %w", err, missing)
}

// renewSoon plans the next look at the token.
func (c *Client) renewSoon() {
	if c.cfg.Token != nil && c.renewAt.IsZero() {
		c.renewAt = time.Now().Add(renewInterval)
	}
}

// renewTokens sends the token where it is not the one that was sent before. A
// look at a file costs little, and so nothing has to be known of what is in it.
func (c *Client) renewTokens(now time.Time) {
	c.renewAt = time.Time{}
	s := c.current
	if s == nil || !s.live {
		return // the next Subscribe has it
	}
	c.renewAt = now.Add(renewInterval)
	sent := s.token
	c.spawn(func() {
		token, err := c.token(s)
		if err != nil || token == sent {
			return // the last good one stays, as long as it is taken
		}
		err = c.call(s, MethodRenew, &RenewRequest{Token: token}, new(RenewReply))
		c.post(func() {
			if err != nil {
				c.cfg.Log.Info("the registry does not take the new token; the old one is in force until it expires",
					"address", s.address, "error", err.Error())
				return
			}
			s.token = token
		})
	})
}
