// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/demo"
)

// newDemoCommand shows the product at work on this machine.
func newDemoCommand() *cobra.Command {
	cfg := demo.Config{Plan: demo.DefaultPlan()}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a service under load through restarts, kills and changes of policy, on this machine",
		Long: `Runs a control plane, three servers and a caller as processes on this machine, and
makes trouble for them while the caller makes 1,500 calls a second: a rolling
restart, kill -9 of a server, a call policy and a limit changed on disk, kill -9
of the control plane. Each step checks its own effect and says what it saw.

A row is printed each second, and one line at the end. The exit code is 0 only if
no call failed, no call that is not idempotent ran twice, at least 20,000 calls
were made, and everything that was meant to happen was seen to happen.

It needs nothing but this program: no cluster, no network but loopback, a folder
in the place for temporary files, which is removed at the end. Ctrl-C ends it,
and everything that it started.`,
		Example: `  fairlead demo
  fairlead demo --keep   # look at the manifests and logs afterwards`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&cfg.Keep, "keep", false, "keep the folder with manifests and logs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cfg.Self = []string{self, "demo", "child"}
		cfg.Out = cmd.OutOrStdout()
		err = demo.Run(cmd.Context(), cfg)
		if errors.Is(err, demo.ErrFailed) {
			return errSilent
		}
		return err
	}
	cmd.AddCommand(newDemoChildCommand())
	return cmd
}

// newDemoChildCommand is what the demo starts: this program in another role.
func newDemoChildCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "child ROLE",
		Short:              "Run one process of the demo",
		Hidden:             true,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return demo.Child(cmd.Context(), args, os.Stdin, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
}
