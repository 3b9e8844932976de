// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/explain"
	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// endpointsFlags are those of `fairlead endpoints`.
type endpointsFlags struct {
	objectFlags
	registryFlags
	output string
}

func newEndpointsCommand() *cobra.Command {
	var f endpointsFlags
	cmd := &cobra.Command{
		Use:   "endpoints SERVICE [flags]",
		Short: "Shows the endpoints of a service, and why one is not used",
		Long: `Endpoints asks the registry for a service, as a caller does, and shows what it
says: the digest of all that a caller in your namespace gets, how fresh that is,
and each endpoint with its zone, its state, and why it is not used.

  Ready      takes calls
  Draining   is on its way out, and used only while none is ready
  Suspect    has not been heard of; callers use it only as far as they have
             reasons of their own to trust it

Without a registry, or with -f, --kubeconfig or --context, it compiles API
objects as the operator does, and also shows what callers are not told of:

  Out        is terminating and no longer serving
  Skipped    stands in an EndpointSlice, and no endpoint can be made of it

SERVICE is namespace/name of an RPCService, or name in your namespace.
` + objectEnvironment + "\n" + registryEnvironment,
		Example: `  fairlead endpoints default/arith --registry 127.0.0.1:7443
  fairlead endpoints shop/arith --context production
  fairlead endpoints arith -n shop -o json`,
		Args: exactly("SERVICE"),
		RunE: f.run,
	}
	f.objectFlags.add(cmd)
	f.registryFlags.add(cmd, 5*time.Second, "how long to wait for the registry, or for the API server")
	cmd.Flags().Lookup("namespace").Usage = namespaceUsage
	cmd.Flags().StringVarP(&f.output, "output", "o", "text", "text or json")
	return cmd
}

func (f *endpointsFlags) run(cmd *cobra.Command, args []string) error {
	if err := oneOf("output", f.output, "text", "json"); err != nil {
		return err
	}
	objects := f.folder != "" || f.kubeconfig != "" || f.objectFlags.context != ""
	if objects && len(f.addresses) > 0 {
		return usageErrorf("--registry asks the registry, and -f, --kubeconfig and --context read API objects: give one")
	}
	if err := f.check(); err != nil {
		return err
	}
	named := f.namespace
	if err := f.complete(); err != nil {
		return err
	}
	ctx, cancel := f.bounded(cmd.Context())
	defer cancel()
	var found *serviceView
	var err error
	if f.here.Registry() && !objects {
		found, err = f.ofRegistry(ctx, args[0])
	} else {
		found, err = f.ofObjects(ctx, args[0], named)
	}
	if err != nil {
		return err
	}
	if f.output == "json" {
		return writeJSON(cmd.OutOrStdout(), found)
	}
	return found.WriteText(cmd.OutOrStdout())
}

func (f *endpointsFlags) ofRegistry(ctx context.Context, name string) (*serviceView, error) {
	service, err := f.service(name)
	if err != nil {
		return nil, err
	}
	return lookUp(ctx, service, &f.registryFlags)
}

// ofObjects reads a folder or a cluster; named is the namespace of the command
// line.
func (f *endpointsFlags) ofObjects(ctx context.Context, name, named string) (*serviceView, error) {
	if f.folder != "" {
		key, err := keyOf(name, orDefault(named))
		if err != nil {
			return nil, err
		}
		world, err := explain.ReadFolder(f.folder)
		if err != nil {
			return nil, err
		}
		return world.Endpoints(key, time.Now())
	}
	cluster, namespace, err := f.connect()
	if errors.Is(err, explain.ErrNoCluster) {
		return nil, usageErrorf("which registry, or which cluster? name one with --registry HOST:PORT or FAIRLEAD_REGISTRY, " +
			"or the other with --kubeconfig or KUBECONFIG")
	}
	if err != nil {
		return nil, err
	}
	if named != "" {
		namespace = named
	}
	key, err := keyOf(name, namespace)
	if err != nil {
		return nil, err
	}
	world, err := cluster.Endpoints(ctx, key)
	if err != nil {
		return nil, err
	}
	return world.Endpoints(key, time.Now())
}

// serviceView is what is said of a service, as JSON.
type serviceView = explain.Endpoints

// lookUp subscribes to a service until the registry has said what it is.
func lookUp(ctx context.Context, service string, from *registryFlags) (*serviceView, error) {
	cfg := registry.Config{Identity: registry.Identity{Namespace: from.namespace}, RuntimeVersion: version}
	from.here.Configure(&cfg, nil, logr.Discard())
	client := registry.New(cfg)
	defer client.Close()
	w := &lookup{left: max(len(from.addresses), 1), found: make(chan *policy.Snapshot, 1), failed: make(chan error, 1)}
	stop := client.Watch(service, policy.Caller, w)
	defer stop()
	select {
	case s := <-w.found:
		return explain.EndpointsOf(s, client.Status().Address, time.Now()), nil
	case err := <-w.failed:
		return nil, err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("%s did not answer within %s", client.Status(), from.timeout)
		}
		return nil, ctx.Err()
	}
}

// lookup takes the first outcome that settles the question. Its methods run on
// the client's goroutine.
type lookup struct {
	// left are the addresses that have not failed yet.
	left int
	// Both have room for one; the first outcome counts.
	found  chan *policy.Snapshot
	failed chan error
}

// Changed is an answer. There is no cache that it could have come from.
func (l *lookup) Changed(s *policy.Snapshot, _ registry.Origin) {
	select {
	case l.found <- s:
	default:
	}
}

// Invalid is an answer, too.
func (l *lookup) Invalid(err error) { l.fail(err) }

// Ambient is an answer when all addresses have failed.
func (l *lookup) Ambient(err error) {
	if l.left--; l.left <= 0 {
		l.fail(err)
	}
}

func (l *lookup) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}
