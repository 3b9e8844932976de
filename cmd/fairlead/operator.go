// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/explain"
	"github.com/fairlead/fairlead/cmd/fairlead/internal/replicas"
	"github.com/fairlead/fairlead/internal/publish"
)

// operatorFlags say where the operator's replicas are.
type operatorFlags struct {
	namespace string
	given     func() bool
}

const operatorNamespace = "operator-namespace"

// operatorEnvironment is what the help of these commands says of it.
const operatorEnvironment = `
Which clients hold what is asked of each replica of the operator, by port-forward,
in the namespace of --operator-namespace. The role fairlead-explain there has the
rights for that. Without them, or with the operator down, counts are those of the
status, which is said, and so is the rest.`

func (f *operatorFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.namespace, operatorNamespace, "fairlead-system", "where the operator's replicas are, which know what each client holds")
	f.given = func() bool { return cmd.Flags().Changed(operatorNamespace) }
}

// check says what excludes it; instead names what is asked instead of a cluster,
// and is empty where a cluster is.
func (f *operatorFlags) check(instead string) error {
	if instead != "" && f.given() {
		return usageErrorf("%s asks no operator, so --%s excludes it: give one", instead, operatorNamespace)
	}
	if f.namespace == "" {
		return usageErrorf("--%s is empty: name the operator's namespace, such as fairlead-system", operatorNamespace)
	}
	return nil
}

// ask asks the replicas. What keeps them from answering is part of the answer.
func (f *operatorFlags) ask(ctx context.Context, cluster *explain.Cluster, q publish.HeldQuery) *explain.Told {
	asker := replicas.Asker{Pods: cluster.Reader, Dialer: &replicas.Forwarder{Config: cluster.Config}, Namespace: f.namespace}
	answer, err := asker.Ask(ctx, q)
	var forbidden *replicas.ForbiddenError
	switch {
	case errors.As(err, &forbidden):
		return &explain.Told{NotAsked: forbidden.Error() + " (the role fairlead-explain there has that right)"}
	case errors.Is(err, replicas.ErrNoReplica):
		return &explain.Told{NotAsked: fmt.Sprintf("%v (is it another --%s?)", err, operatorNamespace)}
	case err != nil:
		return &explain.Told{NotAsked: err.Error()}
	}
	told := &explain.Told{Held: answer.Held}
	for _, failed := range answer.Failed {
		told.Missing = append(told.Missing, explain.Missing{Replica: failed.Pod, Why: failed.Why})
	}
	if len(answer.Held) == 0 && len(answer.Failed) > 0 {
		text := fmt.Sprintf("no replica of the operator answers: %s %s", answer.Failed[0].Pod, answer.Failed[0].Why)
		if more := len(answer.Failed) - 1; more > 0 {
			text += fmt.Sprintf(" (and %d more)", more)
		}
		return &explain.Told{NotAsked: text}
	}
	return told
}
