// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/standalone"
)

func newServeCommand() *cobra.Command {
	var cfg standalone.Config
	cmd := &cobra.Command{
		Use:   "serve --manifests DIR [flags]",
		Short: "Serves the registry from a folder of manifests, without Kubernetes",
		Long: `Serve is the standalone control plane: what the operator does in a cluster, it
does for a folder of the same manifests (RPCService, RPCCallPolicy,
RPCLimitPolicy, Service, EndpointSlice), and follows their changes.

A file that is wrong is refused with its line and the reason, and its last good
state is served on. If a file is wrong at the start, nobody is answered before
it is mended: programs keep what they know.

Instances of a service with spec.source.type: Registered join by themselves,
with a lease of 15s that their connection renews. One whose connection is lost
is suspect at once and removed when its lease ends; one that drains is removed
at once. Leases outlive a restart, however it came about.

When it serves, it prints its address, what it read, and last the line
FAIRLEAD_REGISTRY=ADDRESS, which is what programs need in their environment.
After that each accepted change is one line on standard error. SIGINT and
SIGTERM end it in order, a second one at once.

Nothing is encrypted and nobody is asked who they are: it listens on loopback,
and on another address only with --insecure-bind.`,
		Example: `  fairlead serve --manifests ./manifests
  fairlead serve --manifests ./manifests --listen 127.0.0.1:0 --state ./state -v`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Manifests == "" {
				return usageErrorf("--manifests is missing: name the folder of manifests, as in fairlead serve --manifests ./manifests")
			}
			cfg.Out, cfg.Log = cmd.OutOrStdout(), cmd.ErrOrStderr()
			err := standalone.Run(cmd.Context(), cfg)
			var usage *standalone.UsageError
			if errors.As(err, &usage) {
				return &usageError{err}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Manifests, "manifests", "", "folder of manifests, or one file (required)")
	flags.StringVar(&cfg.Listen, "listen", standalone.DefaultListen, "address to serve at, host:port; port 0 takes a free one")
	flags.StringVar(&cfg.State, "state", "", "folder for what outlives a restart (default a folder in the user's cache, one for each manifests folder)")
	flags.BoolVar(&cfg.InsecureBind, "insecure-bind", false, "allow an address that other machines can reach, unprotected")
	flags.BoolVarP(&cfg.Verbose, "verbose", "v", false, "log subscribers and connections, too")
	return cmd
}
