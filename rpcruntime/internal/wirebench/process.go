// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// process is a child, which is told and answers in lines.
type process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// spawn starts this program again as a child of that kind.
func spawn(ctx context.Context, kind string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"-child=" + kind}, args...)...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &process{cmd: cmd, in: in, out: bufio.NewScanner(out)}, nil
}

// ask says a line, if it is not empty, and returns the words of the line that
// comes back, which must begin with want.
func (p *process) ask(line, want string) ([]string, error) {
	if line != "" {
		if _, err := io.WriteString(p.in, line+"\n"); err != nil {
			return nil, err
		}
	}
	if !p.out.Scan() {
		return nil, fmt.Errorf("the child ended before it said %q", want)
	}
	words := strings.Fields(p.out.Text())
	if len(words) == 0 || words[0] != want {
		return nil, fmt.Errorf("the child said %q, not %q", p.out.Text(), want)
	}
	return words[1:], nil
}

// end has the child end, and waits for that.
func (p *process) end() error {
	_ = p.in.Close() // it may have ended by itself
	return p.cmd.Wait()
}
