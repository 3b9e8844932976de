// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/fairlead/fairlead/bench/internal/child"
	"github.com/fairlead/fairlead/bench/internal/micro"
	"github.com/fairlead/fairlead/bench/internal/peer"
)

func main() {
	var o options
	var c childOptions
	o.flags(flag.CommandLine)
	c.flags(flag.CommandLine)
	flag.Parse()
	var err error
	switch {
	case flag.NArg() > 0:
		err = fmt.Errorf("%q is no flag: all arguments are flags", flag.Arg(0))
	case c.kind != "":
		err = c.be()
	default:
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		err = drive(ctx, o)
		stop()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// childOptions say what to be; the driver sets them.
type childOptions struct {
	kind, peer, address, registry, command, profile string
}

func (c *childOptions) flags(f *flag.FlagSet) {
	const own = "for this program's own use, as a child of itself: "
	f.StringVar(&c.kind, "child", "", own+"server, client or registry")
	f.StringVar(&c.peer, "child-peer", "", own+"name of the peer")
	f.StringVar(&c.address, "child-address", "", own+"host:port of the server")
	f.StringVar(&c.registry, "child-registry", "", own+"host:port of the registry")
	f.StringVar(&c.command, "child-command", "", own+"path of the fairlead command")
	f.StringVar(&c.profile, "child-profile", "", own+"file for a CPU profile")
}

// be is a child, until standard input ends.
func (c *childOptions) be() (err error) {
	signal.Ignore(os.Interrupt) // the driver gets it, too, and ends its children
	ctx := context.Background()
	switch {
	case c.kind == "registry":
		signal.Ignore(syscall.SIGTERM) // it has files to remove when its input ends
		return child.Registry(ctx, c.command, peer.Manifests, os.Stdin, os.Stdout)
	case strings.HasPrefix(c.kind, "micro-"):
		return micro.Child(ctx, c.kind, os.Stdin, os.Stdout)
	}
	p, err := peer.Find(c.peer)
	if err != nil {
		return err
	}
	stop, err := profile(c.profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	switch c.kind {
	case "server":
		return child.Serve(ctx, p, c.registry, os.Stdin, os.Stdout)
	case "client":
		return child.Call(ctx, p, peer.Setup{Address: c.address, Registry: c.registry}, os.Stdin, os.Stdout)
	}
	return fmt.Errorf("no child is called %q", c.kind)
}
