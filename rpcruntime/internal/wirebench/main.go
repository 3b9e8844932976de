// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command wirebench measures what the wire promises in figures, on this machine
// and over the loopback, and prints a line for each:
//
//	wire: NAME=VALUE goal=VALUE
//
// It does not judge: it ends with an error only if it could not measure. A goal
// of "none" is a figure that is only good to know. -only runs some of its parts.
//
// How each is measured. Servers, and whoever opens thousands of connections, are
// processes of their own: this program, started again. The callers are in this
// one. Loads are open loops: each call has its time in a schedule that does not
// wait for the call before, and its latency counts from then.
//
//   - cancel_*: the caller cancels the context of a call whose handler has begun.
//     From just before cancel() to when the handler's context is done, by the
//     clock that both processes share. 2,000 calls, one after the other;
//     cancel_busy_* beside 1,000 other calls a second on the same connection.
//   - drain_ms: ten callers make 200 calls a second each to two servers, whose
//     handlers take 2 ms. One server is told to drain: from then until Drain
//     returns, the longest of three times. drain_failed are the calls that failed
//     meanwhile, drain_twice those that ran more often than they were made.
//     drain_rpcx_* are the same with old callers in their failover mode, which
//     may run a call twice, so that nobody counts that. They take the servers in
//     turn, and stop when Drain has returned: with a fixed list of servers of
//     which one is gone they fail some calls, however that server went.
//   - halfopen_*: 8,000 connections that send one byte of a frame each and no
//     more. What the server's process holds then (heap in use and stacks, after a
//     collection) over what it held before, by connection; the same of its
//     resident memory where /proc tells; how many were ended by the server, and
//     when the last was. idle_*: as many connections two seconds
//     after one call that announced the caller; idle_tls_*: the same over TLS.
//   - large_*: beside a stream of messages of 16 MiB, 500 small calls a second by
//     the same client: their p99, over their p99 beside the same bytes at the
//     same times on a plain TCP connection between the same processes. The stream
//     is paced to a quarter of one core: what a message costs is measured first,
//     as CPU time of both processes. Five rounds of each in turn; the median of
//     their p99s counts. large_p99_ratio has the messages as arguments,
//     large_reply_p99_ratio as replies. large_64MiB_*: a message of 64 MiB alone,
//     the median of five, with limits raised.
//
// Concurrency: parts run one after the other. The program owns its children and
// waits for them; they end when their standard input does.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// part is one thing to measure.
type part struct {
	name    string
	measure func(ctx context.Context, out *report) error
}

// parts are in the order in which they run.
var parts = []part{ // constant
	{"cancel", measureCancel},
	{"drain", measureDrain},
	{"halfopen", measureHalfOpen},
	{"large", measureLarge},
}

// allowed is how long all of it may take.
const allowed = 5 * time.Minute

func main() {
	child := flag.String("child", "", "what to be, as a process of another's; for this program's own use")
	only := flag.String("only", "", "names of parts, separated by commas: cancel, drain, halfopen, large; empty is all")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), allowed)
	defer cancel()
	var err error
	switch *child {
	case "":
		err = run(ctx, *only)
	case "server":
		err = beServer(ctx, flag.Args())
	case "dialler":
		err = beDialler(ctx, flag.Args())
	default:
		err = fmt.Errorf("no child is called %q", *child)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "wirebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	wanted := strings.Split(only, ",")
	var errs []error
	ran := 0
	for _, p := range parts {
		if only != "" && !slices.Contains(wanted, p.name) {
			continue
		}
		ran++
		if err := p.measure(ctx, &report{}); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	if ran == 0 {
		return fmt.Errorf("-only=%s names no part: want cancel, drain, halfopen or large", only)
	}
	return errors.Join(errs...)
}
