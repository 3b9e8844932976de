// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/explain"
	"github.com/fairlead/fairlead/internal/publish"
	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// objectFlags say where API objects are read.
type objectFlags struct {
	folder, kubeconfig, context string
}

// objectEnvironment is what the help of these commands says of it.
const objectEnvironment = `
API objects are read with your own rights from the cluster that kubectl would
take: --kubeconfig, KUBECONFIG, ~/.kube/config, or in a Pod the Pod's own.`

// namespaceUsage is for commands that ask a registry or a cluster.
const namespaceUsage = "your namespace (for a registry default $FAIRLEAD_NAMESPACE, for a cluster that of the context, or \"default\")"

func (f *objectFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.folder, "filename", "f", "", "read a folder of manifests, or a file, and ask no cluster")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "the file that says how to reach the cluster (default $KUBECONFIG, or ~/.kube/config)")
	flags.StringVar(&f.context, "context", "", "the context in that file (default its current one)")
}

// check says what excludes each other.
func (f *objectFlags) check() error {
	if f.folder != "" && (f.kubeconfig != "" || f.context != "") {
		return usageErrorf("-f asks no cluster, so --kubeconfig and --context exclude it: give one")
	}
	return nil
}

// instead names what is read instead of a cluster; empty if a cluster is.
func (f *objectFlags) instead() string {
	if f.folder != "" {
		return "-f"
	}
	return ""
}

// connect finds the cluster and its namespace, which is not asked for anything yet.
func (f *objectFlags) connect() (*explain.Cluster, string, error) {
	return explain.Connect(f.kubeconfig, f.context)
}

// keyOf reads namespace/name, or a name in a namespace.
func keyOf(name, namespace string) (explain.Key, error) {
	if !strings.Contains(name, "/") {
		name = namespace + "/" + name
	}
	if err := policy.ValidateServiceName(name); err != nil {
		return explain.Key{}, &usageError{err}
	}
	namespace, name, _ = strings.Cut(name, "/")
	return explain.Key{Namespace: namespace, Name: name}, nil
}

// explainFlags are those of `fairlead explain`.
type explainFlags struct {
	objectFlags
	operator                  operatorFlags
	caller, namespace, output string
	timeout                   time.Duration
}

func newExplainCommand() *cobra.Command {
	var f explainFlags
	cmd := &cobra.Command{
		Use:   "explain --caller NAMESPACE/NAME SERVICE METHOD [flags]",
		Short: "Says which policy calls of a method are made with, and who set what",
		Long: `Explain shows each field of the policy that a caller calls a method with: its
value, the object and generation that set it, and what that took the place of.
Then what could not be used, the limits that each instance holds the calls to,
and policies that name the service without effect.

It compiles API objects here, by the operator's and the clients' own code, and so
works while the operator is down. What you have no right to read is named, with
what is not known for it.

How many running callers in the caller's namespace have this policy, and which do
not, is what the operator's replicas know.

SERVICE is namespace/name of an RPCService, or name in your namespace. Of the
caller only the namespace decides.
` + objectEnvironment + "\n" + operatorEnvironment,
		Example: `  fairlead explain --caller web/checkout shop/arith Arith.Mul
  fairlead explain --caller web/checkout shop/arith Arith.Mul -f ./manifests -o json`,
		Args: exactly("SERVICE", "METHOD"),
		RunE: f.run,
	}
	f.add(cmd)
	f.operator.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.caller, "caller", "", "who calls, NAMESPACE/NAME")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "the namespace of a SERVICE without one (default that of the context)")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to wait for the API server, and for the operator's replicas")
	flags.StringVarP(&f.output, "output", "o", "text", "text or json")
	return cmd
}

func (f *explainFlags) run(cmd *cobra.Command, args []string) error {
	if err := f.complete(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	answer, err := f.answer(ctx, args[0], args[1])
	if err != nil {
		return err
	}
	if f.output == "json" {
		return writeJSON(cmd.OutOrStdout(), answer)
	}
	return answer.WriteText(cmd.OutOrStdout())
}

// complete checks what can be checked without reading anything.
func (f *explainFlags) complete(args []string) error {
	if err := oneOf("output", f.output, "text", "json"); err != nil {
		return err
	}
	if f.timeout <= 0 {
		return usageErrorf("--timeout %s is not above 0", f.timeout)
	}
	if f.caller == "" {
		return usageErrorf("who calls? name it with --caller NAMESPACE/NAME")
	}
	if err := policy.ValidateServiceName(f.caller); err != nil {
		return usageErrorf("--caller %q is not NAMESPACE/NAME, such as web/checkout", f.caller)
	}
	if err := policy.ValidateMethodName(args[1]); err != nil {
		return &usageError{err}
	}
	if i := strings.LastIndexByte(args[1], '.'); i <= 0 || i == len(args[1])-1 {
		return usageErrorf("method %q is not PATH.METHOD, such as Arith.Mul", args[1])
	}
	if err := f.check(); err != nil {
		return err
	}
	return f.operator.check(f.instead())
}

func (f *explainFlags) answer(ctx context.Context, service, method string) (*explain.Call, error) {
	q := explain.Question{Method: method}
	q.Caller.Namespace, q.Caller.Name, _ = strings.Cut(f.caller, "/")
	if f.folder != "" {
		var err error
		if q.Service, err = keyOf(service, orDefault(f.namespace)); err != nil {
			return nil, err
		}
		world, err := explain.ReadFolder(f.folder)
		if err != nil {
			return nil, err
		}
		return world.Call(q)
	}
	cluster, namespace, err := f.connect()
	if err != nil {
		return nil, err
	}
	if f.namespace != "" {
		namespace = f.namespace
	}
	if q.Service, err = keyOf(service, namespace); err != nil {
		return nil, err
	}
	world, err := cluster.Call(ctx, q.Service, q.Caller.Namespace)
	if err != nil {
		return nil, err
	}
	answer, err := world.Call(q)
	if err == nil && answer.Subscription != explain.Refused {
		answer.Count(f.operator.ask(ctx, cluster, publish.HeldQuery{Services: []string{q.Service.String()}}))
	}
	return answer, err
}

// orDefault is what a manifest without a namespace is in.
func orDefault(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}
