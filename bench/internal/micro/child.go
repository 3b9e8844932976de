// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package micro

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// Kinds of children.
const (
	kindServer  = "micro-server"
	kindDialler = "micro-dialler"
)

// Flag is what a program is started with to be a child: Flag and its kind.
const Flag = "-child="

// Child is what a child of that kind does, until in ends. The first line that
// comes in has its parameters.
func Child(ctx context.Context, kind string, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return fmt.Errorf("child %s: no parameters came", kind)
	}
	params := strings.Fields(lines.Text())
	switch {
	case kind == kindServer && len(params) == 1:
		return beServer(ctx, params[0] == "true", lines, out)
	case kind == kindDialler && len(params) == 4:
		conns, err := strconv.Atoi(params[3])
		if err != nil {
			return fmt.Errorf("number of connections: %w", err)
		}
		d := dialler{address: params[0], certificate: params[1], overTLS: params[2] == "true"}
		return d.run(ctx, conns, lines, out)
	}
	return fmt.Errorf("child %s is not asked by %q", kind, params)
}

// child is a process that is told and answers in lines. It is for one goroutine.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func spawn(ctx context.Context, kind string, params ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("own program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, Flag+kind)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("child: %w", err)
	}
	c := &child{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	if _, err := io.WriteString(in, strings.Join(params, " ")+"\n"); err != nil {
		return nil, errors.Join(fmt.Errorf("child: %w", err), c.end())
	}
	return c, nil
}

// words says a line, if it is not empty, and gives the words of the line that
// comes back, behind the first, which must be want.
func (c *child) words(line, want string, n int) ([]string, error) {
	if line != "" {
		if _, err := io.WriteString(c.in, line+"\n"); err != nil {
			return nil, fmt.Errorf("child: %w", err)
		}
	}
	if !c.out.Scan() {
		return nil, fmt.Errorf("the child ended before it said %q", want)
	}
	words := strings.Fields(c.out.Text())
	if len(words) != n+1 || words[0] != want {
		return nil, fmt.Errorf("the child said %.200q, not %q and %d words", c.out.Text(), want, n)
	}
	return words[1:], nil
}

func (c *child) numbers(line, want string, n int) ([]int64, error) {
	words, err := c.words(line, want, n)
	if err != nil {
		return nil, err
	}
	numbers := make([]int64, len(words))
	for i, word := range words {
		if numbers[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			return nil, fmt.Errorf("the child said: %w", err)
		}
	}
	return numbers, nil
}

// end has the child end, and waits for that.
func (c *child) end() error {
	_ = c.in.Close() // it may have ended by itself
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("child: %w", err)
	}
	return nil
}
