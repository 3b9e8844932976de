// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/fairlead/fairlead/internal/manifest"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime"
)

// DefaultListen is where the registry is served if nothing else is said.
const DefaultListen = "127.0.0.1:7443"

// Config sets up a standalone control plane.
type Config struct {
	// Manifests is a folder of manifests, or one file. Required.
	Manifests string
	// Listen is host:port; empty means DefaultListen, port 0 any free port.
	Listen string
	// State is the folder for what outlives the process; empty means one in the
	// user's cache folder, which depends on Manifests.
	State string
	// InsecureBind allows addresses other than loopback. Nothing is encrypted,
	// and nobody is asked who they are.
	InsecureBind bool
	// Verbose logs what the registry's parts log by themselves, too.
	Verbose bool
	// Out gets what is printed at the start, Log one line for each event.
	Out, Log io.Writer

	now func() time.Time // nil: time.Now
}

// UsageError is a Config that cannot be.
type UsageError struct{ err error }

// Error says what is wrong and what to do.
func (e *UsageError) Error() string { return e.err.Error() }

// Unwrap gives what is wrong.
func (e *UsageError) Unwrap() error { return e.err }

// drainTimeout bounds the end: callers keep what they have, so there is little
// to wait for.
const drainTimeout = 3 * time.Second

// Run serves until ctx ends, and returns when nothing of it runs any more: nil,
// or why it could not serve. What is wrong with manifests is no reason to end.
func Run(ctx context.Context, cfg Config) error {
	if cfg.now == nil {
		cfg.now = time.Now
	}
	log := &journal{w: cfg.Log, now: cfg.now, verbose: cfg.Verbose}
	address, loopback, err := resolve(ctx, cmp.Or(cfg.Listen, DefaultListen), cfg.InsecureBind)
	if err != nil {
		return err
	}
	if !loopback {
		log.line("warning: %s is reachable from other machines, nothing is encrypted and nobody is asked who they are", address)
	}
	if _, err := os.Stat(cfg.Manifests); err != nil { // before anything is made for them
		return &UsageError{fmt.Errorf("manifests: %w", err)}
	}
	if cfg.State == "" {
		if cfg.State, err = defaultStateDir(cfg.Manifests); err != nil {
			return err
		}
	}
	dir, err := openStateDir(cfg.State)
	if err != nil {
		return err
	}
	defer dir.close()
	saved, damaged, err := dir.load()
	if err != nil {
		return err
	}
	if damaged != nil {
		log.problem("%v; it was put aside, and a new state is begun: instances have to register again", damaged)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("%w; name another address with --listen", err)
	}
	p := newPlane(saved, dir, log, cfg.now)
	return serve(ctx, &cfg, p, ln)
}

// serve runs everything that runs, and ends it in order.
func serve(ctx context.Context, cfg *Config, p *plane, ln net.Listener) error {
	options := []rpcruntime.RuntimeOption{rpcruntime.WithRegistry()} // whatever the environment says of another one
	if cfg.Verbose {
		options = append(options, rpcruntime.WithLogger(p.log.logger("runtime")))
	}
	rt, err := rpcruntime.New(options...)
	if err != nil {
		p.store.Close()
		_ = ln.Close() // nobody was served
		return err
	}
	srv := rt.NewServer(rpcruntime.Service(), rpcruntime.DrainTimeout(drainTimeout))
	service := publish.NewService(publish.ServiceConfig{
		Store: p.store, SelfOf: p.selfOf, Registrar: registrar{p}, Log: p.log.logger("registry"),
	})
	service.Mount(srv)
	p.self, p.clients = service.RefreshSelf, service.Clients
	from := manifest.Options{Revision: p.revision}
	go p.run() // close waits for it

	watching, stopWatching := context.WithCancel(ctx)
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	read := make(chan struct{}) // closed after the first reading
	watched, served := make(chan error, 1), make(chan error, 1)
	go func() { watched <- p.follow(watching, cfg.Manifests, from, read) }()
	go func() {
		select { // those who connect meanwhile wait, instead of being sent away
		case <-read:
		case <-serving.Done():
		}
		served <- srv.Serve(serving, ln)
	}()
	err = wait(ctx, cfg, p, ln.Addr(), watched, served)
	stopWatching()
	service.Close() // before the connections end: their instances are not lost
	stopServing()
	err = errors.Join(err, <-served, <-watched)
	p.close()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	return errors.Join(err, rt.Close(closing))
}

// follow takes in the manifests and their changes until ctx ends. An error is
// about the path.
func (p *plane) follow(ctx context.Context, path string, from manifest.Options, read chan<- struct{}) error {
	var first sync.Once
	err := manifest.Watch(ctx, path, from, func(set manifest.Set, findings []manifest.Finding) {
		_, _ = p.do(func(now time.Time) { p.setFiles(now, set, findings) }) // what cannot be saved now is saved later
		first.Do(func() { close(read) })
	})
	if err != nil {
		return &UsageError{err}
	}
	return nil
}

// wait says when serving has begun, and waits for the end: of ctx, or of what
// must not end. It leaves the channels with a value.
func wait(ctx context.Context, cfg *Config, p *plane, addr net.Addr, watched, served chan error) error {
	ready := p.ready
	for {
		select {
		case <-ready:
			ready = nil
			p.banner(cfg, addr)
		case <-ctx.Done():
			p.log.line("stopping: programs keep what they know, instances their leases")
			return nil
		case err := <-watched:
			watched <- nil
			return err
		case err := <-served:
			served <- nil
			return err
		}
	}
}
