// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// fleet is the processes that the demo has started, and their files. Its methods
// are for the one goroutine of the steps, save surprises.
type fleet struct {
	self     []string
	folder   string
	patience time.Duration

	plane    *process
	registry string // host:port, once the control plane has said it
	servers  map[string]*process
	// generation counts the starts under each name, for the names of files.
	generation map[string]int
	all        []*process

	mu    sync.Mutex // guards what follows
	ended error      // the first process that ended unasked
}

func newFleet(cfg *Config, folder string) *fleet {
	return &fleet{self: cfg.Self, folder: folder, patience: cfg.Plan.Patience, servers: map[string]*process{}, generation: map[string]int{}}
}

func (f *fleet) path(name string) string { return filepath.Join(f.folder, name) }

// start starts a process under a name that may have been used before. Its
// standard output goes to stdout, if that is not nil, else to its log.
func (f *fleet) start(name string, stdout io.Writer, args ...string) (*process, error) {
	f.generation[name]++
	log := f.path(fmt.Sprintf("%s-%d.log", strings.ReplaceAll(name, " ", "-"), f.generation[name]))
	p, err := startProcess(name, append(slices.Clone(f.self), args...), f.environment(), log, stdout, f.surprise)
	if err != nil {
		return nil, err
	}
	f.all = append(f.all, p)
	return p, nil
}

// environment is what an instance is told in a cluster, too: which registry.
func (f *fleet) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "FAIRLEAD_") })
	return append(env, "FAIRLEAD_NAMESPACE="+namespace, "FAIRLEAD_REGISTRY="+f.registry)
}

func (f *fleet) surprise(p *process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended == nil {
		f.ended = fmt.Errorf("%s (pid %d) ended by itself: %s", p.name, p.pid(), p.cmd.ProcessState)
	}
}

// trouble is what makes waiting pointless: a process that ended unasked.
func (f *fleet) trouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ended
}

// startPlane starts the control plane and waits until it serves. The first start
// takes any free port; later ones take the same again.
func (f *fleet) startPlane(ctx context.Context) error {
	listen := f.registry
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	p, err := f.start("control plane", nil, roleControlPlane, "--manifests", f.path("manifests"), "--state", f.path("state"), "--listen", listen)
	if err != nil {
		return err
	}
	f.plane = p
	return f.wait(ctx, "the control plane to say where it serves", func() bool {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return false
		}
		_, rest, _ := strings.Cut(string(text), "FAIRLEAD_REGISTRY=")
		address, _, complete := strings.Cut(rest, "\n")
		if complete {
			f.registry = address
		}
		return complete
	})
}

// startServer starts the server of that name. It is of use once its pid is seen
// in answers.
func (f *fleet) startServer(name string) (*process, error) {
	p, err := f.start("server "+name, nil, roleServer, "--name", name, "--ledger", f.path(f.ledgerOf(name, f.generation["server "+name]+1)))
	if err != nil {
		return nil, err
	}
	f.servers[name] = p
	return p, nil
}

// startCaller starts the process that c speaks to.
func (f *fleet) startCaller(c *caller, rate int) (err error) {
	c.process, err = f.start("caller", c, roleCaller, "--rate", strconv.Itoa(rate), "--cache", f.path("cache"))
	return err
}

func (f *fleet) ledgerOf(name string, generation int) string {
	return fmt.Sprintf("server-%s-%d.ledger", name, generation)
}

// ran reads what the present process of that name has noted.
func (f *fleet) ran(name string) (map[string]int, error) {
	return readLedger(f.path(f.ledgerOf(name, f.generation["server "+name])))
}

// wait polls until the condition holds. It gives up when patience, ctx or a
// process has ended.
func (f *fleet) wait(ctx context.Context, what string, holds func() bool) error {
	end := time.Now().Add(f.patience)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if holds() {
			return nil
		}
		if err := f.trouble(); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %s in vain for %s", f.patience, what)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end ends every process and waits until they are gone.
func (f *fleet) end() {
	for _, p := range f.all {
		p.wanted.Store(true)
		_ = p.stdin.Close() // ends it, as the end of this process would
	}
	for _, p := range f.all {
		_ = p.kill() // which can fail only for what is gone
	}
}
