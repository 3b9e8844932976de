// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package publish

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/status"
	"github.com/fairlead/fairlead/rpcruntime/transport"
	"github.com/fairlead/fairlead/rpcruntime/wire"
)

// front is a server that has the registry only: what rpcruntime.Server does with
// Mount, without listeners, so that it runs over pipes and in virtual time.
type front struct {
	service *Service
	calls   sync.WaitGroup
}

func (f *front) Announced(*transport.ServerConn, *wire.Announcement) {}
func (f *front) Closed(*transport.ServerConn, error)                 {}

func (f *front) Request(in *transport.Inbound) {
	in.Keep()
	f.calls.Add(1)
	go func() {
		defer f.calls.Done()
		reply, err := f.handle(in.Conn, string(in.Method), in.Payload)
		if err != nil {
			in.Fail(status.Convert(err), wire.Retry{Word: wire.RetryExecuted}, nil, nil)
			return
		}
		payload, err := codec.MsgPack{}.Append(nil, reply)
		if err != nil {
			panic(err)
		}
		in.Respond(nil, payload, wire.CompressNone)
	}()
}

func (f *front) handle(conn *transport.ServerConn, method string, payload []byte) (any, error) {
	switch method {
	case registry.MethodSubscribe:
		req := new(registry.SubscribeRequest)
		if err := (codec.MsgPack{}).Decode(payload, req); err != nil {
			return nil, status.New(status.InvalidArgument, err.Error())
		}
		return f.service.Subscribe(context.Background(), conn, req)
	case registry.MethodRenew:
		req := new(registry.RenewRequest)
		if err := (codec.MsgPack{}).Decode(payload, req); err != nil {
			return nil, status.New(status.InvalidArgument, err.Error())
		}
		return f.service.Renew(context.Background(), conn, req)
	case registry.MethodAck:
		req := new(registry.AckRequest)
		if err := (codec.MsgPack{}).Decode(payload, req); err != nil {
			return nil, status.New(status.InvalidArgument, err.Error())
		}
		f.service.Ack(conn, req)
		return nil, nil
	case registry.MethodRegister:
		req := new(registry.RegisterRequest)
		if err := (codec.MsgPack{}).Decode(payload, req); err != nil {
			return nil, status.New(status.InvalidArgument, err.Error())
		}
		return f.service.Register(conn, req)
	}
	return nil, status.New(status.Unimplemented, method)
}

// pipes is a network of addresses, each with a front or with nobody.
type pipes struct {
	count  *atomic.Int64 // of the bytes that clients read, if not nil
	secure bool          // connections look like those of TLS
	mu     sync.Mutex
	fronts map[string]*front
	conns  map[string][]*transport.ServerConn
}

func (p *pipes) dial(_ context.Context, address string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.fronts[address]
	if f == nil {
		return nil, errors.New("connection refused")
	}
	ours, theirs := net.Pipe()
	p.conns[address] = append(p.conns[address], transport.NewServer(theirs, transport.Config{}, f, nil))
	if p.secure {
		return secureConn{ours}, nil
	}
	if p.count != nil {
		return &countedConn{ours, p.count}, nil
	}
	return ours, nil
}

// secureConn is a connection that says of itself what one of TLS says.
type secureConn struct{ net.Conn }

func (secureConn) ConnectionState() tls.ConnectionState { return tls.ConnectionState{} }

type countedConn struct {
	net.Conn
	read *atomic.Int64
}

func (c *countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func (p *pipes) last(address string) *transport.ServerConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conns[address][len(p.conns[address])-1]
}

// cut ends the connections to an address, where others may be made.
func (p *pipes) cut(address string) {
	p.mu.Lock()
	f := p.fronts[address]
	p.mu.Unlock()
	p.serve(address, nil)
	p.serve(address, f)
}

// serve puts a front at an address; nil takes it away and cuts its connections.
func (p *pipes) serve(address string, f *front) {
	p.mu.Lock()
	if p.fronts == nil {
		p.fronts, p.conns = make(map[string]*front), make(map[string][]*transport.ServerConn)
	}
	p.fronts[address] = f
	var cut []*transport.ServerConn
	if f == nil {
		cut, p.conns[address] = p.conns[address], nil
	}
	p.mu.Unlock()
	for _, c := range cut {
		c.Close()
	}
}

func (p *pipes) drain(address string) {
	p.mu.Lock()
	conns := p.conns[address]
	p.conns[address] = nil
	p.mu.Unlock()
	for _, c := range conns {
		c.Drain(time.Second, 5*time.Second)
	}
}

// stack is a store, its service and its front.
type stack struct {
	store   *Store
	service *Service
	front   *front
	// seen is the highest number published, once that is done.
	seen atomic.Uint64
}

func newStack(t *testing.T, cfg StoreConfig, registrar Registrar) *stack {
	t.Helper()
	if cfg.Epoch == "" {
		cfg.Epoch = "epoch-1"
	}
	s := new(stack)
	if cfg.Seen == nil {
		cfg.Seen = func() policy.AsOf { return asOf(s.seen.Load()) }
	}
	s.store = NewStore(cfg)
	s.service = NewService(ServiceConfig{Store: s.store, Registrar: registrar, SelfOf: func(i registry.Identity, _ net.Addr) registry.Self {
		return registry.Self{Namespace: i.Namespace, Zone: "a"}
	}})
	s.front = &front{service: s.service}
	return s
}

func (s *stack) close() {
	s.service.Close()
	s.store.Close()
	s.front.calls.Wait()
}

// asOf says that n objects were changed, and all of them seen.
func asOf(n uint64) policy.AsOf {
	return policy.NewAsOf(policy.KindRevision{Kind: "Thing", Changed: n, Seen: n})
}

// shape is what a test wants a service to be.
type shape struct {
	endpoints map[string]policy.EndpointState
	timeout   time.Duration
	overlays  map[string]time.Duration
	burst     int32
	// consumers are all when nil.
	consumers []string
}

func layer(step policy.Step, namespace string, timeout time.Duration) policy.Layer {
	return policy.Layer{
		Step: step, Source: policy.Source{Kind: "RPCCallPolicy", Namespace: namespace, Name: "p", Generation: 1},
		Fields: policy.CallFields{Timeout: &timeout},
	}
}

func (s shape) parts(t testing.TB) []policy.Part {
	t.Helper()
	var endpoints []policy.Endpoint
	for id, state := range s.endpoints {
		endpoints = append(endpoints, policy.Endpoint{ID: id, Addresses: []string{"10.0.0.1:80"}, State: state})
	}
	must := func(p policy.Part, err error) policy.Part {
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	methods := policy.Methods{Declared: []policy.Method{{Name: "A.B", Idempotent: true}}}
	parts := []policy.Part{
		must(policy.EncodeEndpoints(endpoints)),
		must(policy.EncodeOwner(methods, []policy.Layer{layer(policy.StepOwnerService, "shop", s.timeout)})),
		must(policy.EncodeLimits(methods, []policy.Limit{{Source: policy.Source{Namespace: "shop", Name: "l"}, Name: "x",
			Rate: &policy.Rate{Count: 1, Interval: time.Second}, Burst: s.burst}})),
	}
	for namespace, timeout := range s.overlays {
		parts = append(parts, must(policy.EncodeOverlay(namespace, []policy.Layer{layer(policy.StepCallerService, namespace, timeout)})))
	}
	return parts
}

func (s *stack) publish(t testing.TB, service string, n uint64, sh shape) {
	t.Helper()
	if err := s.store.Publish(Change{Service: service, Parts: sh.parts(t), AsOf: asOf(n), Consumers: sh.consumers}); err != nil {
		t.Fatal(err)
	}
	s.seen.Store(max(n, s.seen.Load()))
}

func (s *stack) remove(service string, n uint64) {
	s.store.Remove(service, asOf(n))
	s.seen.Store(max(n, s.seen.Load()))
}

// recorder is a Watcher that keeps what it is told.
type recorder struct {
	mu     sync.Mutex
	events []string
	last   *policy.Snapshot
	origin registry.Origin
	err    error
}

func (r *recorder) Changed(s *policy.Snapshot, origin registry.Origin) {
	r.add("changed "+origin.String(), func() { r.last, r.origin = s, origin })
}

func (r *recorder) Invalid(err error) {
	r.add("invalid "+status.CodeOf(err).String(), func() { r.err = err })
}
func (r *recorder) Ambient(err error) { r.add("ambient", func() { r.err = err }) }

func (r *recorder) add(event string, f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, event)
	f()
}

// take gives the events since the last time, repeated ones once.
func (r *recorder) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	events, last := "", ""
	for _, e := range r.events {
		if e != last {
			if events != "" {
				events += ", "
			}
			events += e
		}
		last = e
	}
	r.events = nil
	return events
}

func (r *recorder) snapshot() *policy.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

func (r *recorder) problem() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func describe(s *policy.Snapshot) string {
	if s == nil {
		return "nothing"
	}
	text := ""
	for _, e := range s.Endpoints {
		text += fmt.Sprintf("%s=%d ", e.ID, e.State)
	}
	return text + "timeout " + s.Effective("A.B").Timeout.String()
}

type netAddr = net.Addr
