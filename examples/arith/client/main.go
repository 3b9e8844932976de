// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Program client calls the arith example and prints the reply:
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
	"strconv"
	"strings"
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
	codec         codec.Type
	method        string
	a, b          int
	text          string
	size          int
	timeout       time.Duration
	n, push       int
	oneway, gzip  bool
	heartbeat     time.Duration
	token         string
	tls           arith.TLSFiles
	tlsName       string
}

func parse(args []string, stderr io.Writer) (*command, error) {
	var c command
	flags := flag.NewFlagSet("client", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&c.addr, "addr", "", "host:port of a server; default 127.0.0.1:8972 without --service")
	flags.StringVar(&c.service, "service", "", "NAMESPACE/NAME of a service in the registry at FAIRLEAD_REGISTRY, instead of --addr")
	named := flags.String("codec", "msgpack", "json, msgpack, protobuf or raw")
	flags.StringVar(&c.method, "method", "", "method to call; default Arith.Mul, and Arith.Echo with --codec raw")
	flags.IntVar(&c.a, "a", 6, "argument A")
	flags.IntVar(&c.b, "b", 7, "argument B")
	flags.StringVar(&c.text, "text", "hello", "payload with --codec raw")
	flags.IntVar(&c.size, "size", 0, "with --codec raw: repeat the text to this many bytes")
	flags.DurationVar(&c.timeout, "timeout", 5*time.Second, "how long to wait in all")
	flags.IntVar(&c.n, "n", 1, "how many calls to make, one after the other")
	flags.BoolVar(&c.oneway, "oneway", false, "want no answer: nothing is heard of the call but that it was sent")
	flags.BoolVar(&c.gzip, "gzip", false, "compress what is larger than 1,024 bytes")
	flags.DurationVar(&c.heartbeat, "heartbeat", 0, "after how much silence a heartbeat is sent, while a call takes its time; default 15s")
	flags.IntVar(&c.push, "push", 0, "after the calls, wait for so many pushes and print them")
	flags.StringVar(&c.token, "token", "", "token to send with each call")
	c.tls.Flags(flags, "PEM file with the authorities to trust; use TLS")
	flags.StringVar(&c.tlsName, "tls-name", "", "name in the server's certificate; default the host of --addr")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q is no flag: all arguments are flags, such as --addr", flags.Arg(0))
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "heartbeat" && c.heartbeat == 0 {
			c.heartbeat = -1 // it was asked for
		}
	})
	return &c, c.complete(*named)
}

// complete checks what was given and fills in what depends on other flags.
func (c *command) complete(codecName string) (err error) {
	if c.codec, err = codecNamed(codecName); err != nil {
		return err
	}
	switch raw := c.codec == codec.TypeRaw; {
	case c.addr != "" && c.service != "":
		return errors.New("--addr and --service exclude each other: give one")
	case c.n < 1:
		return fmt.Errorf("--n %d: at least one call is needed", c.n)
	case c.push < 0:
		return fmt.Errorf("--push %d: how many pushes are to be waited for?", c.push)
	case c.heartbeat < 0:
		return errors.New("--heartbeat must be above 0, such as 500ms")
	case c.size < 0 || c.size > 0 && (!raw || c.text == ""):
		return errors.New("--size is how many bytes of --text to send, with --codec raw")
	}
	if c.addr == "" && c.service == "" {
		c.addr = "127.0.0.1:8972"
	}
	if c.method == "" {
		c.method = arith.Mul
		if c.codec == codec.TypeRaw {
			c.method = arith.Echo
		}
	}
	if c.size > 0 {
		c.text = strings.Repeat(c.text, c.size/len(c.text)+1)[:c.size]
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

// options turns the command into the options of a client.
func (c *command) options(pushes chan<- *rpcruntime.Push) ([]rpcruntime.ClientOption, error) {
	options := []rpcruntime.ClientOption{rpcruntime.WithCodec(c.codec)}
	if c.service == "" {
		options = append(options, rpcruntime.Endpoints(c.addr))
	}
	if c.token != "" {
		options = append(options, rpcruntime.WithToken(rpcruntime.StaticToken(c.token)))
	}
	if c.gzip {
		options = append(options, rpcruntime.WithCompression(codec.CompressGzip))
	}
	if c.push > 0 {
		options = append(options, rpcruntime.PushTo(pushes, rpcruntime.PushDropNewest))
	}
	cfg, err := c.tls.Client(c.tlsName)
	if err != nil {
		return nil, err
	}
	if cfg != nil {
		options = append(options, rpcruntime.WithTLS(cfg))
	}
	return options, nil
}

// run makes the calls that args ask for.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	c, err := parse(args, stderr)
	if err != nil {
		return err
	}
	pushes := make(chan *rpcruntime.Push, c.push) // more are not waited for
	options, err := c.options(pushes)
	if err != nil {
		return err
	}
	var runtimeOptions []rpcruntime.RuntimeOption
	if c.heartbeat > 0 {
		runtimeOptions = append(runtimeOptions, rpcruntime.WithHeartbeat(c.heartbeat))
	}
	rt, err := rpcruntime.New(runtimeOptions...)
	if err != nil {
		return err
	}
	service := c.service
	if service == "" {
		service = "arith"
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	client := rt.NewClient(service, options...)
	for n := 0; n < c.n && err == nil; n++ {
		err = c.call(ctx, client, stdout)
	}
	if err == nil {
		err = c.await(ctx, pushes, stdout)
	}
	return errors.Join(err, rt.Close(ctx))
}

// await prints the pushes as they come.
func (c *command) await(ctx context.Context, pushes <-chan *rpcruntime.Push, stdout io.Writer) error {
	for n := range c.push {
		select {
		case p := <-pushes:
			fmt.Fprintf(stdout, "push %s.%s %q\n", p.Path, p.Method, p.Payload)
		case <-ctx.Done():
			return fmt.Errorf("of %d pushes, %d came: %w", c.push, n, ctx.Err())
		}
	}
	return nil
}

func (c *command) call(ctx context.Context, client *rpcruntime.Client, stdout io.Writer) error {
	var arg any = &arith.Args{A: c.a, B: c.b}
	shown := fmt.Sprintf("%d %d", c.a, c.b)
	if c.codec == codec.TypeRaw {
		arg, shown = []byte(c.text), clipped(c.text)
	}
	switch {
	case c.oneway:
		if err := rpcruntime.Oneshot(ctx, client, c.method, arg); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s %s sent\n", c.method, shown)
	case c.codec == codec.TypeRaw:
		reply, err := rpcruntime.Call[[]byte](ctx, client, c.method, arg)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s %s = %s\n", c.method, shown, clipped(string(*reply)))
	default:
		reply, err := rpcruntime.Call[arith.Reply](ctx, client, c.method, arg)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s %s = %d\n", c.method, shown, reply.C)
	}
	return nil
}

// clipped is text in quotes, if need be only its start.
func clipped(text string) string {
	if len(text) <= 64 {
		return strconv.Quote(text)
	}
	return fmt.Sprintf("%q... (%d bytes)", text[:16], len(text))
}
