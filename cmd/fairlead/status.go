// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/explain"
	"github.com/fairlead/fairlead/internal/publish"
)

// statusFlags are those of `fairlead status`.
type statusFlags struct {
	objectFlags
	registryFlags
	operator operatorFlags
	all      bool
	output   string
}

func newStatusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [SERVICE...] [flags]",
		Short: "Shows how services stand: endpoints, clients, digest, age",
		Long: `Status shows, for each RPCService of your namespace or for those that are named:
whether it is ready, its endpoints (ready out of those that are not terminating),
its clients (those that hold what is served, out of all), the digest of what
callers in the service's own namespace are served, and its age. What is out of
order follows below.

Readiness and endpoints are what the operator wrote into the status, and clients
what its replicas know now; the digest is compiled here. With -f all of it is, and nobody counts clients. With
--registry, or where there is no cluster and FAIRLEAD_REGISTRY is set, the registry
is asked, as a caller in your namespace: it lists no services, so they must be
named, and it knows endpoints and digests only.
` + objectEnvironment + "\n" + operatorEnvironment,
		Example: `  fairlead status -A
  fairlead status shop/arith -o json
  fairlead status default/arith --registry 127.0.0.1:7443`,
		RunE: f.run,
	}
	f.objectFlags.add(cmd)
	f.operator.add(cmd)
	f.registryFlags.add(cmd, 10*time.Second, "how long to wait for the API server, or for the registry")
	cmd.Flags().Lookup("namespace").Usage = namespaceUsage
	cmd.Flags().BoolVarP(&f.all, "all-namespaces", "A", false, "services of all namespaces")
	cmd.Flags().StringVarP(&f.output, "output", "o", "text", "text or json")
	return cmd
}

func (f *statusFlags) run(cmd *cobra.Command, args []string) error {
	if err := oneOf("output", f.output, "text", "json"); err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	asks := len(f.addresses) > 0
	instead := f.instead()
	if asks {
		instead = "--registry"
	}
	if err := f.operator.check(instead); err != nil {
		return err
	}
	named := f.namespace
	if err := f.complete(); err != nil {
		return err
	}
	if asks && (f.folder != "" || f.kubeconfig != "" || f.objectFlags.context != "" || f.all) {
		return usageErrorf("--registry asks the registry alone: -f, --kubeconfig, --context and -A exclude it")
	}
	ctx, cancel := f.bounded(cmd.Context())
	defer cancel()
	answer, err := f.answer(ctx, args, asks, named)
	if err != nil {
		return err
	}
	if f.output == "json" {
		return writeJSON(cmd.OutOrStdout(), answer)
	}
	return answer.WriteText(cmd.OutOrStdout(), time.Now())
}

// answer asks the registry, a folder or a cluster; named is the namespace of the
// command line.
func (f *statusFlags) answer(ctx context.Context, args []string, asks bool, named string) (*explain.Status, error) {
	if asks {
		return f.ofRegistry(ctx, args)
	}
	if f.folder != "" {
		keys, err := keysOf(args, orDefault(named))
		if err != nil {
			return nil, err
		}
		world, err := explain.ReadFolder(f.folder)
		if err != nil {
			return nil, err
		}
		if len(args) == 0 && named != "" {
			return world.StatusIn(named)
		}
		return world.Status(keys)
	}
	cluster, namespace, err := f.connect()
	if errors.Is(err, explain.ErrNoCluster) && f.here.Registry() {
		if err := f.operator.check("FAIRLEAD_REGISTRY"); err != nil {
			return nil, err
		}
		return f.ofRegistry(ctx, args)
	}
	if err != nil {
		return nil, err
	}
	if named != "" {
		namespace = named
	}
	keys, err := keysOf(args, namespace)
	if err != nil {
		return nil, err
	}
	status, err := cluster.StatusOf(ctx, keys, namespace, f.all)
	if err == nil && len(status.Services) > 0 {
		status.Count(f.operator.ask(ctx, cluster, f.query(keys, namespace)))
	}
	return status, err
}

// mostNamed bounds how many services a replica is asked for by name.
const mostNamed = 50

// query asks replicas for what is shown, or more.
func (f *statusFlags) query(keys []explain.Key, namespace string) (q publish.HeldQuery) {
	switch {
	case len(keys) > mostNamed || f.all && len(keys) == 0:
	case len(keys) > 0:
		for _, k := range keys {
			q.Services = append(q.Services, k.String())
		}
	default:
		q.Namespace = namespace
	}
	return q
}

// ofRegistry asks for each service by itself.
func (f *statusFlags) ofRegistry(ctx context.Context, args []string) (*explain.Status, error) {
	if len(args) == 0 {
		return nil, usageErrorf("which services? a registry lists none: name them, as in %q", "fairlead status default/arith --registry "+f.addresses[0])
	}
	status := &explain.Status{Services: []explain.ServiceStatus{}, NotRead: []explain.NotRead{}}
	for _, name := range args {
		service, err := f.service(name)
		if err != nil {
			return nil, err
		}
		found, err := lookUp(ctx, service, &f.registryFlags)
		if err != nil {
			return nil, err
		}
		status.Services = append(status.Services, explain.ServiceStatus{
			Service: found.Service, Endpoints: found.Count(), Digest: found.Digest,
		})
	}
	return status, nil
}

func keysOf(names []string, namespace string) (keys []explain.Key, err error) {
	for _, name := range names {
		key, err := keyOf(name, namespace)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}
