// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// newCache returns a cache whose builds take no time, and the count of them.
func newCache(t *testing.T) (cache, *atomic.Int32) {
	t.Helper()
	builds := new(atomic.Int32)
	return cache{
		root: t.TempDir(),
		say:  t.Logf,
		build: func(_ context.Context, out string) error {
			builds.Add(1)
			return writePrograms(out)
		},
	}, builds
}

func writePrograms(dir string) error {
	for _, name := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o755); err != nil {
			return err
		}
	}
	return nil
}

func TestRacingRunsBuildOnce(t *testing.T) {
	c, builds := newCache(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			dir, err := c.get(t.Context(), "key")
			if err != nil {
				t.Error(err)
				return
			}
			if err := complete(dir); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("8 runs at once made %d builds, want 1", n)
	}
}

func TestLeftoversOfAKilledRunAreReplaced(t *testing.T) {
	c, builds := newCache(t)
	home := filepath.Join(c.root, "key")
	half := filepath.Join(home, "build-killed")
	for _, dir := range []string{half, filepath.Join(home, "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "etcd"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.get(t.Context(), "key"); err != nil {
		t.Fatal(err)
	}
	if n := builds.Load(); n != 1 {
		t.Errorf("builds = %d, want 1: half a build does not count", n)
	}
	if _, err := os.Stat(half); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", half, err)
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	c, builds := newCache(t)
	broken := errors.New("broken")
	build := c.build
	c.build = func(_ context.Context, out string) error {
		return errors.Join(os.WriteFile(filepath.Join(out, "etcd"), nil, 0o755), broken)
	}
	if _, err := c.get(t.Context(), "key"); !errors.Is(err, broken) {
		t.Fatalf("err = %v, want the build's", err)
	}
	left, err := filepath.Glob(filepath.Join(c.root, "key", "b*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	c.build = build
	for range 2 {
		if _, err := c.get(t.Context(), "key"); err != nil {
			t.Fatal(err)
		}
	}
	if n := builds.Load(); n != 1 {
		t.Errorf("builds after the failure = %d, want 1", n)
	}
}

func TestWaitingForAnotherRunEndsWithTheContext(t *testing.T) {
	c, _ := newCache(t)
	unlock, err := c.lock(t.Context(), filepath.Join(c.root, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	c.say = func(string, ...any) { cancel() } // it says so once it waits
	if _, err := c.lock(ctx, filepath.Join(c.root, "lock")); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want that of the context", err)
	}
}

func TestKeyFollowsTheSources(t *testing.T) {
	src := t.TempDir()
	for _, name := range sources {
		path := filepath.Join(src, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before, err := sourceKey(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range sources {
		if err := os.WriteFile(filepath.Join(src, name), []byte("changed"), 0o644); err != nil {
			t.Fatal(err)
		}
		after, err := sourceKey(src)
		if err != nil {
			t.Fatal(err)
		}
		if after == before {
			t.Errorf("the key does not change with %s", name)
		}
		before = after
	}
}

func TestAssetsGivenByTheUserWin(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KUBEBUILDER_ASSETS", dir)
	if _, err := assets(t.Context()); err == nil {
		t.Error("an empty folder passed for one with the programs")
	}
	if err := writePrograms(dir); err != nil {
		t.Fatal(err)
	}
	if got, err := assets(t.Context()); err != nil || got != dir {
		t.Errorf("assets = %q, %v; want %q", got, err, dir)
	}
}

func TestCacheRootWithoutHome(t *testing.T) {
	for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
		t.Setenv(name, "")
	}
	src := filepath.Join("repo", "hack", "envtest")
	if got, want := cacheRoot(src), filepath.Join("repo", "bin", "envtest"); got != want {
		t.Errorf("cacheRoot = %s, want %s", got, want)
	}
}
