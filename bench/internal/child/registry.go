// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// registryLine begins the line in which `fairlead serve` says where it is.
const registryLine = "FAIRLEAD_REGISTRY="

// Registry runs `fairlead serve` for a folder with these manifests, until in ends.
// It is a child between the driver and that command, which would not end by
// itself if the driver were killed.
func Registry(ctx context.Context, command, manifests string, in io.Reader, out io.Writer) (err error) {
	folder, err := os.MkdirTemp("", "fairlead-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	files := filepath.Join(folder, "manifests")
	if err := os.Mkdir(files, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(files, "bench.yaml"), []byte(manifests), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, command, "serve", "--manifests", files, "--state", filepath.Join(folder, "state"), "--listen", "127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	said, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var complaints strings.Builder // only read when the command has ended
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", command, err)
	}
	address, err := awaitLine(said)
	if err != nil {
		_ = cmd.Process.Kill() // it may have ended by itself
		return fmt.Errorf("%s serve: %w: %s", command, errors.Join(err, cmd.Wait()), complaints.String())
	}
	if err := json.NewEncoder(out).Encode(Answer{Address: address}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in) // until the driver closes it, or ends
	_ = cmd.Process.Signal(syscall.SIGTERM)
	_ = cmd.Wait() // that it was told to end is no failure
	return err
}

func awaitLine(said io.Reader) (string, error) {
	lines := bufio.NewScanner(said)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), registryLine); ok {
			return address, nil
		}
	}
	return "", errors.Join(errors.New("it did not say where it serves"), lines.Err())
}
