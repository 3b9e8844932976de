// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/fairlead/fairlead/controllers"
)

// advertised is what Pods are told. Nobody listens there: the subscriber dials
// where the operator does.
const advertised = "127.0.0.1:1"

// beReplica is an operator whose live heap can be asked for: for each line that
// comes in, one goes out.
func beReplica(ctx context.Context, kubeconfig string, secured bool, in io.Reader, out io.Writer) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	health, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	o := controllers.Options{
		Config: config, RegistryAddress: "127.0.0.1:0", HealthAddress: health, DrainTimeout: time.Second, Log: logr.Discard(),
	}
	if secured {
		o.RegistryTLS, o.RegistryAdvertise = controllers.TLSManaged, []string{advertised}
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- controllers.Run(ctx, o) }()
	if err := awaitReady(ctx, health, done); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		if _, err := fmt.Fprintln(out, liveHeap()); err != nil {
			return err
		}
	}
	stop()
	return <-done
}

// liveHeap is what is in use after collections; the second one frees what the
// first has finalised.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// heap gives the live heap of a replica that has come to rest, in bytes.
func (c *cluster) heap(ctx context.Context, secured bool) (bytes float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, self, "-replica="+c.kubeconfig, "-secured="+strconv.FormatBool(secured))
	gentle(cmd)
	cmd.Stderr = os.Stderr
	ask, err := cmd.StdinPipe()
	if err != nil {
		return 0, err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	bytes, err = settled(ctx, ask, bufio.NewScanner(answers))
	err = errors.Join(err, ask.Close(), cmd.Wait())
	if err != nil {
		return 0, fmt.Errorf("measure the heap of a replica: %w", err)
	}
	return bytes, nil
}

// settled asks until three answers in a row are alike.
func settled(ctx context.Context, ask io.Writer, answers *bufio.Scanner) (float64, error) {
	last, alike := 0.0, 0
	for range 90 {
		if _, err := fmt.Fprintln(ask); err != nil {
			return 0, err
		}
		if !answers.Scan() {
			return 0, errors.Join(errors.New("it ended"), answers.Err())
		}
		now, err := strconv.ParseFloat(strings.TrimSpace(answers.Text()), 64)
		if err != nil {
			return 0, err
		}
		alike++
		if math.Abs(now-last) > 0.002*now {
			alike = 0
		}
		if last = now; alike == 3 {
			return now, nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("its heap does not settle")
}

// gentle has a command asked to end first, and killed only if it does not.
func gentle(cmd *exec.Cmd) {
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
