// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"slices"

	"github.com/fairlead/fairlead/bench/internal/child"
	"github.com/fairlead/fairlead/bench/internal/load"
	"github.com/fairlead/fairlead/bench/internal/peer"
	"github.com/fairlead/fairlead/bench/internal/result"
)

// fleet are the processes of a run.
type fleet struct {
	registry *child.Process // nil if Fairlead is not measured
	crews    []*crew
	others   strangers
}

// crew are the two processes of a peer.
type crew struct {
	peer           peer.Peer
	conns          int    // connections that its callers share
	tried          string // how conns was chosen; empty if there was no choice
	server, client *child.Process
	others         *strangers // of the fleet
}

// start starts the processes of these peers.
func start(ctx context.Context, o options, peers []string) (_ *fleet, err error) {
	f := new(fleet)
	defer func() {
		if err != nil {
			err = errors.Join(err, f.end())
		}
	}()
	registry := ""
	if slices.Contains(peers, result.Fairlead) {
		if f.registry, err = child.Start(ctx, "the registry", "-child=registry", "-child-command="+o.fairlead); err != nil {
			return f, err
		}
		hello, err := f.registry.Hello()
		if err != nil {
			return f, err
		}
		registry = hello.Address
	}
	for _, name := range peers {
		p, err := peer.Find(name)
		if err != nil {
			return f, err
		}
		c := &crew{peer: p, conns: 1, others: &f.others}
		f.crews = append(f.crews, c)
		if err := c.start(ctx, o, registry); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (c *crew) start(ctx context.Context, o options, registry string) error {
	args := func(kind, address string) []string {
		a := []string{"-child=" + kind, "-child-peer=" + c.peer.Name, "-child-registry=" + registry, "-child-address=" + address}
		if o.profile != "" && c.peer.Name == result.Fairlead {
			a = append(a, "-child-profile="+o.profile+"."+kind+".pprof")
		}
		return a
	}
	var err error
	if c.server, err = child.Start(ctx, c.peer.Name+"'s server", args("server", "")...); err != nil {
		return err
	}
	hello, err := c.server.Hello()
	if err != nil {
		return err
	}
	if c.client, err = child.Start(ctx, c.peer.Name+"'s client", args("client", hello.Address)...); err != nil {
		return err
	}
	_, err = c.client.Hello()
	return err
}

// end ends all processes, clients first.
func (f *fleet) end() error {
	var errs []error
	end := func(p *child.Process) {
		if p != nil {
			errs = append(errs, p.End())
		}
	}
	for _, c := range f.crews {
		end(c.client)
		end(c.server)
	}
	end(f.registry)
	return errors.Join(errs...)
}

func (f *fleet) crew(name string) *crew {
	for _, c := range f.crews {
		if c.peer.Name == name {
			return c
		}
	}
	return nil
}

// measured is what one ask gave, with what both processes spent.
type measured struct {
	child.Answer
	seconds float64
	// perCall are of both processes, by call that succeeded.
	perCall struct{ cpu, mallocs, bytes float64 }
}

// measure has the client do what is asked, and looks at the server before and after.
func (c *crew) measure(ask child.Ask) (measured, error) {
	ask.Conns = c.conns
	before, err := c.server.Ask(child.Ask{Op: child.Settle})
	if err != nil {
		return measured{}, err
	}
	c.others.begin()
	answer, err := c.client.Ask(ask)
	if err != nil {
		return measured{}, err
	}
	after, err := c.server.Ask(child.Ask{Op: child.Look})
	if err != nil {
		return measured{}, err
	}
	c.others.end(after.Used.CPU - before.Used.CPU + answer.Spent.CPU)
	m := measured{Answer: answer, seconds: ask.Duration.Seconds()}
	spent := after.Used.Since(before.Used)
	spent.CPU += answer.Spent.CPU
	spent.Mallocs += answer.Spent.Mallocs
	spent.Bytes += answer.Spent.Bytes
	m.share(spent, float64(ask.WarmUp)/float64(ask.Duration))
	return m, nil
}

// share shares what was spent among the calls. An open loop warms up at the same
// rate, for so many times its duration, and does not count the calls of that.
func (m *measured) share(spent load.Usage, warm float64) {
	if m.Calls == 0 {
		return // the errors tell it
	}
	calls := float64(m.Calls) * (1 + warm)
	m.perCall.cpu = float64(spent.CPU) / calls
	m.perCall.mallocs = float64(spent.Mallocs) / calls
	m.perCall.bytes = float64(spent.Bytes) / calls
}
