// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

func newEndpointsCommand() *cobra.Command {
	var from registryFlags
	var output string
	cmd := &cobra.Command{
		Use:   "endpoints SERVICE [flags]",
		Short: "Shows the endpoints of a service, as the registry tells callers",
		Long: `Endpoints asks the registry for a service, as a caller does, and shows what it
says: the digest of all that a caller in your namespace gets, how fresh that is,
and each endpoint with its state.

  Ready      takes calls
  Draining   is on its way out, and used only while none is ready
  Suspect    has not been heard of; callers use it only as far as they have
             reasons of their own to trust it

SERVICE is namespace/name of an RPCService, or name in your namespace.
` + registryEnvironment,
		Example: `  fairlead endpoints default/arith --registry 127.0.0.1:7443
  fairlead endpoints arith -n shop -o json`,
		Args: exactly("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", output, "text", "json"); err != nil {
				return err
			}
			if err := from.complete(); err != nil {
				return err
			}
			if !from.here.Registry() {
				return usageErrorf("which registry? name it with --registry HOST:PORT, or set FAIRLEAD_REGISTRY")
			}
			service, err := from.service(args[0])
			if err != nil {
				return err
			}
			ctx, cancel := from.bounded(cmd.Context())
			defer cancel()
			found, err := lookUp(ctx, service, &from)
			if err != nil {
				return err
			}
			if output == "json" {
				return writeJSON(cmd.OutOrStdout(), found)
			}
			return found.writeText(cmd.OutOrStdout())
		},
	}
	from.add(cmd, 5*time.Second, "how long to wait for the registry")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// serviceView is what a registry says of a service, as JSON.
type serviceView struct {
	Service   string         `json:"service"`
	Digest    string         `json:"digest"`
	Registry  string         `json:"registry"`
	AsOf      []kindView     `json:"asOf"`
	Endpoints []endpointView `json:"endpoints"`

	at time.Time
}

type kindView struct {
	Kind    string `json:"kind"`
	Changed uint64 `json:"changed"`
	Seen    uint64 `json:"seen"`
}

type endpointView struct {
	ID        string   `json:"id"`
	Addresses []string `json:"addresses"`
	State     string   `json:"state"`
	Zone      string   `json:"zone,omitempty"`
	Pod       string   `json:"pod,omitempty"`
}

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
		return viewOf(s, client.Status().Address), nil
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

func viewOf(s *policy.Snapshot, address string) *serviceView {
	v := &serviceView{
		Service: s.Service, Digest: s.Digest.Short(), Registry: address, AsOf: []kindView{}, Endpoints: []endpointView{},
		at: time.Now(),
	}
	for _, k := range s.AsOf {
		v.AsOf = append(v.AsOf, kindView{k.Kind, k.Changed, k.Seen})
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		v.Endpoints = append(v.Endpoints, endpointView{e.ID, e.Addresses, stateName(e.State), e.Zone, e.PodUID})
	}
	return v
}

func stateName(s policy.EndpointState) string {
	switch s {
	case policy.Draining:
		return "Draining"
	case policy.Suspect:
		return "Suspect"
	default:
		return "Ready"
	}
}

func (v *serviceView) writeText(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s  digest %s  registry %s (as of %s)\n", v.Service, v.Digest, v.Registry, v.at.Format(time.TimeOnly)); err != nil {
		return err
	}
	if len(v.Endpoints) == 0 {
		_, err := fmt.Fprintln(w, "the service is known, and has no endpoints")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "ADDRESS\tSTATE\tZONE\tPOD") // Flush gives the error
	for _, e := range v.Endpoints {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", strings.Join(e.Addresses, ","), e.State, cmp.Or(e.Zone, "-"), cmp.Or(e.Pod, "-"))
	}
	return table.Flush()
}
