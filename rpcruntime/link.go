// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/balancer"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

const (
	// dialTimeout bounds one dial, all addresses of the endpoint together.
	dialTimeout = 3 * time.Second
	// dialPause is the least time between two dials of one endpoint, however
	// many calls want it.
	dialPause = 50 * time.Millisecond
)

// linkKey says when two clients can share a connection: the same address, the
// same callee expected there, and the same TLS.
type linkKey struct {
	addresses, to, podUID string
	secure                secure
}

// link is the connection to one endpoint, made when first needed and replaced
// when it broke. All clients of the runtime share it.
//
// Invariant: conn is nil or was made by this link; it is replaced only once it
// is shut.
type link struct {
	rt        *Runtime
	key       linkKey
	addresses []string

	conn       atomic.Pointer[transport.ClientConn]
	bulk, wide second // see there

	mu    sync.Mutex // guards what follows
	users map[*endpoint]struct{}
	// retired: the last user has left; nothing is dialled any more.
	retired bool
	// drained are the connections on which the callee said drain, until they end.
	drained map[*transport.ClientConn]struct{}
	dial    *dialing // under way; nil when none
	// failed is the last dial that failed, at failedAt.
	failed   error
	failedAt time.Duration
}

// dialing is a dial under way, shared by all that wait for it.
type dialing struct {
	done chan struct{} // closed when conn or err is set
	conn *transport.ClientConn
	err  error
}

// endpoint is what a Client attaches to its balancer.EndpointState.
type endpoint struct {
	client *Client
	state  *balancer.EndpointState
	link   atomic.Pointer[link]
}

// join returns the link to an endpoint, shared with whoever has it already.
func (rt *Runtime) join(e *endpoint, to string, ep *policy.Endpoint) {
	key := linkKey{strings.Join(ep.Addresses, " "), to, ep.PodUID, e.client.opts.secure}
	rt.mu.Lock()
	l := rt.links[key]
	if l == nil {
		l = &link{rt: rt, key: key, addresses: ep.Addresses, users: map[*endpoint]struct{}{}, drained: map[*transport.ClientConn]struct{}{}}
		l.bulk.what, l.wide.what = "large messages", "many calls"
		rt.links[key] = l
	}
	l.mu.Lock()
	l.users[e] = struct{}{}
	l.subscribeLocked(l.conns()...)
	if c := l.conn.Load(); c != nil && !c.Shut() {
		e.state.Connected()
		if c.Draining() {
			e.state.Drain()
		}
	}
	l.mu.Unlock()
	rt.mu.Unlock()
	e.link.Store(l)
}

// leave gives the link up; the last to do so ends its connection once the calls
// on it have ended.
func (rt *Runtime) leave(e *endpoint) {
	l := e.link.Load()
	if l == nil {
		return
	}
	rt.mu.Lock()
	l.mu.Lock()
	delete(l.users, e)
	l.subscribeLocked(l.conns()...)
	unused := len(l.users) == 0
	if unused && rt.links[l.key] == l {
		delete(rt.links, l.key)
	}
	l.retired = l.retired || unused
	l.mu.Unlock()
	rt.mu.Unlock()
	if unused {
		rt.goroutines.Go(l.retire)
	}
}

// retire drains the connections of a link that nobody uses.
func (l *link) retire() {
	l.mu.Lock()
	dials := []*dialing{l.dial, l.bulk.dial, l.wide.dial}
	l.mu.Unlock()
	for _, d := range dials {
		if d != nil {
			<-d.done
		}
	}
	l.drainConns(l.rt.closing)
}

// drainConns drains what connections there are.
func (l *link) drainConns(ctx context.Context) {
	var all sync.WaitGroup
	for _, c := range l.conns() {
		all.Go(func() { c.Drain(ctx) })
	}
	all.Wait()
}

// conns returns the connections that there are.
func (l *link) conns() []*transport.ClientConn {
	var conns []*transport.ClientConn
	for _, p := range l.places() {
		if c := p.Load(); c != nil {
			conns = append(conns, c)
		}
	}
	return conns
}

// places are where the connections stand, the first one first.
func (l *link) places() [3]*atomic.Pointer[transport.ClientConn] {
	return [...]*atomic.Pointer[transport.ClientConn]{&l.conn, &l.bulk.conn, &l.wide.conn}
}

// get returns a connection that takes calls, dialling if there is none.
func (l *link) get(ctx context.Context, deadline time.Time) (*transport.ClientConn, error) {
	if c := l.conn.Load(); c != nil && !c.Shut() {
		return c, nil
	}
	d, err := l.startDial()
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, status.Convert(ctx.Err()).WithFate(status.FateUnexecuted)
	case <-timer.C:
		return nil, status.Errorf(status.DeadlineExceeded, "no connection to %s before the deadline", l.key.addresses).WithFate(status.FateUnexecuted)
	}
}

// startDial joins the dial under way or starts one, unless one has just failed.
func (l *link) startDial() (*dialing, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dial != nil {
		return l.dial, nil
	}
	if c := l.conn.Load(); c != nil && !c.Shut() { // made while we came here
		d := &dialing{done: make(chan struct{}), conn: c}
		close(d.done)
		return d, nil
	}
	if l.retired || l.rt.closing.Err() != nil {
		return nil, unmade("the endpoint is not used any more")
	}
	if l.failed != nil && l.rt.now()-l.failedAt < dialPause {
		return nil, l.failed
	}
	d := &dialing{done: make(chan struct{})}
	l.dial = d
	l.rt.goroutines.Go(func() { l.run(d) })
	return d, nil
}

// run dials, and tells everybody how it went.
func (l *link) run(d *dialing) {
	d.conn, d.err = l.connect()
	l.mu.Lock()
	l.dial = nil
	l.failed, l.failedAt = d.err, l.rt.now()
	if d.err == nil {
		l.conn.Store(d.conn)
		l.subscribeLocked(d.conn)
	}
	for e := range l.users {
		if d.err == nil {
			e.state.Connected()
		} else {
			e.state.DialFailed(l.rt.now(), rand.Uint64())
		}
	}
	l.mu.Unlock()
	if d.err == nil && d.conn.Shut() {
		l.Ended(d.conn, d.conn.Err()) // it ended before it was stored
	}
	if d.err != nil {
		for _, e := range l.endpoints() {
			e.client.endpointFailed()
		}
	}
	close(d.done)
}

// connect tries the endpoint's addresses in order of preference.
func (l *link) connect() (*transport.ClientConn, error) {
	ctx, cancel := context.WithTimeout(l.rt.closing, dialTimeout)
	defer cancel()
	var errs []error
	for _, address := range l.addresses {
		nc, err := l.rt.opts.dial(ctx, address)
		if err == nil && l.key.secure.on {
			nc, err = l.key.secure.handshake(ctx, nc, address)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		announce := wire.Announcement{Caller: l.rt.opts.env.caller(), To: l.key.to, UID: l.key.podUID}
		return transport.NewClient(nc, l.rt.transportConfig(), announce, l), nil
	}
	return nil, unmade(plainDialError(errors.Join(errs...)))
}

// unmade is the error of a connection that could not be made.
func unmade(why string) *status.Error {
	return status.New(status.Unavailable, why).WithFate(status.FateUnexecuted).WithReason(transport.ReasonUnsent)
}

// plainDialError leaves out of a dial's error what the reader knows already.
func plainDialError(err error) string {
	var handshake *handshakeError
	if errors.As(err, &handshake) {
		return strings.ReplaceAll(err.Error(), "\n", "; ") // one line for each address
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return strings.TrimPrefix(op.Err.Error(), "connect: ")
	}
	return fmt.Sprint(err)
}

// Draining is called by the connection's reader.
func (l *link) Draining(c *transport.ClientConn) {
	l.mu.Lock()
	l.drained[c] = struct{}{}
	l.mu.Unlock()
	for _, e := range l.endpoints() {
		e.state.Drain()
	}
}

// Ended is called by the connection's reader.
func (l *link) Ended(c *transport.ClientConn, reason error) {
	all := l.places()
	places := all[:]
	l.mu.Lock()
	_, drained := l.drained[c]
	delete(l.drained, c)
	l.mu.Unlock()
	if !slices.ContainsFunc(places, func(p *atomic.Pointer[transport.ClientConn]) bool { return p.CompareAndSwap(c, nil) }) {
		return
	}
	l.mu.Lock()
	last := len(l.conns()) == 0
	refused := last && isRefusal(reason)
	if refused { // the next would be too
		l.failed, l.failedAt = unmade(refusedCertificate(l.key.addresses, reason)), l.rt.now()
	}
	if !last && drained && len(l.drained) == 0 {
		for e := range l.users { // it was idle; the others are not sent away
			e.state.Undrain()
		}
	}
	l.mu.Unlock()
	if !last {
		return // the others speak for the endpoint
	}
	for _, e := range l.endpoints() {
		e.state.Disconnected()
		if drained || refused {
			// It is about to close its listener, and what connects in that moment
			// may be lost without anybody knowing whether it ran.
			e.state.DialFailed(l.rt.now(), rand.Uint64())
		}
		e.client.evidenceLost()
	}
}

func (l *link) endpoints() []*endpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	users := make([]*endpoint, 0, len(l.users))
	for e := range l.users {
		users = append(users, e)
	}
	return users
}
