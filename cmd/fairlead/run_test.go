// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/rpcruntime"
)

func TestCommandLinesThatAreWrong(t *testing.T) {
	for args, want := range map[string]string{
		"srve":                                   "did you mean serve?",
		"zzz":                                    "there are call, ",
		"--wrong":                                "--wrong",
		"version x":                              `"x" is one argument too many`,
		"inject":                                 "-f FILE",
		"inject a.yaml":                          "name files with -f",
		"inject -f /no/such/file":                "/no/such/file",
		"inject -f .":                            "directory",
		"serve":                                  "--manifests is missing",
		"serve DIR":                              `"DIR" is one argument too many`,
		"serve --manifests .  --listen :1":       "--insecure-bind",
		"serve --manifests /no/such/folder":      "/no/such/folder",
		"lint":                                   "name folders or files",
		"lint -o yaml .":                         `--output "yaml" is none of text, json`,
		"lint /no/such/folder":                   "/no/such/folder",
		"endpoints":                              "SERVICE is missing",
		"endpoints a":                            "FAIRLEAD_REGISTRY",
		"endpoints a/b/c --registry 127.0.0.1:1": "a/b/c",
		"endpoints a --registry 127.0.0.1":       "127.0.0.1",
		"endpoints a --registry 127.0.0.1:1 --timeout 0s": "--timeout",
		"call":                               "SERVICE is missing",
		"call a":                             "METHOD is missing",
		"call a B.C":                         "JSON is missing",
		"call a B.C {} {}":                   "one argument too many",
		"call a B.C {}":                      "--endpoint",
		"call a B.C {} --endpoint 127.0.0.1": "127.0.0.1",
		"call a B {} --endpoint 127.0.0.1:1": "PATH.METHOD",
		"call a B.C {} --endpoint 127.0.0.1:1 --registry 127.0.0.1:2": "exclude each other",
		"call a B.C {} --endpoint 127.0.0.1:1 --codec thrift":         `"thrift" is none of json, msgpack`,
		"call a B.C {} --endpoint 127.0.0.1:1 --metadata x":           "KEY=VALUE",
		"call a B.C {]} --endpoint 127.0.0.1:1":                       "line 1, column 2",
	} {
		t.Run(args, func(t *testing.T) {
			got := fairlead(t, strings.Fields(args)...)
			got.says(t, exitUsage, "stderr", want, "--help")
			if got.out != "" {
				t.Errorf("stdout has %q", got.out)
			}
		})
	}
}

func TestHelpTeaches(t *testing.T) {
	fairlead(t).says(t, exitOK, "stdout", "serve", "lint", "endpoints", "call", "version")
	var visit func(path []string, c *cobra.Command)
	visit = func(path []string, c *cobra.Command) {
		if c.Hidden {
			return
		}
		fairlead(t, append(path, "--help")...).says(t, exitOK, "stdout", "Examples:\n  ", "fairlead "+strings.Join(path, " "))
		if c.Short == "" || len(c.Long) < len(c.Short) {
			t.Errorf("%v has nothing to say", path)
		}
		for _, below := range c.Commands() {
			visit(append(path[:len(path):len(path)], below.Name()), below)
		}
	}
	for _, c := range commands() {
		visit([]string{c.Name()}, c)
	}
}

func TestVersion(t *testing.T) {
	fairlead(t, "version").says(t, exitOK, "stdout", "fairlead "+version+" go")
}

func TestLint(t *testing.T) {
	fairlead(t, "lint", "../../config/samples").says(t, exitOK, "stdout", "4 files, 4 objects: 0 errors, 0 warnings\n")

	dir := t.TempDir()
	fairlead(t, "lint", dir).says(t, exitUsage, "stderr", "no *.yaml")
	good, warned, broken := filepath.Join(dir, "good.yaml"), filepath.Join(dir, "a", "warned.yaml"), filepath.Join(dir, "broken.yaml")
	if err := os.Mkdir(filepath.Dir(warned), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, good, arithManifest)
	write(t, warned, `apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCCallPolicy
metadata: {name: p}
spec:
  targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: nobody}]
  timeout: 1s
`)
	fairlead(t, "lint", dir).says(t, exitOK, "stdout", warned+":5: warning: ", "2 files, 2 objects: 0 errors, 1 warning\n")
	fairlead(t, "lint", "--strict", dir).says(t, exitFailed, "stdout", "1 warning\n")
	write(t, broken, arithManifest+"  oops: 1\n---\n"+strings.Replace(arithManifest, "Registered", "Sometimes", 1))
	got := fairlead(t, "lint", dir)
	got.says(t, exitFailed, "stdout", broken+":8: spec.oops", broken+":14: spec.source.type")
	if got.errOut != "" {
		t.Errorf("stderr has %q", got.errOut)
	}
	if first, second, third := strings.Index(got.out, warned), strings.Index(got.out, ":8:"), strings.Index(got.out, ":14:"); !(first < second && second < third) {
		t.Errorf("not in order:\n%s", got.out)
	}

	got = fairlead(t, "lint", broken, warned)
	if first, second := strings.Index(got.out, warned), strings.Index(got.out, broken); first < 0 || first > second {
		t.Errorf("not in order:\n%s", got.out)
	}
	got = fairlead(t, "lint", "-o", "json", broken, good)
	var report lintReport
	if err := json.Unmarshal([]byte(got.out), &report); err != nil || got.code != exitFailed {
		t.Fatalf("exit code %d, %v:\n%s", got.code, err, got.out)
	}
	if report.Files != 2 || report.Errors != len(report.Findings) || report.Findings[0].Line != 8 || report.Findings[0].Severity != "error" {
		t.Errorf("got %+v", report)
	}
}

func TestCallWithoutARegistry(t *testing.T) {
	rt := newRuntime(t, rpcruntime.WithoutRegistry())
	address := serveArith(t, rt)
	for _, codec := range []string{"json", "msgpack"} {
		call := func(arg string, more ...string) result {
			return fairlead(t, append([]string{"call", "arith", "Arith.Mul", arg, "--endpoint", address, "--codec", codec}, more...)...)
		}
		if got := call(`{"A": 3037000499, "B": 3037000499}`); got.code != exitOK || got.out != `{"C":9223372030926249001}`+"\n" {
			t.Errorf("%s: %+v", codec, got)
		}
		call(`{}`, "--metadata", "refuse=a=b").says(t, exitFailed, "stderr", "ResourceExhausted: refused: a=b")
	}
	got := fairleadWith(t, "{\n \"A\": 6,\n \"B\": 7}", "call", "arith", "Arith.Mul", "-", "--endpoint", address)
	got.says(t, exitOK, "stdout", `{"C":42}`)
	fairleadWith(t, "{\n \"A\": x}", "call", "arith", "Arith.Mul", "-", "--endpoint", address).says(t, exitUsage, "stderr", "line 2, column 7")
	fairlead(t, "call", "arith", "Arith.Div", "{}", "--endpoint", address).says(t, exitFailed, "stderr", "Unimplemented", "it was not executed")
}

func TestEndpointsAndCall(t *testing.T) {
	manifests := t.TempDir()
	write(t, filepath.Join(manifests, "arith.yaml"), arithManifest)
	r := serveFolder(t, manifests, t.TempDir(), "127.0.0.1:0")
	fairlead(t, "endpoints", "arith", "--registry", r.address).says(t, exitOK, "stdout", "default/arith  digest ", "has no endpoints")

	address := serveArith(t, newRuntime(t, rpcruntime.WithRegistry(r.address)), rpcruntime.Service("default/arith"), rpcruntime.Advertise(""))
	eventually(t, r.said, func() bool {
		return strings.Contains(fairlead(t, "endpoints", "arith", "--registry", r.address).out, address)
	})
	t.Setenv("FAIRLEAD_REGISTRY", r.address)
	got := fairlead(t, "endpoints", "default/arith")
	got.says(t, exitOK, "stdout", "registry "+r.address+" (as of ", "ADDRESS", "Ready")
	got = fairlead(t, "endpoints", "arith", "-o", "json")
	var view serviceView
	if err := json.Unmarshal([]byte(got.out), &view); err != nil {
		t.Fatalf("%v:\n%s", err, got.out)
	}
	if view.Service != "default/arith" || len(view.Digest) != 8 || len(view.AsOf) == 0 || len(view.Endpoints) != 1 || view.Endpoints[0].State != "Ready" {
		t.Errorf("got %+v", view)
	}

	for range 4 { // the order of addresses is random
		fairlead(t, "endpoints", "arith", "--registry", "127.0.0.1:1,"+r.address).says(t, exitOK, "stdout", address)
	}

	fairlead(t, "call", "arith", "Arith.Mul", `{"A":6,"B":7}`).says(t, exitOK, "stdout", `{"C":42}`)
	t.Setenv("FAIRLEAD_NAMESPACE", "shop")
	for _, command := range [][]string{{"endpoints", "arith"}, {"call", "arith", "Arith.Mul", "{}"}} {
		fairlead(t, command...).says(t, exitFailed, "stderr", "NotFound", r.address, `did you mean "default/arith"?`)
	}
}

func TestRegistryThatIsAway(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := ln.Addr().String()
	_ = ln.Close()
	began := time.Now()
	fairlead(t, "endpoints", "a", "--registry", nobody).says(t, exitFailed, "stderr", nobody, "refused")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %s to see that nobody is there", took)
	}
	fairlead(t, "call", "a", "B.C", "{}", "--registry", nobody, "--timeout", "300ms").says(t, exitFailed, "stderr", nobody, "DeadlineExceeded")

	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	fairlead(t, "endpoints", "a", "--registry", silent.Addr().String(), "--timeout", "300ms").says(t, exitFailed, "stderr", silent.Addr().String())
}

func TestKillNineAndRestartUnderLoad(t *testing.T) {
	manifests, state := t.TempDir(), t.TempDir()
	write(t, filepath.Join(manifests, "arith.yaml"), arithManifest)
	r := serveFolder(t, manifests, state, "127.0.0.1:0")
	var addresses []string
	for range 2 {
		addresses = append(addresses, serveArith(t, newRuntime(t, rpcruntime.WithRegistry(r.address)), rpcruntime.Service("default/arith"), rpcruntime.Advertise("")))
	}
	client := newRuntime(t, rpcruntime.WithRegistry(r.address)).NewClient("arith")
	eventually(t, r.said, func() bool { s := client.Snapshot(); return s != nil && len(s.Endpoints) == len(addresses) })

	ctx, stop := context.WithCancel(t.Context())
	calls, done := 0, make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if _, err := rpcruntime.Call[mulReply](context.Background(), client, "Arith.Mul", &mulArgs{6, 7}); err != nil {
				done <- err
				return
			}
			calls++
		}
		done <- nil
	}()
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = r.Wait() // killed
	r = serveFolder(t, manifests, state, r.address)
	// Who asks before the instances are back finds them all the same.
	got := fairlead(t, "endpoints", "arith", "--registry", r.address)
	got.says(t, exitOK, "stdout", addresses...)
	write(t, filepath.Join(manifests, "policy.yaml"), `apiVersion: rpc.fairlead.dev/v1alpha1
kind: RPCCallPolicy
metadata: {name: arith}
spec:
  targetRefs: [{group: rpc.fairlead.dev, kind: RPCService, name: arith}]
  timeout: 7s
`)
	eventually(t, r.said, func() bool { return client.Snapshot().Effective("Arith.Mul").Timeout == 7*time.Second })
	stop()
	if err := <-done; err != nil || calls == 0 {
		t.Errorf("after %d calls: %v", calls, err)
	}
	if n := len(client.Snapshot().Endpoints); n != len(addresses) {
		t.Errorf("%d endpoints after the restart", n)
	}
}

func TestKilledInstanceIsSuspectAtOnce(t *testing.T) {
	manifests := t.TempDir()
	write(t, filepath.Join(manifests, "arith.yaml"), arithManifest)
	r := serveFolder(t, manifests, t.TempDir(), "127.0.0.1:0")
	t.Setenv("FAIRLEAD_REGISTRY", r.address)
	instance := startAs(t, "arith")
	says := func(state string) func() bool {
		return func() bool { return strings.Contains(fairlead(t, "endpoints", "arith").out, "  "+state+"  ") }
	}
	eventually(t, r.said, says("Ready"))
	if err := instance.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	eventually(t, r.said, says("Suspect"))
	if took := time.Since(killed); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestServeEndsBySignal(t *testing.T) {
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		r := serveFolder(t, t.TempDir(), t.TempDir(), "127.0.0.1:0")
		rt := newRuntime(t, rpcruntime.WithRegistry(r.address))
		rt.NewClient("arith") // a subscriber does not hold it up
		if err := r.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := r.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", s, err, r.said())
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%v: it took %s", s, took)
		}
	}
}
