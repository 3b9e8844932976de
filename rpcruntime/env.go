// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rpcruntime

import (
	"fmt"
	"os"
	"strings"

	"github.com/fairlead/fairlead/rpcruntime/policy"
)

// environment is what a process is told from outside. docs/operations.md
type environment struct {
	registry  []string // FAIRLEAD_REGISTRY: host:port, comma-separated
	services  []string // FAIRLEAD_SERVICES: namespace/name, comma-separated
	app       string   // FAIRLEAD_APP
	namespace string   // FAIRLEAD_NAMESPACE, "default" when empty
	podUID    string   // FAIRLEAD_POD_UID
	cacheDir  string   // FAIRLEAD_CACHE_DIR
}

func readEnvironment() environment {
	return environment{
		registry:  list(os.Getenv("FAIRLEAD_REGISTRY")),
		services:  list(os.Getenv("FAIRLEAD_SERVICES")),
		app:       os.Getenv("FAIRLEAD_APP"),
		namespace: os.Getenv("FAIRLEAD_NAMESPACE"),
		podUID:    os.Getenv("FAIRLEAD_POD_UID"),
		cacheDir:  os.Getenv("FAIRLEAD_CACHE_DIR"),
	}
}

func list(s string) []string {
	var items []string
	for _, item := range strings.Split(s, ",") {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
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
