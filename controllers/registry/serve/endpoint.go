// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fairlead/fairlead/internal/compile"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/metrics"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// Config sets up an Endpoint.
type Config struct {
	// Address to listen on, host:port.
	Address string
	// Insecure allows an address that is not loopback.
	Insecure bool
	// DrainTimeout bounds the drain; 0 means 10 s.
	DrainTimeout time.Duration
	// Listening, if not nil, is told of the address once it is open.
	Listening func(net.Addr)
	// Metrics is where counters are registered.
	Metrics prometheus.Registerer
	// Log gets what happens. The zero Logger discards.
	Log logr.Logger
}

// Endpoint serves the registry.
type Endpoint struct {
	cfg Config
	// observer counts what the runtime that serves does.
	observer *metrics.Metrics
	// service is nil while nothing is served.
	service atomic.Pointer[publish.Service]
}

// New makes an Endpoint. It opens nothing.
func New(cfg Config) (*Endpoint, error) {
	if err := Check(cfg.Address, cfg.Insecure); err != nil {
		return nil, err
	}
	if cfg.DrainTimeout <= 0 {
		cfg.DrainTimeout = 10 * time.Second
	}
	e := &Endpoint{cfg: cfg, observer: metrics.New()}
	for _, c := range []prometheus.Collector{newClients(e), e.observer} {
		if err := cfg.Metrics.Register(c); err != nil {
			return nil, fmt.Errorf("registry: %w", err)
		}
	}
	return e, nil
}

// Moved says that what is known of subscribers may have changed.
func (e *Endpoint) Moved() {
	if s := e.service.Load(); s != nil {
		s.RefreshSelf()
	}
}

// Serve serves a store until ctx ends, and drains. selfOf gives what is known of
// a subscriber.
func (e *Endpoint) Serve(ctx context.Context, store *publish.Store, selfOf func(compile.Identity) compile.Self) error {
	runtime, err := rpcruntime.New(rpcruntime.WithoutRegistry(), rpcruntime.WithCacheDir(""), rpcruntime.WithLogger(e.cfg.Log),
		rpcruntime.WithObserver(e.observer))
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	e.observer.Attach(runtime)
	server := runtime.NewServer(rpcruntime.DrainTimeout(e.cfg.DrainTimeout))
	service := publish.NewService(publish.ServiceConfig{Store: store, SelfOf: asRegistry(selfOf), Log: e.cfg.Log})
	service.Mount(server)
	e.service.Store(service)
	defer e.service.Store(nil)

	err = e.listenAndServe(ctx, server)
	service.Close()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	return errors.Join(err, runtime.Close(closing))
}

func (e *Endpoint) listenAndServe(ctx context.Context, server *rpcruntime.Server) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", e.cfg.Address)
	if err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	if host, _, err := net.SplitHostPort(e.cfg.Address); err == nil && !Loopback(host) {
		e.cfg.Log.Info("WARNING: the registry can be reached from other machines, and its connections are neither encrypted nor "+
			"authenticated: whoever reaches it can read which services there are and where", "address", listener.Addr().String())
	}
	if e.cfg.Listening != nil {
		e.cfg.Listening(listener.Addr())
	}
	return server.Serve(ctx, listener)
}

// asRegistry puts what is known of subscribers into the registry's words.
func asRegistry(selfOf func(compile.Identity) compile.Self) func(registry.Identity, net.Addr) registry.Self {
	return func(who registry.Identity, _ net.Addr) registry.Self {
		known := selfOf(compile.Identity{Namespace: who.Namespace, PodUID: who.PodUID, Addresses: who.Addresses})
		self := registry.Self{Namespace: known.Namespace, Pod: known.Pod, Zone: known.Zone}
		for _, s := range known.Serves {
			self.Serves = append(self.Serves, registry.Serving{Service: s.Service, Port: strconv.Itoa(int(s.Port))})
		}
		return self
	}
}
