// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"fmt"
	"os"
	"strings"

	"github.com/fairlead/fairlead/rpcruntime/policy"
	"github.com/fairlead/fairlead/rpcruntime/registry"
)

// environment is what a process is told from outside. docs/operations.md
type environment struct {
	registry  []string // FAIRLEAD_REGISTRY: host:port, comma-separated
	services  []string // FAIRLEAD_SERVICES: namespace/name, comma-separated
	app       string   // FAIRLEAD_APP
	namespace string   // FAIRLEAD_NAMESPACE, "default" when empty
	podUID    string   // FAIRLEAD_POD_UID
	cacheDir  string   // FAIRLEAD_CACHE_DIR
	// here has what the others come from, and where the rest is found.
	here registry.Surroundings
}

func readEnvironment() environment {
	here := registry.Look(os.Getenv)
	return environment{
		here: here, registry: here.Addresses, services: here.Services, app: here.App, namespace: here.Namespace,
		podUID: here.PodUID, cacheDir: here.CacheDir,
	}
}

// check fills in what follows from the rest and says what is wrong.
func (e *environment) check() error {
	if e.namespace == "" {
		e.namespace = "default"
	}
	for _, a := range e.registry {
		if err := policy.ValidateAddress(a); err != nil {
			return fmt.Errorf("rpcruntime: registry address: %w", err)
		}
	}
	for i, s := range e.services {
		e.services[i] = qualify(s, e.namespace)
		if err := policy.ValidateServiceName(e.services[i]); err != nil {
			return fmt.Errorf("rpcruntime: service: %w", err)
		}
	}
	return nil
}

// caller is the name that the process declares when it calls.
func (e *environment) caller() string {
	if e.app == "" {
		return ""
	}
	return e.namespace + "/" + e.app
}

// qualify puts the namespace in front of a name that has none.
func qualify(service, namespace string) string {
	if strings.Contains(service, "/") {
		return service
	}
	return namespace + "/" + service
}
