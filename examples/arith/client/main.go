// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Program client calls the arith example once and prints the reply:
//
//	go run ./examples/arith/client --addr 127.0.0.1:8972 --codec json --method Arith.Mul --a 6 --b 7
//
// With --service it asks the registry in FAIRLEAD_REGISTRY where the instances
// are, and how they are to be called.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "client:", err)
		os.Exit(1)
	}
}

// command is what the command line asks for.
type command struct {
	addr, service string
	codec         string
	method        string
	a, b          int
	text          string
	timeout       time.Duration
}

func parse(args []string, stderr io.Writer) (*command, error) {
	var c command
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.addr, "addr", "", "host:port of a server; default 127.0.0.1:8972 without --service")
	flags.StringVar(&c.service, "service", "", "NAMESPACE/NAME of a service in the registry at FAIRLEAD_REGISTRY, instead of --addr")
	flags.StringVar(&c.codec, "codec", "msgpack", "json, msgpack, protobuf or raw")
	flags.StringVar(&c.method, "method", "", "method to call; default Arith.Mul, and Arith.Echo with --codec raw")
	flags.IntVar(&c.a, "a", 6, "argument A")
	flags.IntVar(&c.b, "b", 7, "argument B")
	flags.StringVar(&c.text, "text", "hello", "payload with --codec raw")
	flags.DurationVar(&c.timeout, "timeout", 5*time.Second, "how long to wait in all")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return &c, c.complete()
}

// complete fills in what depends on other flags.
func (c *command) complete() error {
	switch {
	case c.addr != "" && c.service != "":
		return errors.New("--addr and --service exclude each other: give one")
	case c.addr == "" && c.service == "":
		c.addr = "127.0.0.1:8972"
	}
	if _, err := codecNamed(c.codec); err != nil {
		return err
	}
	if c.method == "" {
		c.method = arith.Mul
		if c.codec == "raw" {
			c.method = arith.Echo
		}
	}
	return nil
}

func codecNamed(name string) (codec.Type, error) {
	for _, t := range []codec.Type{codec.TypeJSON, codec.TypeMsgPack, codec.TypeProtobuf, codec.TypeRaw} {
		if t.String() == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("--codec %q is none of json, msgpack, protobuf, raw", name)
}

// run makes the call that args ask for.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if err != nil {
		return err
	}
	rt, err := rpcruntime.New()
	if err != nil {
		return err
	}
	t, err := codecNamed(c.codec)
	if err != nil {
		return err
	}
	options := []rpcruntime.ClientOption{rpcruntime.WithCodec(t)}
	service := c.service
	if service == "" {
		service = "arith"
		options = append(options, rpcruntime.Endpoints(c.addr))
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	err = c.call(ctx, rt.NewClient(service, options...), stdout)
	return errors.Join(err, rt.Close(ctx))
}

func (c *command) call(ctx context.Context, client *rpcruntime.Client, stdout io.Writer) error {
	if c.codec == "raw" {
		reply, err := rpcruntime.Call[[]byte](ctx, client, c.method, []byte(c.text))
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s %q = %q\n", c.method, c.text, *reply)
		return nil
	}
	reply, err := rpcruntime.Call[arith.Reply](ctx, client, c.method, &arith.Args{A: c.a, B: c.b})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s %d %d = %d\n", c.method, c.a, c.b, reply.C)
	return nil
}
