// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// programs are what a complete folder holds.
var programs = []string{"etcd", "kube-apiserver"}

// sources are the files that decide what a build yields.
var sources = []string{"go.mod", "go.sum", "main.go", "etcd/main.go", "kube-apiserver/main.go"}

// cache keeps one finished build per key, in root/KEY/bin.
//
// Two runs may race and a run may be killed at any moment. A build therefore
// grows in a folder of its own and is renamed to its place when it is whole;
// a file lock, which the kernel drops with its holder, keeps a second run from
// building the same thing at the same time and tells leftovers from work.
type cache struct {
	root  string
	build func(ctx context.Context, out string) error
	say   func(format string, args ...any)
}

// get returns the folder for key, and builds it first if there is none.
func (c cache) get(ctx context.Context, key string) (string, error) {
	dir := filepath.Join(c.root, key, "bin")
	if complete(dir) == nil {
		return dir, nil
	}
	home := filepath.Dir(dir)
	if err := os.MkdirAll(home, 0o755); err != nil {
		return "", err
	}
	unlock, err := c.lock(ctx, filepath.Join(home, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete(dir) == nil { // built by another run while this one waited
		return dir, nil
	}
	if err := c.fill(ctx, home, dir); err != nil {
		return "", err
	}
	return dir, nil
}

// fill builds into a folder of its own and moves it to dir. The caller holds
// the lock, so whatever else lies there was left by a run that died.
func (c cache) fill(ctx context.Context, home, dir string) error {
	left, err := filepath.Glob(filepath.Join(home, "build-*"))
	if err != nil {
		return err
	}
	for _, old := range append(left, dir) {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	tmp, err := os.MkdirTemp(home, "build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := c.build(ctx, tmp); err != nil {
		return err
	}
	if err := complete(tmp); err != nil {
		return fmt.Errorf("the build ended well, but %w", err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

// lock takes the file lock, and says so when it has to wait for another run.
func (c cache) lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	retry := time.NewTicker(200 * time.Millisecond)
	defer retry.Stop()
	for waited := false; ; waited = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil // closing drops the lock
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !waited {
			c.say("another run builds already; waiting for it")
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		}
	}
}

// complete tells whether dir holds every program, and what is missing if not.
func complete(dir string) error {
	for _, name := range programs {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("no %s in %s", name, dir)
		}
		if !info.Mode().IsRegular() || info.Mode().Perm()&0o100 == 0 {
			return fmt.Errorf("%s in %s is not a program", name, dir)
		}
	}
	return nil
}

// sourceKey names a build by what goes into it.
func sourceKey(src string) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, platform())
	for _, name := range sources {
		f, err := os.Open(filepath.Join(src, filepath.FromSlash(name)))
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, name)
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}
