// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// session is one connection to the registry. It belongs to the loop.
//
//	dialled --subscribed--> live --drain--> draining (until another is live)
//	   \__________________\________________\____ended
type session struct {
	client  *Client
	address string
	conn    *transport.ClientConn
	staging *staging
	born    time.Time
	// live: it has answered.
	live     bool
	draining bool
	ended    bool
	// calling: a Subscribe is on its way; dirty: another must follow.
	calling, dirty bool
	acking         bool
	// renewed: all registrations have been sent on it.
	renewed bool
	// secure: the registry has shown a certificate. Only then are secrets sent, and
	// authorities taken.
	secure bool
	// token is the one that the registry was sent last. It is a secret.
	token string
	// deaf is set when the registry sent a kind that is critical and that this
	// runtime does not know: nothing after it is understood.
	deaf error
}

// Draining implements transport.Events.
func (s *session) Draining(*transport.ClientConn) { s.client.post(func() { s.client.drains(s) }) }

// Push implements transport.Events. The payload is the reader's, so it is copied.
func (s *session) Push(_ *transport.ClientConn, f wire.Frame) {
	if string(f.Path) != PushPath {
		return
	}
	method, payload := string(f.Method), slices.Clone(f.Payload)
	if !s.client.postBytes(len(payload), func() { s.client.push(s, method, payload) }) {
		s.client.post(func() {
			s.client.breakOff(s, fmt.Errorf("registry %s sent more than %d bytes before they could be used", s.address, maxStaged))
		})
	}
}

// Ended implements transport.Events.
func (s *session) Ended(_ *transport.ClientConn, reason error) {
	s.client.post(func() { s.client.over(s, reason) })
}

// wantsDial says whether a connection is missing.
func (c *Client) wantsDial() bool {
	if c.dialing || len(c.cfg.Addresses) == 0 && c.cfg.Resolve == nil || !c.wanted() {
		return false
	}
	return c.current == nil || c.current.draining && c.next == nil
}

// dial opens a connection beside the loop.
func (c *Client) dial() {
	c.dialing = true
	switch {
	case len(c.order) > 0:
		c.dialNext()
	case c.cfg.Resolve == nil:
		c.shuffle(c.cfg.Addresses)
		c.dialNext()
	default:
		c.spawn(func() {
			addresses, err := c.cfg.Resolve()
			c.post(func() { c.resolved(addresses, err) })
		})
	}
}

// resolved begins a round with the addresses that there are now.
func (c *Client) resolved(addresses []string, err error) {
	if err == nil && len(addresses) == 0 {
		err = status.New(status.Unavailable, "the registry has no address")
	}
	if err != nil {
		c.dialing = false
		c.failed("", err)
		return
	}
	c.shuffle(addresses)
	c.dialNext()
}

// shuffle begins a round: every address once, in random order.
func (c *Client) shuffle(addresses []string) {
	c.order = slices.Clone(addresses)
	for i := len(c.order) - 1; i > 0; i-- {
		j := int(c.cfg.Rand() % uint64(i+1))
		c.order[i], c.order[j] = c.order[j], c.order[i]
	}
}

// dialNext dials the next address of the round.
func (c *Client) dialNext() {
	address := c.order[0]
	c.order = c.order[1:]
	caller := c.cfg.Identity.Namespace + "/" + c.cfg.Identity.App
	if strings.HasPrefix(caller, "/") || strings.HasSuffix(caller, "/") {
		caller = ""
	}
	c.spawn(func() {
		ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
		defer cancel()
		nc, err := c.cfg.Dial(ctx, address)
		if err != nil {
			err = status.New(status.Unavailable, fmt.Sprintf("registry %s: %v", address, err)).WithCause(err)
			c.post(func() { c.dialing = false; c.failed(address, err) })
			return
		}
		s := &session{client: c, address: address, staging: newStaging(maxStaged), born: time.Now(), secure: isSecure(nc)}
		if !c.adopt(s, nc, wire.Announcement{Caller: caller}) {
			_ = nc.Close() // nobody has used it
			return
		}
		c.post(func() { c.dialing = false; c.connected(s) })
	})
}

// adopt makes nc a connection of the client, unless that is closed.
func (c *Client) adopt(s *session, nc net.Conn, announce wire.Announcement) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	s.conn = transport.NewClient(nc, c.cfg.Transport, announce, s) // its events wait for mu
	s.conn.SetSubscribed(true)
	c.conns[s] = struct{}{}
	return true
}

// connected takes a new connection into use.
func (c *Client) connected(s *session) {
	switch {
	case s.ended:
		c.failed(s.address, fmt.Errorf("registry %s: %w", s.address, s.conn.Err()))
		return
	case !c.wanted():
		c.drop(s)
		return
	case c.current == nil:
		c.current = s
	default:
		c.next = s
	}
	c.subscribe(s)
}

// drop closes a connection without waiting.
func (c *Client) drop(s *session) {
	s.ended = true // what still comes is not heard
	c.detach(s)
	c.spawn(s.conn.Close)
}

// detach takes a connection out of use; the next one takes its place.
func (c *Client) detach(s *session) {
	if c.current == s {
		c.current, c.next = c.next, nil
	}
	if c.next == s {
		c.next = nil
	}
}

// failed handles an attempt that came to nothing, and the end of a connection.
func (c *Client) failed(address string, err error) {
	c.later()
	c.mu.Lock()
	was := c.status
	c.status.Err = err
	c.status.Connected = c.current != nil && c.current.live
	if was.Connected && !c.status.Connected {
		c.status.AsOf = time.Now()
	}
	if !c.status.Connected {
		c.status.Address = address
	}
	connected := c.status.Connected
	c.mu.Unlock()
	if connected {
		return // another connection stands
	}
	c.cfg.Log.V(1).Info("registry unreachable", "address", address, "error", err.Error(), "attempts", c.failures)
	c.ambient(err)
}

// over handles the end of a connection.
func (c *Client) over(s *session, reason error) {
	c.mu.Lock()
	delete(c.conns, s)
	c.mu.Unlock()
	known := s == c.current || s == c.next
	if s.ended {
		return
	}
	s.ended = true
	if !known {
		return // not taken into use yet; connected will see it
	}
	c.detach(s)
	c.settled(s)
	text := fmt.Sprintf("registry %s: %v%s", s.address, reason, c.unanswered(s))
	c.failed(s.address, status.New(status.Unavailable, text).WithCause(reason))
}

// unanswered gives what to say with the end of a connection.
func (c *Client) unanswered(s *session) string {
	if s.live || c.cfg.Unanswered == nil {
		return ""
	}
	if hint := c.cfg.Unanswered(); hint != "" {
		return "; " + hint
	}
	return ""
}

// settled forgets earlier failures when a connection served for long enough.
func (c *Client) settled(s *session) {
	if s.live && time.Since(s.born) >= settledAfter {
		c.failures = 0
	}
}

// later plans the next attempt: full jitter over a window that doubles.
func (c *Client) later() {
	window := min(retryMax, retryBase<<min(c.failures, 10))
	c.failures++
	c.dialAt = time.Now().Add(time.Duration(c.cfg.Rand() % uint64(window)))
}

// breakOff ends a connection because of what came on it.
func (c *Client) breakOff(s *session, reason error) {
	if s.ended {
		return
	}
	// Whoever is refused tries again every few seconds, for as long as it runs.
	level, why := 0, strings.ReplaceAll(reason.Error(), s.address, "") // by every replica for the same
	if c.brokeOff == why && time.Since(c.brokeOffAt) < sayAgain {
		level = 1
	} else {
		c.brokeOff, c.brokeOffAt = why, time.Now()
	}
	c.cfg.Log.V(level).Info("connection to the registry given up", "address", s.address, "reason", reason.Error())
	c.drop(s)
	c.failed(s.address, reason)
}

// drains looks for another connection while this one still serves.
func (c *Client) drains(s *session) {
	if s.ended || s.draining {
		return
	}
	s.draining = true
	c.settled(s)
	c.later() // the only replica says so on each new connection, too
}

// resubscribe tells the registry what is wanted by now.
func (c *Client) resubscribe() {
	for _, s := range []*session{c.current, c.next} {
		switch {
		case s == nil:
		case !c.wanted():
			c.drop(s)
			c.setConnected(false)
		default:
			c.subscribe(s)
		}
	}
}

func (c *Client) setConnected(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.status.Connected != on {
		c.status.AsOf = time.Now()
	}
	c.status.Connected = on
}

// subscribe sends the whole subscription, one call at a time.
func (c *Client) subscribe(s *session) {
	if s.calling {
		s.dirty = true
		return
	}
	s.calling, s.dirty = true, false
	req := c.subscription()
	c.spawn(func() {
		token, missing := c.token(s)
		req.Token = token
		if c.cfg.Trust != nil && s.secure {
			req.Trust = c.cfg.Trust.Digest()
		}
		reply := new(SubscribeReply)
		err := withoutToken(c.call(s, MethodSubscribe, req, reply), missing)
		c.post(func() {
			s.token = token
			c.subscribed(s, reply, err)
		})
	})
}

func (c *Client) subscription() *SubscribeRequest {
	req := &SubscribeRequest{Identity: c.cfg.Identity, Features: c.cfg.Features, Version: c.cfg.RuntimeVersion}
	c.mu.Lock()
	req.Identity.Addresses = c.serving
	c.mu.Unlock()
	for key, s := range c.subs {
		want := Subscription{Service: key.Service, Role: key.Role, Again: s.again}
		if !s.againAt.IsZero() {
			s.askedAgain = time.Now()
		}
		s.again, s.againAt = false, time.Time{}
		s.told = policy.Digest{}
		if h := s.held; h != nil {
			want.Digest, want.Epoch, want.AsOf = h.digest, h.epoch, h.asOf
			want.Parts = h.snapshot.Parts
			s.told = h.digest
		}
		req.Services = append(req.Services, want)
	}
	slices.SortFunc(req.Services, func(a, b Subscription) int {
		return strings.Compare(a.Service+" "+string(a.Role), b.Service+" "+string(b.Role))
	})
	return req
}

// subscribed handles the answer to a Subscribe.
func (c *Client) subscribed(s *session, reply *SubscribeReply, err error) {
	s.calling = false
	if s.ended {
		return
	}
	if err != nil {
		hint := ""
		if status.CodeOf(err) == status.Unavailable {
			hint = c.unanswered(s)
		}
		c.breakOff(s, fmt.Errorf("registry %s: %w%s", s.address, err, hint))
		return
	}
	c.live(s, reply.Epoch)
	c.renewSoon()
	c.setSelf(reply.Self)
	for i := range reply.Refused {
		r := &reply.Refused[i]
		if sub := c.subs[ServiceRole{r.Service, r.Role}]; sub != nil {
			c.refused(sub, s, reply.Revision, r)
		}
	}
	c.renewAll(s)
	if s.dirty {
		c.subscribe(s)
	}
}

// live makes a connection that has answered the one in use.
func (c *Client) live(s *session, epoch string) {
	s.live = true
	if c.next == s {
		old := c.current
		c.current, c.next = s, nil
		if old != nil {
			c.drop(old)
		}
	}
	c.mu.Lock()
	c.status = Status{Address: s.address, Connected: true, AsOf: time.Now(), Epoch: epoch}
	c.mu.Unlock()
	if !s.draining {
		c.cfg.Log.V(1).Info("registry connected", "address", s.address, "epoch", epoch)
	}
}

func (c *Client) setSelf(self Self) {
	c.mu.Lock()
	same := c.hasSelf && c.self.Equal(self)
	c.self, c.hasSelf = self, true
	c.mu.Unlock()
	if !same && c.cfg.OnSelf != nil {
		c.cfg.OnSelf(self)
	}
}

// call makes a call to the registry, beside the loop.
func (c *Client) call(s *session, method string, req any, reply message) error {
	payload, err := encode(req)
	if err != nil {
		return status.New(status.Internal, err.Error()).WithCause(err)
	}
	result, err := s.conn.Do(c.ctx, time.Now().Add(callTimeout), &transport.Request{
		Path: Path, Method: method, Serialize: wire.SerializeMsgPack, Payload: payload,
		Timeout: callTimeout, Oneway: reply == nil,
	})
	if err != nil || reply == nil {
		return err
	}
	defer result.Release()
	if result.Header.Status() != wire.StatusNormal {
		return readError(&result)
	}
	return decode(result.Payload, method+"'s reply", reply)
}

// readError makes an error of a response that is one.
func readError(r *transport.Result) *status.Error {
	message, _ := r.Meta.Get(wire.KeyError)
	code := status.Unknown
	if value, ok := r.Meta.Get(wire.KeyCode); ok {
		if n, err := strconv.ParseUint(string(value), 10, 32); err == nil {
			code = status.FromNumber(n)
		}
	}
	return status.New(code, string(message)).WithFate(status.FateExecuted)
}
