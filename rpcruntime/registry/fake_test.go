// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// fake is a registry that does what a test tells it, over pipes.
type fake struct {
	t *testing.T

	mu    sync.Mutex
	down  bool
	dials []time.Time
	conns []*fakeConn
	// answer gives the reply to a Subscribe; nil accepts everything.
	answer func(*SubscribeRequest) (*SubscribeReply, error)
	// register gives the answer to a Register; nil refuses.
	register func(*RegisterRequest) (*RegisterReply, error)
	// secure makes connections look like those of TLS.
	secure   bool
	renews   []string
	subs     []*SubscribeRequest
	acks     []AckRequest
	ackTimes []time.Time
	regs     []RegisterRequest
	regTimes []time.Time
}

// fakeConn is one connection, and the source of its pushes.
type fakeConn struct {
	address string
	conn    *transport.ServerConn
	mu      sync.Mutex
	out     [][]byte
}

func (c *fakeConn) Next() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.out
	c.out = nil
	return out
}

func (f *fake) dial(_ context.Context, address string) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials = append(f.dials, time.Now())
	if f.down {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	c := &fakeConn{address: address, conn: transport.NewServer(theirs, transport.Config{}, f, nil)}
	c.conn.SetSource(c)
	c.conn.SetSubscribed(true)
	f.conns = append(f.conns, c)
	if f.secure {
		return secureConn{ours}, nil
	}
	return ours, nil
}

// secureConn is a connection that says of itself what one of TLS says.
type secureConn struct{ net.Conn }

func (secureConn) ConnectionState() tls.ConnectionState { return tls.ConnectionState{} }

func (f *fake) Announced(*transport.ServerConn, *wire.Announcement) {}
func (f *fake) Closed(*transport.ServerConn, error)                 {}

// Request answers at once: refusing is what the reader may do, so answers that
// succeed come from a goroutine.
func (f *fake) Request(in *transport.Inbound) {
	in.Keep()
	go func() {
		reply, err := f.handle(string(in.Method), in.Payload)
		if err != nil {
			in.Fail(status.Convert(err), wire.Retry{Word: wire.RetryExecuted}, nil, nil)
			return
		}
		payload, err := encode(reply)
		if err != nil {
			panic(err)
		}
		in.Respond(nil, payload, wire.CompressNone)
	}()
}

func (f *fake) handle(method string, payload []byte) (any, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch method {
	case MethodSubscribe:
		req := new(SubscribeRequest)
		if err := decode(payload, method, req); err != nil {
			return nil, err
		}
		f.subs = append(f.subs, req)
		if f.answer != nil {
			return f.answer(req)
		}
		return &SubscribeReply{Epoch: "e1"}, nil
	case MethodAck:
		req := new(AckRequest)
		err := decode(payload, method, req)
		f.acks, f.ackTimes = append(f.acks, *req), append(f.ackTimes, time.Now())
		return nil, err
	case MethodRenew:
		req := new(RenewRequest)
		if err := decode(payload, method, req); err != nil {
			return nil, err
		}
		f.renews = append(f.renews, req.Token)
		return new(RenewReply), nil
	case MethodRegister:
		req := new(RegisterRequest)
		if err := decode(payload, method, req); err != nil {
			return nil, err
		}
		f.regs, f.regTimes = append(f.regs, *req), append(f.regTimes, time.Now())
		if f.register != nil {
			return f.register(req)
		}
	}
	return nil, status.New(status.Unimplemented, "not here")
}

// push sends messages on the last connection, and waits until they are handled.
func (f *fake) push(messages ...Push) {
	f.t.Helper()
	var frames [][]byte
	for _, m := range messages {
		b, err := EncodePush(m)
		if err != nil {
			f.t.Fatal(err)
		}
		frames = append(frames, b)
	}
	f.pushRaw(f.last(), frames...)
}

func (f *fake) pushRaw(c *fakeConn, frames ...[]byte) {
	c.mu.Lock()
	c.out = append(c.out, frames...)
	c.mu.Unlock()
	c.conn.Wake()
	synctest.Wait()
}

// frameOf is a push of any kind and payload.
func frameOf(kind string, payload []byte) []byte {
	b := wire.Begin(nil, wire.RequestHeader(0, wire.SerializeMsgPack, true), PushPath, kind)
	return b.Payload(payload)
}

func (f *fake) last() *fakeConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.conns) == 0 {
		f.t.Fatal("nobody has connected")
	}
	return f.conns[len(f.conns)-1]
}

// set changes what the fake does.
func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// cut ends all connections.
func (f *fake) cut() {
	f.mu.Lock()
	conns := slices.Clone(f.conns)
	f.mu.Unlock()
	for _, c := range conns {
		c.conn.Close()
	}
	synctest.Wait()
}

// lastSub gives the last Subscribe's only subscription.
func (f *fake) lastSub() Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.subs) == 0 || len(f.subs[len(f.subs)-1].Services) == 0 {
		f.t.Fatal("no subscription came")
	}
	return f.subs[len(f.subs)-1].Services[0]
}

func (f *fake) count(what func() int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return what()
}

// bubble runs a test in virtual time with a fake registry and a client of it.
func bubble(t *testing.T, cfg Config, run func(t *testing.T, f *fake, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{t: t}
		cfg.Dial = f.dial
		if cfg.Addresses == nil {
			cfg.Addresses = []string{"reg:1"}
		}
		cfg.Identity.Namespace = "web"
		c := New(cfg)
		run(t, f, c)
		c.Close()
		f.cut()
	})
}

// service makes the parts of a service, as a caller gets them.
func service(t testing.TB, timeout time.Duration, endpoints ...string) []policy.Part {
	t.Helper()
	var list []policy.Endpoint
	for _, id := range endpoints {
		list = append(list, policy.Endpoint{ID: id, Addresses: []string{"10.0.0.1:80"}})
	}
	e, err := policy.EncodeEndpoints(list)
	if err != nil {
		t.Fatal(err)
	}
	o, err := policy.EncodeOwner(policy.Methods{}, []policy.Layer{{
		Step: policy.StepOwnerService, Source: policy.Source{Name: "p"}, Fields: policy.CallFields{Timeout: &timeout},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return []policy.Part{e, o}
}

const arith = "shop/arith"

func at(n uint64) policy.AsOf { return policy.AsOf{{Kind: "Thing", Changed: n, Seen: n}} }

// state is what a registry pushes for a service in full.
func state(parts []policy.Part, asOf policy.AsOf) []Push {
	var pushes []Push
	for i := range parts {
		f := full(parts[i])
		f.Service = arith
		pushes = append(pushes, &f)
	}
	change := changeOf(parts...)
	change.Service, change.Epoch, change.AsOf, change.Revision = arith, "e1", asOf, 1
	return append(pushes, change)
}

// note is one call of a watcher.
type note struct {
	what   string
	origin Origin
	snap   *policy.Snapshot
	err    error
}

type notes struct {
	mu   sync.Mutex
	list []note
}

func (n *notes) add(x note) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = append(n.list, x)
}

func (n *notes) Changed(s *policy.Snapshot, o Origin) {
	n.add(note{what: "changed", snap: s, origin: o})
}
func (n *notes) Invalid(err error) { n.add(note{what: "invalid", err: err}) }
func (n *notes) Ambient(err error) { n.add(note{what: "ambient", err: err}) }

// take gives what came since the last time.
func (n *notes) take() []note {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.list
	n.list = nil
	return list
}

// one gives the only note that came, which must be of that kind.
func (n *notes) one(t *testing.T, what string) note {
	t.Helper()
	list := n.take()
	if len(list) != 1 || list[0].what != what {
		t.Fatalf("got %+v, want one %s", list, what)
	}
	return list[0]
}

func (n *notes) none(t *testing.T) {
	t.Helper()
	if list := n.take(); len(list) != 0 {
		t.Fatalf("got %+v, want nothing", list)
	}
}

// pause lets virtual time pass, and waits until all is quiet. What the test read
// of the fake before is read before what comes then.
func (f *fake) pause(d time.Duration) {
	f.set(func() {})
	time.Sleep(d)
	synctest.Wait()
}
