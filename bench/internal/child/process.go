// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is a child, seen by the driver.
type Process struct {
	name string
	ctx  context.Context //nolint:containedctx // its end is why the child may have been ended early
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Scanner
}

// patience is how long a child that was told to end may take for that.
const patience = 10 * time.Second

// Start starts this program again with these arguments. When ctx ends its input
// ends and it gets SIGTERM; children with something to clean up ignore that.
func Start(ctx context.Context, name string, args ...string) (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr, cmd.WaitDelay = os.Stderr, patience
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	cmd.Cancel = func() error {
		_ = in.Close() // it may have ended by itself
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Process{name: name, ctx: ctx, cmd: cmd, in: in, out: bufio.NewScanner(out)}, nil
}

// Hello waits for a child's first line, with which it says that it is ready.
func (p *Process) Hello() (Answer, error) {
	if !p.out.Scan() {
		return Answer{}, fmt.Errorf("%s ended before it answered: its message is above", p.name)
	}
	var a Answer
	if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
		return Answer{}, fmt.Errorf("%s said %q: %w", p.name, p.out.Text(), err)
	}
	if a.Problem != "" {
		return a, fmt.Errorf("%s: %s", p.name, a.Problem)
	}
	return a, nil
}

// Ask tells the child a line and waits for its answer.
func (p *Process) Ask(ask Ask) (Answer, error) {
	line, err := json.Marshal(ask)
	if err != nil {
		return Answer{}, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return Answer{}, fmt.Errorf("%s: %w", p.name, err)
	}
	return p.Hello()
}

// End has the child end, and waits for that, but not for long.
func (p *Process) End() error {
	_ = p.in.Close()                                                      // it may have ended by itself
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() }) // it may just have ended
	defer late.Stop()
	err := p.cmd.Wait()
	if p.ctx.Err() != nil {
		return nil // that it did not end well is what the context wanted
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", p.name, err)
	}
	return err
}
