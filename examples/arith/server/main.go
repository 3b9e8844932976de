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
// A token, TLS, a gateway for HTTP and JSON-RPC, and pushes are added by flags:
// see README.md.
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
	"github.com/fairlead/fairlead/rpcruntime/gateway"
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

// settings are what the command line asks for.
type settings struct {
	listen, service string
	token           string
	tls             arith.TLSFiles
	plaintext       bool
	gateway, push   bool
}

func parse(args []string, stderr io.Writer) (*settings, error) {
	var s settings
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&s.listen, "listen", "127.0.0.1:8972", "host:port to serve at; port 0 takes any free one")
	flags.StringVar(&s.service, "service", "", "join this service, NAMESPACE/NAME, at the registry in FAIRLEAD_REGISTRY")
	flags.StringVar(&s.token, "token", "", "serve only calls that carry this token")
	s.tls.Flags(flags, "PEM file with the authorities of callers, who then must show a certificate")
	flags.BoolVar(&s.plaintext, "also-plaintext", false, "with TLS: serve callers without it, too, on the same port")
	flags.BoolVar(&s.gateway, "gateway", false, "serve HTTP (the X-RPCX-* headers) and JSON-RPC 2.0 (POST /jsonrpc) on the same port")
	flags.BoolVar(&s.push, "push", false, "after each call, push a message to the caller")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	switch given := givenFlags(flags); {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%q is no flag: all arguments are flags, such as --listen", flags.Arg(0))
	case given["token"] && s.token == "":
		return nil, errors.New("--token is empty: a server that wants no token is one without the flag")
	case s.service != "" && os.Getenv("FAIRLEAD_REGISTRY") == "":
		return nil, fmt.Errorf("--service %s needs a registry to join it at: set FAIRLEAD_REGISTRY to its host:port", s.service)
	case s.plaintext && s.tls.Cert == "":
		return nil, errors.New("--also-plaintext is for servers with TLS: add --tls-cert and --tls-key, or remove it")
	}
	return &s, nil
}

func givenFlags(flags *flag.FlagSet) map[string]bool {
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
}

// options turns the settings into those of a server.
func (s *settings) options(log *slog.Logger) ([]rpcruntime.ServerOption, error) {
	var options []rpcruntime.ServerOption
	if s.service != "" {
		options = append(options, rpcruntime.Service(s.service), rpcruntime.Advertise(""))
	}
	if s.token != "" {
		options = append(options, rpcruntime.Authenticate(arith.RequireToken(s.token)))
	}
	cfg, err := s.tls.Server()
	if err != nil {
		return nil, err
	}
	if cfg != nil {
		options = append(options, rpcruntime.ServerTLS(cfg))
	}
	if s.plaintext {
		options = append(options, rpcruntime.AlsoPlaintext())
	}
	if s.gateway {
		options = append(options, rpcruntime.WithProtocol(gateway.New(gateway.Options{JSONRPCPath: "/jsonrpc", Logger: logr.FromSlogHandler(log.Handler())})))
	}
	if s.push {
		options = append(options, rpcruntime.ServerIntercept(arith.PushAfterEachCall(log)))
	}
	return options, nil
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	options, err := s.options(log)
	if err != nil {
		return err
	}
	rt, err := rpcruntime.New(rpcruntime.WithLogger(logr.FromSlogHandler(log.Handler())))
	if err != nil {
		return err
	}
	srv := rt.NewServer(options...)
	arith.Register(srv)
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", s.listen)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "arith: serving at", ln.Addr())
	err = srv.Serve(ctx, ln) // the end of ctx starts the drain
	return errors.Join(err, rt.Close(context.WithoutCancel(ctx)))
}
