// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command fairlead is Fairlead without Kubernetes, and for people: the
// standalone control plane, a checker of manifests, and calls from a shell.
//
// It decides nothing itself: each command is a file here and a thin layer over a
// package that does the work. `fairlead help` lists them, docs/cli.md explains.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
