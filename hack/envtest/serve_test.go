// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProgramsServe starts both programs and waits until the API server says
// that it is ready. It takes what the cache holds, and builds it if need be;
// programs that the user brings may be of any release.
func TestProgramsServe(t *testing.T) {
	bin, err := assets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	state, key := t.TempDir(), serviceAccountKey(t)
	etcd, peer, secure := freePort(t), freePort(t), freePort(t)
	start(t, filepath.Join(bin, "etcd"), "--data-dir", filepath.Join(state, "etcd"), "--unsafe-no-fsync",
		"--listen-client-urls", "http://"+etcd, "--advertise-client-urls", "http://"+etcd,
		"--listen-peer-urls", "http://"+peer, "--initial-cluster", "default=http://"+peer,
		"--initial-advertise-peer-urls", "http://"+peer)
	_, port, err := net.SplitHostPort(secure)
	if err != nil {
		t.Fatal(err)
	}
	start(t, filepath.Join(bin, "kube-apiserver"), "--etcd-servers", "http://"+etcd, "--bind-address", "127.0.0.1",
		"--secure-port", port, "--cert-dir", filepath.Join(state, "certs"), "--service-cluster-ip-range", "10.0.0.0/24",

		"--authorization-mode", "RBAC", // the default, AlwaysAllow, turns anonymous requests off
		"--service-account-issuer", "https://localhost", "--service-account-key-file", key, "--service-account-signing-key-file", key)

	awaitReady(t, "https://"+secure+"/readyz")
	body, err := fetch(t.Context(), "https://"+secure+"/version")
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ GitVersion, Major, Minor string }
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	want, err := kubernetesVersion("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" && (got.GitVersion != want || !strings.HasPrefix(want, "v"+got.Major+"."+got.Minor+".")) {
		t.Errorf("the API server calls itself %+v, want %s", got, want)
	}
}

// start runs a program until the test ends; its output is shown if the test
// fails.
func start(t *testing.T, path string, args ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(path), out.Bytes())
		}
	})
}

var insecure = &http.Client{Transport: &http.Transport{
	DisableKeepAlives: true,
	TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // the certificate was made a moment ago, by the server itself
}}

func awaitReady(t *testing.T, url string) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for {
		body, err := fetch(t.Context(), url)
		if err == nil && string(body) == "ok" {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("%s is not ready after a minute: %q, %v", url, body, err)
		}
	}
}

func fetch(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := insecure.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// freePort returns an address of loopback that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func serviceAccountKey(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sa.key")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
