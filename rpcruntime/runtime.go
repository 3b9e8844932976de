// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/internal/buffer"
	"github.com/fairlead/fairlead/rpcruntime/internal/wheel"
	"github.com/fairlead/fairlead/rpcruntime/registry"
	"github.com/fairlead/fairlead/rpcruntime/transport"
)

// Runtime owns what the clients and servers of a process share: the registry
// watch, connections, deadlines, codecs, counters. A process needs one. All
// methods are safe for concurrent use.
type Runtime struct {
	opts     runtimeOptions
	log      logr.Logger
	observer Observer
	codecs   *codec.Set
	counters *transport.Counters
	wheel    *wheel.Wheel
	// processors is how many goroutines run at once.
	processors int
	start      time.Time
	registry   *registry.Client // nil without one

	// closing ends when the runtime closes for good.
	closing context.Context // it bounds goroutines, not a call
	cut     context.CancelFunc
	// goroutines are dials and retirements; Close waits for them.
	goroutines sync.WaitGroup

	mu      sync.Mutex // guards what follows
	links   map[linkKey]*link
	serving []string // addresses of our servers, as the registry is told
	servers []*Server
	clients []*Client
	closed  bool
}

// New returns a runtime. The environment and mounted files say where the
// registry is and who we are; options go before them. It touches no network.
// docs/operations.md lists the environment.
func New(opts ...RuntimeOption) (*Runtime, error) {
	o := runtimeOptions{env: readEnvironment(), observer: noObserver{}, dial: dialTCP}
	for _, opt := range opts {
		opt.applyRuntime(&o)
	}
	if err := o.env.check(); err != nil {
		return nil, err
	}
	if o.noRegistry {
		o.env.registry = nil
	}
	rt := &Runtime{
		opts: o, log: o.log, observer: o.observer, codecs: cmp.Or(o.codecs, codec.New()),
		counters: new(transport.Counters), wheel: wheel.New(), start: time.Now(), links: map[linkKey]*link{}, processors: runtime.GOMAXPROCS(0),
	}
	rt.closing, rt.cut = context.WithCancel(context.Background())
	rt.openRegistry()
	return rt, nil
}

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "tcp", address)
}

// now is the runtime's monotonic clock.
func (rt *Runtime) now() time.Duration { return time.Since(rt.start) }

func (rt *Runtime) transportConfig() transport.Config {
	return transport.Config{
		Limits: rt.opts.limits, Wheel: rt.wheel, Log: rt.log, Counters: rt.counters, HeartbeatInterval: rt.opts.heartbeat,
	}
}

// Counters returns what the runtime's connections count. They go on counting.
func (rt *Runtime) Counters() *transport.Counters { return rt.counters }

// ServerStats returns the sum of the figures of the runtime's servers.
func (rt *Runtime) ServerStats() ServerStats {
	rt.mu.Lock()
	servers := slices.Clone(rt.servers)
	rt.mu.Unlock()
	var sum ServerStats
	for _, srv := range servers {
		s := srv.Stats()
		sum.Connections += s.Connections
		sum.MaxConnections += s.MaxConnections
		sum.Calls += s.Calls
		sum.MaxCalls += s.MaxCalls
		sum.RequestBytes += s.RequestBytes
		sum.MaxRequestBytes += s.MaxRequestBytes
	}
	return sum
}

// addServer makes the runtime the owner of s, unless it has been closed.
func (rt *Runtime) addServer(s *Server) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.closed {
		return false
	}
	rt.servers = append(rt.servers, s)
	return true
}

// addClient is addServer for a client.
func (rt *Runtime) addClient(c *Client) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.closed {
		return false
	}
	rt.clients = append(rt.clients, c)
	return true
}

func (rt *Runtime) isClosed() bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	return rt.closed
}

func (rt *Runtime) removeClient(c *Client) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.clients = slices.DeleteFunc(slices.Clone(rt.clients), func(other *Client) bool { return other == c })
}

func (rt *Runtime) removeServer(s *Server) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	rt.servers = slices.DeleteFunc(slices.Clone(rt.servers), func(other *Server) bool { return other == s })
}

// ErrRuntimeClosed is the error of calls on a runtime that was closed.
var ErrRuntimeClosed = errors.New("rpcruntime: the runtime has been closed")

// Close drains the servers, then the clients, then leaves the registry, and
// waits until nothing of the runtime is left. The end of ctx cuts what is not
// done by then. Calling it again does nothing.
func (rt *Runtime) Close(ctx context.Context) error {
	rt.mu.Lock()
	if rt.closed {
		rt.mu.Unlock()
		return nil
	}
	rt.closed = true
	servers, clients := rt.servers, rt.clients
	rt.mu.Unlock()

	var errs []error
	var all sync.WaitGroup
	results := make([]error, len(servers))
	for i, s := range servers {
		all.Go(func() { results[i] = s.Drain(ctx) })
	}
	all.Wait()
	errs = append(errs, results...)
	stop := context.AfterFunc(ctx, rt.cutLinks)
	defer stop()
	for _, c := range clients {
		all.Go(c.close)
	}
	all.Wait()
	if rt.registry != nil {
		rt.registry.Close()
	}
	rt.goroutines.Wait()
	rt.cut()
	rt.wheel.Close()
	return errors.Join(errs...)
}

// cutLinks ends every connection of the clients at once, and lets no more be made.
func (rt *Runtime) cutLinks() {
	rt.cut()
	rt.mu.Lock()
	links := slices.Collect(maps.Values(rt.links))
	rt.mu.Unlock()
	for _, l := range links {
		l.drainConns(rt.closing)
	}
}

// maxEncodedKept is the size from which the transport keeps a payload after the
// call returned, so that its buffer must not be lent again.
const maxEncodedKept = 64 << 10

// encodeBuffer lends a buffer to encode a message into.
func encodeBuffer() *buffer.Buffer { return buffer.Get(1 << 10) }

// freeEncoded takes the buffer of an encoded message back, if there is one and
// nobody holds it.
func freeEncoded(b *buffer.Buffer) {
	if b != nil && len(b.B) < maxEncodedKept {
		b.Free()
	}
}
