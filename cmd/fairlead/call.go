// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/codec"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

// callFlags are those of `fairlead call`.
type callFlags struct {
	registryFlags
	endpoint string
	metadata []string
	codec    string
}

func newCallCommand() *cobra.Command {
	var f callFlags
	cmd := &cobra.Command{
		Use:   "call SERVICE METHOD JSON [flags]",
		Short: "Calls a method, with JSON for the argument and the reply",
		Long: `Call makes one call as any program does: the registry says where the service is,
and its call policies say how long it may take and what is tried again. The
reply is printed as JSON; an error, with its code, goes to standard error.

SERVICE is namespace/name of an RPCService, or name in your namespace. METHOD is
PATH.METHOD. JSON is the argument; "-" reads it from standard input.

With --endpoint no registry is asked: the call goes to that address, which may
be any rpcx server, and SERVICE is only a label.
` + registryEnvironment + `
  FAIRLEAD_APP         the name under which you call, for limits by caller`,
		Example: `  fairlead call default/arith Arith.Mul '{"A": 6, "B": 7}'
  echo '{"A": 6, "B": 7}' | fairlead call arith Arith.Mul - --registry 127.0.0.1:7443
  fairlead call arith Arith.Mul '{"A": 6, "B": 7}' --endpoint 127.0.0.1:8972 --codec msgpack`,
		Args: exactly("SERVICE", "METHOD", "JSON"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0], args[1], args[2]) },
	}
	f.add(cmd, 10*time.Second, "how long it may take in all; the service's policy may allow less")
	flags := cmd.Flags()
	flags.StringVar(&f.endpoint, "endpoint", "", "call this address, host:port, and ask no registry")
	flags.StringArrayVar(&f.metadata, "metadata", nil, "KEY=VALUE to send along; may be given more than once")
	flags.StringVar(&f.codec, "codec", "json", "json or msgpack: what travels")
	return cmd
}

func (f *callFlags) run(cmd *cobra.Command, name, method, input string) error {
	md, err := f.check(cmd)
	if err != nil {
		return err
	}
	service, err := f.service(name)
	if err != nil {
		return err
	}
	if err := policy.ValidateMethodName(method); err != nil {
		return &usageError{err}
	}
	if !strings.Contains(method, ".") {
		return usageErrorf("method %q is not PATH.METHOD, such as Arith.Mul", method)
	}
	arg, err := readArgument(cmd.InOrStdin(), input)
	if err != nil {
		return err
	}
	ctx, cancel := f.bounded(cmd.Context())
	defer cancel()
	reply, err := f.call(rpcruntime.WithMetadata(ctx, md), service, method, arg)
	if err != nil {
		return explained(err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s\n", reply)
	return err
}

// check completes and checks the flags, and gives the metadata.
func (f *callFlags) check(cmd *cobra.Command) (rpcruntime.Metadata, error) {
	if f.endpoint != "" && cmd.Flags().Changed("registry") {
		return nil, usageErrorf("--endpoint and --registry exclude each other: an endpoint is called without asking a registry")
	}
	if err := f.complete(); err != nil {
		return nil, err
	}
	if f.endpoint == "" && len(f.addresses) == 0 {
		return nil, usageErrorf("where is the service? name a registry with --registry HOST:PORT or FAIRLEAD_REGISTRY, or the instance with --endpoint HOST:PORT")
	}
	if f.endpoint != "" {
		if err := policy.ValidateAddress(f.endpoint); err != nil {
			return nil, usageErrorf("--endpoint: %w", err)
		}
	}
	if err := oneOf("codec", f.codec, "json", "msgpack"); err != nil {
		return nil, err
	}
	md := rpcruntime.Metadata{}
	for _, entry := range f.metadata {
		key, value, ok := strings.Cut(entry, "=")
		if !ok || key == "" {
			return nil, usageErrorf("--metadata %q is not KEY=VALUE", entry)
		}
		md[key] = value
	}
	return md, nil
}

// call makes the call and gives the reply as JSON.
func (f *callFlags) call(ctx context.Context, service, method string, arg json.RawMessage) ([]byte, error) {
	options := []rpcruntime.RuntimeOption{
		rpcruntime.WithRegistry(f.addresses...), rpcruntime.WithNamespace(f.namespace),
		rpcruntime.WithCacheDir(""), // what is asked for is how things are now
	}
	var target []rpcruntime.ClientOption
	if f.endpoint != "" {
		options = append(options, rpcruntime.WithoutRegistry())
		target = append(target, rpcruntime.Endpoints(f.endpoint))
	}
	rt, err := rpcruntime.New(options...)
	if err != nil {
		return nil, &usageError{err}
	}
	defer func() { _ = rt.Close(ctx) }() // the outcome of the call is what counts
	if f.codec == "msgpack" {
		return callMsgPack(ctx, rt.NewClient(service, append(target, rpcruntime.WithCodec(codec.TypeMsgPack))...), method, arg)
	}
	var reply json.RawMessage
	client := rt.NewClient(service, append(target, rpcruntime.WithCodec(codec.TypeJSON))...)
	if err := rpcruntime.CallInto(ctx, client, method, arg, &reply); err != nil {
		return nil, err
	}
	if len(reply) == 0 {
		return []byte("null"), nil
	}
	return reply, nil
}

// callMsgPack sends what the JSON means, and gives what the reply means.
func callMsgPack(ctx context.Context, client *rpcruntime.Client, method string, arg json.RawMessage) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(arg))
	dec.UseNumber()
	var value, reply any
	if err := dec.Decode(&value); err != nil {
		return nil, &usageError{err}
	}
	if err := rpcruntime.CallInto(ctx, client, method, numbered(value), &reply); err != nil {
		return nil, err
	}
	out, err := json.Marshal(reply)
	if err != nil {
		return nil, fmt.Errorf("the call succeeded, but its reply cannot be shown as JSON: %w", err)
	}
	return out, nil
}

// numbered replaces the numbers of a decoded JSON value, which are texts, by
// what they say: integers as such, so that none loses digits.
func numbered(value any) any {
	switch v := value.(type) {
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
		return v.String() // too large for any number
	case map[string]any:
		for k := range v {
			v[k] = numbered(v[k])
		}
	case []any:
		for i := range v {
			v[i] = numbered(v[i])
		}
	}
	return value
}

// readArgument takes the argument from the command line, or from stdin for "-",
// and checks that it is one JSON value.
func readArgument(stdin io.Reader, input string) (json.RawMessage, error) {
	data := []byte(input)
	if input == "-" {
		var err error
		if data, err = io.ReadAll(stdin); err != nil {
			return nil, fmt.Errorf("reading standard input: %w", err)
		}
	}
	var value json.RawMessage
	err := json.Unmarshal(data, &value)
	if err == nil {
		return value, nil
	}
	line, column := position(data, err)
	return nil, usageErrorf(`the argument is not JSON: line %d, column %d: %w; a valid one is '{"A": 6, "B": 7}'`, line, column, err)
}

// position says where JSON went wrong, counted from 1.
func position(data []byte, err error) (line, column int) {
	offset := len(data)
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = min(max(int(syntax.Offset)-1, 0), len(data)) // it counts the byte that is wrong
	}
	before := data[:offset]
	return 1 + bytes.Count(before, []byte("\n")), offset - bytes.LastIndexByte(before, '\n')
}

// explained adds to the error of a call what is known beside its message.
func explained(err error) error {
	var e *status.Error
	if !errors.As(err, &e) {
		return err
	}
	var notes []string
	if e.Fate() == status.FateUnexecuted {
		notes = append(notes, "it was not executed")
	}
	if after := e.RetryAfter(); after > 0 {
		notes = append(notes, "try again after "+after.String())
	}
	if len(notes) == 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(notes, "; "))
}
