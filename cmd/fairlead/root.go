// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes of all commands. docs/cli.md
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// commands makes the commands, in the order in which they are listed.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newServeCommand(),
		newLintCommand(),
		newStatusCommand(),
		newExplainCommand(),
		newEndpointsCommand(),
		newCallCommand(),
		newInjectCommand(),
		newDumpCommand(),
		newDemoCommand(),
		newVersionCommand(),
	}
}

// usageError is a command line, or an input, that is wrong.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// usageErrorf makes an error that ends the process with exitUsage.
func usageErrorf(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// errSilent ends the process with exitFailed; everything has been said.
var errSilent = errors.New("failed")

// run is main with everything that it touches as an argument.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSilent):
		return exitFailed
	case errors.As(err, &usage):
		_, _ = fmt.Fprintf(stderr, "%s: %v\nsee %q\n", cmd.CommandPath(), err, cmd.CommandPath()+" --help") // nobody else could be told
		return exitUsage
	default:
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", cmd.CommandPath(), err) // nobody else could be told
		return exitFailed
	}
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "fairlead",
		Short: "RPC between services, guided by manifests, without sidecars",
		Long: `Fairlead guides RPC: manifests say which services exist and how they are to be
called, a registry tells every program, and the library in each program makes
the calls itself.

This command serves such a registry from a folder of manifests, without
Kubernetes; checks manifests; says what is in force, in a cluster or a folder;
and looks at services and calls them. As kubectl-fairlead in the PATH it is a
plugin of kubectl.`,
		Example: `  fairlead serve --manifests ./manifests &
  export FAIRLEAD_REGISTRY=127.0.0.1:7443
  fairlead endpoints default/arith
  fairlead call default/arith Arith.Mul '{"A": 6, "B": 7}'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return unknownCommand(cmd, args[0])
		},
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	for _, c := range commands() {
		c.DisableFlagsInUseLine = true
		root.AddCommand(c)
	}
	return root
}

func unknownCommand(root *cobra.Command, name string) error {
	if near := root.SuggestionsFor(name); len(near) > 0 {
		return usageErrorf("there is no command %q; did you mean %s?", name, strings.Join(near, " or "))
	}
	var names []string
	for _, c := range root.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	slices.Sort(names)
	return usageErrorf("there is no command %q; there are %s", name, strings.Join(names, ", "))
}

// exactly wants one argument for each name, and says which one is missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usageErrorf("%s is missing: %s", names[len(args)], cmd.UseLine())
		case len(args) > len(names):
			return usageErrorf("%q is one argument too many: %s; what has spaces in it needs quotes", args[len(names)], cmd.UseLine())
		default:
			return nil
		}
	}
}

// oneOf checks the value of a flag.
func oneOf(flag, value string, values ...string) error {
	if slices.Contains(values, value) {
		return nil
	}
	return usageErrorf("--%s %q is none of %s", flag, value, strings.Join(values, ", "))
}
