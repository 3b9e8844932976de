// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command envtest prints the folder that holds etcd and kube-apiserver for
// tests, and builds the two programs first if the user's cache has none:
//
//	export KUBEBUILDER_ASSETS="$(GOWORK=off go -C hack/envtest run .)"
//
// A KUBEBUILDER_ASSETS that is set already wins, and nothing is built.
// Standard output carries the folder and nothing else; what happens meanwhile
// goes to standard error.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := assets(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "envtest:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}

// assets returns the folder with the two programs.
func assets(ctx context.Context) (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		if err := complete(dir); err != nil {
			return "", fmt.Errorf("KUBEBUILDER_ASSETS=%s: %w; unset it to have the programs built", dir, err)
		}
		return dir, nil
	}
	src, err := os.Getwd()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(src, "kube-apiserver", "main.go")); err != nil {
		return "", fmt.Errorf("%s is not the folder of this command; use go -C hack/envtest run, at the root of the repository", src)
	}
	key, err := sourceKey(src)
	if err != nil {
		return "", err
	}
	c := cache{root: cacheRoot(src), say: say, build: func(ctx context.Context, out string) error {
		return goBuild(ctx, src, out)
	}}
	return c.get(ctx, key)
}

// cacheRoot is where builds are kept. A machine without a home folder, as
// some build machines are, keeps them in the repository's bin/.
func cacheRoot(src string) string {
	user, err := os.UserCacheDir()
	if err != nil {
		return filepath.Join(src, "..", "..", "bin", "envtest")
	}
	return filepath.Join(user, "fairlead", "envtest")
}

// goBuild compiles both programs into out.
func goBuild(ctx context.Context, src, out string) error {
	version, err := kubernetesVersion(filepath.Join(src, "go.mod"))
	if err != nil {
		return err
	}
	say("building etcd and kube-apiserver %s from their modules, once: about 5 minutes on 2 cores", version)
	defer progress(30 * time.Second)()
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", ldflags(version),
		"-o", out+string(filepath.Separator), "./etcd", "./kube-apiserver")
	cmd.Dir = src
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	// An interrupt lets the go command end its compilers; a kill would leave them.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go build in %s: %w", src, err)
	}
	return nil
}

// ldflags makes both programs report the release that they are built from;
// without them the API server calls itself v0.0.0-master.
func ldflags(version string) string {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	return strings.Join([]string{
		"-s", "-w",
		"-X", "k8s.io/component-base/version.gitVersion=" + version,
		"-X", "k8s.io/component-base/version.gitMajor=" + parts[0],
		"-X", "k8s.io/component-base/version.gitMinor=" + parts[1],
		"-X", "k8s.io/client-go/pkg/version.gitVersion=" + version,
	}, " ")
}

var kubernetesLine = regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v\d+\.\d+\.\d+)$`)

// kubernetesVersion reads the release from go.mod, so that it is written down
// in one place only.
func kubernetesVersion(gomod string) (string, error) {
	text, err := os.ReadFile(gomod)
	if err != nil {
		return "", err
	}
	m := kubernetesLine.FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s requires no release of k8s.io/kubernetes", gomod)
	}
	return string(m[1]), nil
}

// progress says every so often that the work goes on. The returned function
// ends it.
func progress(every time.Duration) func() {
	start, tick := time.Now(), time.NewTicker(every)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-tick.C:
				say("still building, %d s so far", int(time.Since(start).Seconds()))
			case <-done:
				return
			}
		}
	}()
	return func() {
		tick.Stop()
		close(done)
		<-ended
		say("build ended after %d s", int(time.Since(start).Seconds()))
	}
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "envtest: "+format+"\n", args...)
}

// platform is part of the key, for a home folder may be shared by machines.
func platform() string { return runtime.GOOS + "/" + runtime.GOARCH }
