// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// registryFlags say which registry is asked, and as whom.
type registryFlags struct {
	addresses []string
	namespace string
	timeout   time.Duration
	// here has the authorities and the token, if there are any.
	here registry.Surroundings
}

// registryEnvironment is what the help of these commands says of it.
const registryEnvironment = `
Environment:
  FAIRLEAD_REGISTRY    the registry's addresses, host:port, comma-separated
  FAIRLEAD_NAMESPACE   your namespace: for names without one, and for the
                       policies that it has as a caller (default "default")
  FAIRLEAD_REGISTRY_CA, FAIRLEAD_TOKEN_FILE
                       files with the authorities of a registry that speaks TLS,
                       and with the token that it asks for
In a Pod, what is mounted at /var/run/fairlead stands in for those that are not set.`

func (f *registryFlags) add(cmd *cobra.Command, timeout time.Duration, what string) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.addresses, "registry", nil, "the registry's addresses, host:port (default $FAIRLEAD_REGISTRY)")
	flags.StringVarP(&f.namespace, "namespace", "n", "", "your namespace (default $FAIRLEAD_NAMESPACE, or \"default\")")
	flags.DurationVar(&f.timeout, "timeout", timeout, what)
}

// complete fills in what the environment says, and checks it all.
func (f *registryFlags) complete() error {
	f.here = registry.Look(os.Getenv)
	if len(f.addresses) > 0 {
		f.here.Addresses = f.addresses
	}
	f.addresses = f.here.Addresses
	for _, a := range f.addresses {
		if err := policy.ValidateAddress(a); err != nil {
			return usageErrorf("registry: %w", err)
		}
	}
	if f.namespace == "" {
		f.namespace = f.here.Namespace
	}
	if f.namespace == "" {
		f.namespace = "default"
	}
	if f.timeout <= 0 {
		return usageErrorf("--timeout %s is not above 0", f.timeout)
	}
	return nil
}

// service gives the full name of a service, and checks it.
func (f *registryFlags) service(name string) (string, error) {
	if !strings.Contains(name, "/") {
		name = f.namespace + "/" + name
	}
	if err := policy.ValidateServiceName(name); err != nil {
		return "", &usageError{err}
	}
	return name, nil
}

// bounded gives a context that ends with the timeout.
func (f *registryFlags) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, f.timeout)
}
