// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestProgramsTakeArguments: the operator and the command line, as they are
// now, understand what the chart says to them.
func TestProgramsTakeArguments(t *testing.T) {
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin+"/", "./cmd/manager", "./cmd/fairlead")
	build.Dir, build.Env = root(), append(os.Environ(), "GOWORK=off")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, v := range []values{
		nil,
		{"metrics.enabled": false, "registry.tls.mode": "files", "registry.advertiseAddresses": []any{"a.example:1", "b.example:2"},
			"registry.drainTimeout": "20s", "registry.epoch": 3, "manager.log.level": 2, "manager.log.format": "console"},
	} {
		r := mustRender(t, "fairlead", v, modern)
		manager := deployment(t, r).Spec.Template.Spec.Containers[0]
		// All flags are parsed before the version is printed.
		if text, err := exec.CommandContext(t.Context(), filepath.Join(bin, manager.Command[0]), append(manager.Args, "--version")...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", v, err, text)
		}
		containers := at(t, r.find("Pod", "fairlead-test-registry"), "spec", "containers").([]any)[0].(map[string]any)
		var args []string
		for _, arg := range containers["args"].([]any) {
			args = append(args, arg.(string))
		}
		args = append(args, "--help") // flags before it are parsed
		if text, err := exec.CommandContext(t.Context(), filepath.Join(bin, containers["command"].([]any)[0].(string)), args...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v: %s", args, err, text)
		}
	}
}
