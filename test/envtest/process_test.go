// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package envtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestProcess runs the operator as a process: flags, probes, metrics, logs, and
// a SIGTERM that lets clients go before the end.
func TestProcess(t *testing.T) {
	s := common.space(t)
	folder := t.TempDir()
	binary, kubeconfig := filepath.Join(folder, "manager"), filepath.Join(folder, "kubeconfig")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.version=v9.9.9", "-o", binary, "./cmd/manager")
	build.Dir = root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(kubeconfig, common.kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	registry, health, metrics := freeAddress(t), freeAddress(t), freeAddress(t)
	var logs bytes.Buffer
	process := exec.CommandContext(t.Context(), binary, "--kubeconfig="+kubeconfig, "--registry-bind-address="+registry,
		"--health-probe-bind-address="+health, "--metrics-bind-address="+metrics, "--admin-bind-address=0", "--lease-name=process-"+s.name, "--epoch=7",
		"--registry-drain-timeout=2s")
	process.Stderr = &logs
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	got := watch(t, newWatch(t, s.name, registry), s.full("cart"))
	s.create(kubeService("cart"), rpcService("cart"), slice("cart-1", "cart", pod(1)))
	wantEndpoints(t, got, "0.2=ready")
	if epoch := got.last().Epoch; !strings.HasSuffix(epoch, "/7") {
		t.Errorf("epoch %q", epoch)
	}
	for address, path := range map[string]string{health: "/readyz", metrics: "/metrics"} {
		eventually(t, func() error {
			if code := probe(t, address, path); code != http.StatusOK {
				return fmt.Errorf("%s says %d", path, code)
			}
			return nil
		})
	}

	if err := process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v: %s", err, logs.String())
		}
	case <-time.After(patience):
		t.Fatal("does not end")
	}
	first, _, _ := strings.Cut(logs.String(), "\n")
	var line map[string]any
	if err := json.Unmarshal([]byte(first), &line); err != nil || line["version"] != "v9.9.9" {
		t.Errorf("the first line of the log is %q: %v", first, err)
	}
	eventually(t, func() error {
		if _, _, _, trouble := got.counts(); trouble == 0 {
			return errors.New("the client has not noticed")
		}
		return nil
	})
}
