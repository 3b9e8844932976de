// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command benchoperator measures one replica of the operator against a real API
// server, on this machine, and prints a line for each figure:
//
//	operator: NAME=VALUE goal=VALUE reached
//
// A goal of "none" is a figure that is only good to know. It ends with an error
// only if it could not measure. It needs the folder of etcd and kube-apiserver
// in KUBEBUILDER_ASSETS, and the operator's program; it downloads nothing.
//
// What is measured on. 10 namespaces with 100 Services each, and for each
// Service 10 Pods and an EndpointSlice of them. Pods are as large as those of
// small applications are: two containers with environment and probes, volumes,
// and the managedFields that the API server writes; nobody reports their status. Each Service has
// an RPCService with three methods, each namespace a call policy. The operator
// has the rights of config/rbac, and serves with TLS, so that it knows Pods.
//
// How each is measured.
//
//   - full_sync_s: the operator is started for the first time. From just before
//     the process is started to when /readyz says that everything was published
//     and is served, and that tokens of callers can be judged. restart_full_sync_s is the same once more, with statuses in
//     place. subscriber_full_sync_s adds the time in which a client that
//     subscribes to all 1,000 services has them.
//   - change_published_p99_ms: 1,000 changes, one after the other, each of the
//     EndpointSlice of another service, while nothing else changes and statuses
//     are settled. From when the process has the event to when what follows is
//     published: the operator's own fairlead_publish_delay_seconds, of which the
//     limit of a bucket is taken that 99 of 100 do not exceed. What the API
//     server takes to write and to send the event is not in it.
//   - change_at_client_*_ms: the same changes, from just before the write to when
//     a subscriber in this process has them; change_write_*_ms is what the API
//     server took for the write alone.
//   - resident_MiB and resident_peak_MiB: what the system counts for the process
//     after all that, and at most since its start.
//   - heap_per_endpoint_KiB: live heap after collections in two processes of the
//     same parts, one before there are RPCServices, so that nothing is compiled,
//     and one after. RPCServices themselves are in the difference.
//   - pod_heap_bytes: live heap by Pod, of a replica without TLS, which does not
//     follow Pods, and of one with TLS.
//
// Concurrency: what is measured runs one after the other. The program owns its
// processes and waits for them; on an interrupt it ends them by their ids.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// allowed is how long all of it may take.
const allowed = 12 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, allowed)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "benchoperator:", err)
		os.Exit(1) //nolint:forbidigo // this is a main function, under test/
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("benchoperator", flag.ContinueOnError)
	manager := flags.String("manager", "bin/manager", "the operator's `program`")
	root := flags.String("root", ".", "the repository's `folder`, with config/")
	size := flags.Int("services", 1000, "`number` of RPCServices, a multiple of 10; goals are for 1000")
	child := flags.String("replica", "", "`kubeconfig` of an operator to be, as a process of another's; for this program's own use")
	secured := flags.Bool("secured", false, "with -replica: serve with TLS")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	if *child != "" {
		return beReplica(ctx, *child, *secured, os.Stdin, out)
	}
	if *size <= 0 || *size%namespaces != 0 {
		return fmt.Errorf("-services=%d is no multiple of %d", *size, namespaces)
	}
	return measure(ctx, setup{manager: *manager, root: *root, services: *size}, &report{out: out})
}

// setup says what is measured.
type setup struct {
	manager, root string
	services      int
}

// measure brings up a cluster and measures everything on it.
func measure(ctx context.Context, s setup, to *report) (err error) {
	c, err := startCluster(ctx, s.root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	start := time.Now()
	if err := c.fill(ctx, s.services); err != nil {
		return fmt.Errorf("fill the cluster: %w", err)
	}
	to.note("fill_s", time.Since(start).Seconds())

	bare, err := c.heap(ctx, false)
	if err != nil {
		return err
	}
	off, err := c.heap(ctx, true)
	if err != nil {
		return err
	}
	to.figure("pod_heap_bytes", max(0, off-bare)/float64(c.pods), 1024)
	if err := c.declare(ctx, s.services); err != nil {
		return fmt.Errorf("declare the services: %w", err)
	}
	if err := c.process(ctx, &s, to); err != nil {
		return err
	}
	on, err := c.heap(ctx, true)
	if err != nil {
		return err
	}
	to.note("heap_MiB", on/mib)
	to.figure("heap_per_endpoint_KiB", (on-off)/float64(c.pods)/1024, 1)
	return nil
}

const mib = 1 << 20

// report prints figures.
type report struct{ out io.Writer }

// figure prints one that is to be at most its goal.
func (r *report) figure(name string, value, goal float64) {
	verdict := "reached"
	if value > goal {
		verdict = "not reached"
	}
	fmt.Fprintf(r.out, "operator: %s=%.4g goal=%.4g %s\n", name, value, goal, verdict)
}

// note prints one without a goal.
func (r *report) note(name string, value float64) {
	fmt.Fprintf(r.out, "operator: %s=%.4g goal=none\n", name, value)
}
