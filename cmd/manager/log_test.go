// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
)

// TestProbesAreNotLogged: a replica that is not ready yet is asked every two
// seconds, and controller-runtime would say so each time.
func TestProbesAreNotLogged(t *testing.T) {
	var lines []string
	log := funcr.New(func(prefix, args string) { lines = append(lines, prefix+" "+args) }, funcr.Options{Verbosity: 3, LogCaller: funcr.All})
	under := quiet(log).WithName("controller-runtime") // as its packages name themselves
	under.WithName("healthz").WithValues("a", 1).Info("healthz check failed")
	under.WithName("healthz").Error(errors.New("no"), "healthz check failed")
	if len(lines) != 0 {
		t.Errorf("logged: %q", lines)
	}
	under.WithName("lease").WithValues("a", 1).Info("heard")
	if len(lines) != 1 || !strings.Contains(lines[0], "lease") || !strings.Contains(lines[0], "heard") || !strings.Contains(lines[0], "log_test.go") {
		t.Errorf("other logs: %q", lines)
	}
	quiet(logr.Discard()).Info("nobody")
}
