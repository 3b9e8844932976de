// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// ackSoon plans an ack: at most one in ackInterval, and not all clients at once.
func (c *Client) ackSoon() {
	if !c.ackAt.IsZero() {
		return
	}
	now := time.Now()
	c.ackAt = now
	if earliest := c.lastAck.Add(ackInterval); now.Before(earliest) {
		c.ackAt = earliest
	}
	c.ackAt = c.ackAt.Add(time.Duration(c.cfg.Rand() % uint64(ackInterval/2)))
}

// sendAcks tells the registry what is held. It is dropped if the last ack still
// waits for the connection: a connection in that state will end.
func (c *Client) sendAcks(now time.Time) {
	s := c.current
	if s == nil || !s.live || s.acking {
		c.ackAt = time.Time{} // the next Subscribe says the same
		return
	}
	req := new(AckRequest)
	if c.trustAck {
		c.trustAck, req.Trust = false, c.cfg.Trust.Digest()
	}
	for key, sub := range c.subs {
		if !sub.mustAck {
			continue
		}
		sub.mustAck = false
		a := Ack{Service: key.Service, Role: key.Role, Rejected: truncate(sub.rejected, maxReason)}
		if sub.held != nil {
			a.Digest = sub.held.digest
		}
		sub.told = a.Digest
		req.Acks = append(req.Acks, a)
	}
	c.ackAt, c.lastAck = time.Time{}, now
	if len(req.Acks) == 0 && req.Trust == (policy.Digest{}) {
		return
	}
	s.acking = true
	c.spawn(func() {
		err := c.call(s, MethodAck, req, nil)
		c.post(func() {
			s.acking = false
			if err != nil {
				c.cfg.Log.V(1).Info("ack not sent", "registry", s.address, "error", err.Error())
			}
			for _, sub := range c.subs {
				if sub.mustAck {
					c.ackSoon()
				}
			}
		})
	})
}

func truncate(s string, limit int) string {
	if len(s) > limit {
		return s[:limit]
	}
	return s
}
