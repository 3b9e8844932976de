// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Program server serves the arith example until it is interrupted, and then
// drains. It needs no registry:
//
//	go run ./examples/arith/server --listen 127.0.0.1:8972
//
// With a standalone control plane (fairlead serve) it joins a service there:
//
//	FAIRLEAD_REGISTRY=127.0.0.1:7443 go run ./examples/arith/server --listen 127.0.0.1:0 --service shop/arith
//
// In Kubernetes it needs no --service: the registry knows it by its Pod.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:8972", "host:port to serve at; port 0 takes any free one")
	service := flags.String("service", "", "join this service, NAMESPACE/NAME, at the registry in FAIRLEAD_REGISTRY")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var options []rpcruntime.ServerOption
	if *service != "" {
		if os.Getenv("FAIRLEAD_REGISTRY") == "" {
			return fmt.Errorf("--service %s needs a registry to join it at: set FAIRLEAD_REGISTRY to its host:port", *service)
		}
		options = append(options, rpcruntime.Service(*service), rpcruntime.Advertise(""))
	}

	rt, err := rpcruntime.New(rpcruntime.WithLogger(logr.FromSlogHandler(slog.NewTextHandler(stderr, nil))))
	if err != nil {
		return err
	}
	srv := rt.NewServer(options...)
	arith.Register(srv)
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "arith: serving at", ln.Addr())
	err = srv.Serve(ctx, ln) // the end of ctx starts the drain
	return errors.Join(err, rt.Close(context.WithoutCancel(ctx)))
}
