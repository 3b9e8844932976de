// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// program is the operator as users run it.
type program struct {
	cmd                       *exec.Cmd
	registry, health, metrics string
	// exited has room for what Wait gives.
	exited chan error
	// took is from just before the start to when it was ready.
	took time.Duration
}

// launch starts the operator and waits until it serves.
func (c *cluster) launch(ctx context.Context, manager string) (p *program, err error) {
	p = &program{exited: make(chan error, 1)}
	for _, a := range []*string{&p.registry, &p.health, &p.metrics} {
		if *a, err = freeAddress(ctx); err != nil {
			return nil, err
		}
	}
	p.cmd = exec.CommandContext(ctx, manager, "--kubeconfig="+c.kubeconfig, "--registry-bind-address="+p.registry,
		"--health-probe-bind-address="+p.health, "--metrics-bind-address="+p.metrics, "--registry-tls=managed",
		"--registry-advertise-address="+advertised, "--registry-drain-timeout=1s", "--zap-log-level=error")
	gentle(p.cmd)
	p.cmd.Stderr = os.Stderr
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the operator: %w", err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	if err := awaitReady(ctx, p.health, p.exited); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	p.took = time.Since(begin)
	return p, nil
}

// stop ends the operator and waits for it.
func (p *program) stop() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.NewTimer(20 * time.Second)
	defer late.Stop()
	select {
	case err := <-p.exited:
		p.exited <- nil
		return err
	case <-late.C:
		return errors.Join(errors.New("the operator does not end"), p.cmd.Process.Kill())
	}
}

// memory gives what the system counts as resident, now and at most, in MiB.
func (p *program) memory() (now, peak float64, err error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		return 0, 0, fmt.Errorf("resident memory is read from Linux: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			now = kib / 1024
		case "VmHWM:":
			peak = kib / 1024
		}
	}
	return now, peak, nil
}

// sample is one line of metrics.
type sample struct {
	// series is the name with its labels.
	series string
	value  float64
}

// scrape reads the metrics of a name.
func (p *program) scrape(ctx context.Context, name string) ([]sample, error) {
	text, code, err := get(ctx, "http://"+p.metrics+"/metrics")
	if err != nil || code != http.StatusOK {
		return nil, fmt.Errorf("read the operator's metrics: code %d: %w", code, err)
	}
	var all []sample
	for line := range strings.Lines(text) {
		series, value, found := strings.Cut(strings.TrimSpace(line), " ")
		if of, _, _ := strings.Cut(series, "{"); !found || of != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return nil, err
		}
		all = append(all, sample{series, v})
	}
	return all, nil
}

// total adds up the metrics of a name.
func (p *program) total(ctx context.Context, name string) (sum float64, err error) {
	all, err := p.scrape(ctx, name)
	for _, s := range all {
		sum += s.value
	}
	return sum, err
}

// quiet waits until no status was written, nor service handed on, for a while.
func (p *program) quiet(ctx context.Context) error {
	const calm = 13 * time.Second // numbers wait for 10 s at most
	last, since := -1.0, time.Now()
	for time.Since(since) < calm {
		now := 0.0
		for _, name := range []string{"fairlead_status_writes_total", "fairlead_publishes_total"} {
			n, err := p.total(ctx, name)
			if err != nil {
				return err
			}
			now += n
		}
		if now != last {
			last, since = now, time.Now()
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// awaitReady waits until an operator says that it serves everything.
func awaitReady(ctx context.Context, health string, exited chan error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		if _, code, err := get(ctx, "http://"+health+"/readyz"); err == nil && code == http.StatusOK {
			return nil
		}
		select {
		case err := <-exited:
			exited <- err
			return fmt.Errorf("the operator ended before it was ready: %w", err)
		default:
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("wait for the operator to be ready: %w", err)
		}
	}
}

func get(ctx context.Context, url string) (body string, code int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), response.StatusCode, err
}

// freeAddress gives one at which nobody listens.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
