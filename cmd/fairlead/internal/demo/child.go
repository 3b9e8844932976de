// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/go-logr/logr"

	"github.com/fairlead/fairlead/cmd/fairlead/internal/standalone"
	"github.com/fairlead/fairlead/examples/arith"
	"github.com/fairlead/fairlead/rpcruntime"
	"github.com/fairlead/fairlead/rpcruntime/status"
)

const (
	roleControlPlane = "control-plane"
	roleServer       = "server"
	roleCaller       = "caller"
	// serverDrain bounds the drain of a demo's server; it takes as long as its
	// slowest call, mostly nothing.
	serverDrain = 10 * time.Second
)

// Child is what the processes run that Run starts: args name the role and its
// flags. It returns when ctx ends; the end of stdin, which is the parent's end,
// ends the process at once.
func Child(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("no role: this command is for fairlead demo to run")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(stderr)
	if args[0] != roleCaller {
		go endWith(stdin)
	}
	switch args[0] {
	case roleControlPlane:
		cfg := standalone.Config{Out: stdout, Log: stderr}
		flags.StringVar(&cfg.Manifests, "manifests", "", "folder")
		flags.StringVar(&cfg.State, "state", "", "folder")
		flags.StringVar(&cfg.Listen, "listen", "", "host:port")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return standalone.Run(ctx, cfg)
	case roleServer:
		name := flags.String("name", "", "the server's name")
		path := flags.String("ledger", "", "file")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return serve(ctx, *name, *path, stderr)
	case roleCaller:
		rate := flags.Int("rate", 0, "calls per second")
		cache := flags.String("cache", "", "folder")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		orders := make(chan order)
		go readOrders(stdin, orders)
		return makeCalls(ctx, *rate, *cache, orders, stdout, stderr)
	default:
		return fmt.Errorf("role %q is none of %s, %s, %s", args[0], roleControlPlane, roleServer, roleCaller)
	}
}

// endWith ends the process when r has ended. Nothing is worth being finished:
// whoever wanted it is gone.
func endWith(r io.Reader) {
	_, _ = io.Copy(io.Discard, r) // whatever ended it, it has ended
	os.Exit(1)
}

// serve is an arith server as examples/arith has it, but for an interceptor that
// says who answers and keeps the ledger.
func serve(ctx context.Context, name, path string, stderr io.Writer) error {
	book, err := openLedger(path)
	if err != nil {
		return err
	}
	rt, err := rpcruntime.New(rpcruntime.WithLogger(textLogger(stderr)))
	if err != nil {
		return err
	}
	srv := rt.NewServer(
		rpcruntime.Service(service), rpcruntime.Advertise(""), rpcruntime.DrainTimeout(serverDrain),
		rpcruntime.ServerIntercept(signing(name+" "+strconv.Itoa(os.Getpid()), book)),
	)
	arith.Register(srv)
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	err = srv.Serve(ctx, ln)
	return errors.Join(err, rt.Close(context.WithoutCancel(ctx)))
}

// signing notes in the ledger each call that is not idempotent, before it runs,
// and signs every answer.
func signing(signature string, book *ledger) rpcruntime.ServerInterceptor {
	return func(next rpcruntime.ServerInvoker) rpcruntime.ServerInvoker {
		return func(ctx context.Context, call *rpcruntime.ServerCall) (any, error) {
			if call.Method != arith.Mul {
				if err := book.note(call.Metadata[metaID]); err != nil {
					return nil, call.Refuse(status.Errorf(status.Internal, "the ledger cannot be written: %w", err))
				}
			}
			rpcruntime.SetReplyMetadata(ctx, metaServer, signature)
			return next(ctx, call)
		}
	}
}

func textLogger(w io.Writer) logr.Logger {
	return logr.FromSlogHandler(slog.NewTextHandler(w, nil))
}
