// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/inject"
)

// maxManifests bounds what is read, in bytes.
const maxManifests = 64 << 20

func newInjectCommand() *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "inject -f FILE|- [flags]",
		Short: "Adds to manifests what a Pod needs to find the registry, offline",
		Long: `Inject writes the manifests that it is given, with two volumes added to each Pod,
Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job and
CronJob: where the registry is, whom to believe there, a token that proves who
the Pod is, and a folder for the last good state. A program that links the
library needs nothing else: it finds them by itself.

It asks no cluster, changes nothing that is there already, keeps comments and
order, and doing it twice is doing it once. The namespace must have the ConfigMap
fairlead-registry: it does when it holds an RPCService or a policy, or has the
label rpc.fairlead.dev/registry=true.

In clusters with MutatingAdmissionPolicies, the label
rpc.fairlead.dev/config=mount on a Pod does the same.`,
		Example: `  fairlead inject -f deployment.yaml | kubectl apply -f -
  helm template shop | fairlead inject -f -`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageErrorf("%q is one argument too many: name files with -f, as in fairlead inject -f %s", args[0], args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usageErrorf("which manifests? name them with -f FILE, or -f - for standard input")
			}
			for i, file := range files {
				if err := injectFile(cmd, file, i > 0); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVarP(&files, "filename", "f", nil, "a file with manifests, or - for standard input; may be given again")
	return cmd
}

// injectFile writes one file. What was done is said beside it.
func injectFile(cmd *cobra.Command, file string, another bool) error {
	in, err := readManifests(cmd, file)
	if err != nil {
		return &usageError{err}
	}
	out, found, err := inject.Manifests(in)
	if err != nil {
		return usageErrorf("%s: %w", file, err)
	}
	for _, w := range found {
		what := "has all it needs"
		if w.Changed {
			what = "volumes and mounts added"
		}
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s %s: %s\n", w.Kind, w.Name, what) // nobody else could be told
	}
	if len(found) == 0 {
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "%s: no workload in it\n", file) // nobody else could be told
	}
	if another {
		if _, err := io.WriteString(cmd.OutOrStdout(), "---\n"); err != nil {
			return err
		}
	}
	_, err = cmd.OutOrStdout().Write(out)
	return err
}

func readManifests(cmd *cobra.Command, file string) ([]byte, error) {
	from := cmd.InOrStdin()
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	in, err := io.ReadAll(io.LimitReader(from, maxManifests+1))
	if err == nil && len(in) > maxManifests {
		err = errors.New("more than 64 MiB")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return in, nil
}
