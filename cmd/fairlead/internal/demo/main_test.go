// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test's binary do what the program does: run a demo, or be
// one of its processes.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != "demo" && os.Args[1] != "child" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if os.Args[1] == "child" {
		err = Child(ctx, os.Args[2:], os.Stdin, os.Stdout, os.Stderr)
	} else {
		err = Run(ctx, Config{Self: []string{os.Args[0], "child"}, Out: os.Stdout, Plan: shortPlan()})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// shortPlan is the whole scenario with less of everything.
func shortPlan() Plan {
	return Plan{
		Rate: 1000, Steady: time.Second, Settle: 500 * time.Millisecond, LimitWindow: 4 * time.Second,
		Away: time.Second, MinCalls: 5000, Patience: 30 * time.Second,
	}
}
