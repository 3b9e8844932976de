// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// process is one that the demo has started: the same program, run again.
//
// It reads its standard input, a pipe whose other end only the demo holds: when
// the demo ends, however, so does the pipe, and so does the process. Linux is
// also told to kill it with its parent, should it hang.
type process struct {
	name  string // as people read it: "server a"
	log   string // path
	cmd   *exec.Cmd
	stdin io.WriteCloser
	// wanted is set once its end is no surprise.
	wanted atomic.Bool
	// done is closed when it has ended, err then says how: nil is exit code 0.
	done chan struct{}
	err  error
}

// startProcess starts one. Its output goes to the file log, but for its standard
// output if stdout is not nil: that has all of it once done is closed. surprise
// is called with the process should it end unasked.
func startProcess(name string, args, env []string, log string, stdout io.Writer, surprise func(*process)) (*process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	// No context: a process outlives no demo, by its standard input.
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // our own program
	cmd.Env, cmd.Stdout, cmd.Stderr = env, file, file
	if stdout != nil {
		cmd.Stdout = stdout
	}
	endWithParent(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s could not be started: %w", name, err)
	}
	p := &process{name: name, log: log, cmd: cmd, stdin: stdin, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
		if !p.wanted.Load() {
			surprise(p)
		}
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// kill ends it as kill -9 does, and waits until it is gone.
func (p *process) kill() error {
	p.wanted.Store(true)
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return nil
}

// terminate asks it to end, as Kubernetes does, and waits until it has.
func (p *process) terminate(ctx context.Context, patience time.Duration) error {
	p.wanted.Store(true)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fmt.Errorf("%s (pid %d) did not end within %s of SIGTERM", p.name, p.pid(), patience)
	}
	if p.err != nil {
		return fmt.Errorf("%s (pid %d) did not end well after SIGTERM: %w", p.name, p.pid(), p.err)
	}
	return nil
}

// tailLines is how much of each log is shown after something went wrong.
const tailLines = 5

// tail returns the last lines of a log; nothing if there is none.
func tail(path string) string {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(len(all)-tailLines, 0):], "\n")
}
