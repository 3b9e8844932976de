// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Program workload is what the end-to-end tests run in Pods: a server, a caller
// under constant load, and a ledger, by the first argument. It knows nothing of
// the cluster: rpcruntime.New finds registry, token and identity by itself.
//
//	workload serve  --listen :8972 --ledger http://ledger:8080
//	workload call   --service work --rate 300 --clients 1
//	workload ledger
//
// Each serves HTTP at --http: /readyz, and what it has to tell.
//
// Main flow: the caller makes calls when they are due, whatever becomes of those
// before, counts how each ended, and tells it at /report. Servers sign their
// answers with their Pod's name, and write the id of each call that is not
// idempotent into the ledger before they run it. The ledger outlives servers, so
// that after the end nothing that ran twice can hide.
//
// Concurrency: each role owns its goroutines and waits for them when SIGTERM
// comes. Counts are locked.
//
// Errors end the program, with a line on standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/rpcruntime"
)

const (
	// metaID carries a call's id to the server, metaPod who answered back, and
	// metaLeft how many milliseconds of the deadline were left there.
	metaID   = "e2e-id"
	metaPod  = "e2e-pod"
	metaLeft = "e2e-left"
	// closing bounds what is done after the end of the load.
	closing = 5 * time.Second
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "workload:", err)
		os.Exit(1) //nolint:forbidigo // the end of main
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("the first argument is serve, call or ledger")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	address := flags.String("http", ":8080", "host:port of HTTP")
	switch args[0] {
	case "serve":
		listen := flags.String("listen", ":8972", "host:port of the service")
		ledger := flags.String("ledger", "", "URL of the ledger")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return serve(ctx, *address, *listen, *ledger)
	case "call":
		service := flags.String("service", "", "the service to call, [NAMESPACE/]NAME")
		rate := flags.Int("rate", 0, "calls per second; every tenth is not idempotent")
		clients := flags.Int("clients", 1, "runtimes among which the calls are spread; each has its own connection to the registry")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return call(ctx, *address, *service, *rate, *clients)
	case "ledger":
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return keepLedger(ctx, *address)
	default:
		return fmt.Errorf("%q is none of serve, call, ledger", args[0])
	}
}

func newRuntime() (*rpcruntime.Runtime, error) {
	return rpcruntime.New(rpcruntime.WithLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, nil))))
}

// web serves HTTP until ctx ends and some more: whoever asks during a drain gets
// an answer. The function that it returns ends it.
func web(ctx context.Context, address string, mux *http.ServeMux) (end func() error, err error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: closing}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
		defer cancel()
		err := srv.Shutdown(ctx)
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}

// ok answers probes.
func ok(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }

// kill ends the process by SIGKILL. The first process of a container cannot send
// it to itself: the Pod has to share its process namespace.
func kill(w http.ResponseWriter, _ *http.Request) {
	err := syscall.Kill(os.Getpid(), syscall.SIGKILL)
	http.Error(w, fmt.Sprintf("still here, is shareProcessNamespace missing? %v", err), http.StatusInternalServerError)
}
