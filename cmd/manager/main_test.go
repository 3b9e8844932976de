// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFlags(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	tests := []struct {
		name   string
		args   []string
		stdout string
		is     error  // errors.Is
		names  string // what the error has to name
	}{
		{name: "version", args: []string{"--version"}, stdout: version + "\n"},
		{name: "help", args: []string{"--help"}, is: flag.ErrHelp},
		{name: "unknown flag", args: []string{"--leader-elect"}, is: errUsage},
		{name: "negative epoch", args: []string{"--epoch=-1"}, is: errUsage},
		{name: "argument", args: []string{"serve"}, names: "serve"},
		{name: "open registry", args: []string{"--registry-bind-address=0.0.0.0:7443", "--registry-tls=none"}, names: "--registry-insecure-bind"},
		{name: "all addresses", args: []string{"--registry-bind-address=:7443", "--registry-tls=none"}, names: "--registry-insecure-bind"},
		{name: "all addresses with TLS", args: []string{"--registry-bind-address=:7443"}, names: "--kubeconfig"},
		{name: "unknown TLS", args: []string{"--registry-tls=self"}, names: "--registry-tls=self"},
		{name: "files without a folder", args: []string{"--registry-tls=files"}, names: "--registry-cert-dir"},
		{name: "folder without files", args: []string{"--registry-tls=managed", "--registry-cert-dir=/x"}, names: "/x"},
		{name: "both", args: []string{"--registry-bind-address=:7443", "--registry-tls=managed", "--registry-insecure-bind"}, names: "--registry-insecure-bind"},
		{name: "no address to tell", args: []string{"--registry-bind-address=:7443", "--registry-advertise-address=registry"}, names: "--registry-advertise-address"},
		{name: "open admin port", args: []string{"--admin-bind-address=:8082"}, names: "--admin-bind-address"},
		{name: "no port", args: []string{"--registry-bind-address=127.0.0.1"}, names: "127.0.0.1"},
		{name: "no cluster", args: []string{"--registry-bind-address=0.0.0.0:7443", "--registry-insecure-bind"}, names: "--kubeconfig"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), test.args, &stdout, &stderr)
			if stdout.String() != test.stdout {
				t.Errorf("wrote %q, want %q", stdout.String(), test.stdout)
			}
			switch {
			case test.is != nil && !errors.Is(err, test.is):
				t.Errorf("error %v, want %v", err, test.is)
			case test.names != "" && (err == nil || !strings.Contains(err.Error(), test.names)):
				t.Errorf("error %v does not name %s", err, test.names)
			case test.is == nil && test.names == "" && err != nil:
				t.Error(err)
			}
		})
	}
}

func TestPodNamespace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "namespace")
	if got := podNamespace(file); got != "fairlead-system" {
		t.Errorf("without a file: %q", got)
	}
	if err := os.WriteFile(file, []byte("ours\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := podNamespace(file); got != "ours" {
		t.Errorf("%q", got)
	}
}
