// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// program builds one that does nothing.
func program(t *testing.T, file, arch, cgo string) string {
	t.Helper()
	folder := t.TempDir()
	source := filepath.Join(folder, "main.go")
	text := "package main\n\nfunc main() {}\n"
	if cgo == "1" {
		text = "package main\n\nimport \"C\"\n\nfunc main() {}\n"
	}
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(folder, file)
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", out, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo, "GOOS=linux", "GOARCH="+arch, "GOFLAGS=-buildvcs=false")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("cannot be built here: %v: %s", err, text)
	}
	return out
}

// TestImage writes an image twice: the bytes are the same, and it is what it
// is meant to be.
func TestImage(t *testing.T) {
	programs := []string{program(t, "manager", "arm64", "0"), program(t, "fairlead", "arm64", "0")}
	var texts [2]string
	for i := range texts {
		out := filepath.Join(t.TempDir(), "image.tar")
		if err := run("example.test/fairlead:v1", "linux/arm64", "v1", out, programs); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(text)
		// The next one is to differ in nothing but when it was made.
		if err := os.Chtimes(programs[0], made.AddDate(30+i, 0, 0), made.AddDate(30+i, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if texts[0] != texts[1] {
		t.Error("two images of the same programs differ")
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, []byte(texts[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("example.test/fairlead:v1")
	if err != nil {
		t.Fatal(err)
	}
	image, err := tarball.ImageFromPath(file, &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Architecture != "arm64" || config.Config.User != user || strings.Join(config.Config.Entrypoint, " ") != "/manager" ||
		config.Config.Labels["org.opencontainers.image.version"] != "v1" {
		t.Errorf("configuration %+v", config)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	packed, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	archive, err := io.ReadAll(packed)
	if err != nil {
		t.Fatal(err)
	}
	// Go's reader does not mind an archive without its end; others do.
	const block = 512
	if len(archive)%block != 0 || !bytes.HasSuffix(archive, make([]byte, 2*block)) {
		t.Errorf("the layer of %d bytes does not end as an archive does, in two empty blocks", len(archive))
	}
	content := mutate.Extract(image)
	defer content.Close()
	var names []string
	for r := tar.NewReader(content); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Mode != 0o555 || header.Uid != 0 || !header.ModTime.Equal(made) {
			t.Errorf("%s: mode %o of user %d from %s", header.Name, header.Mode, header.Uid, header.ModTime)
		}
		names = append(names, header.Name)
	}
	if got := strings.Join(names, " "); got != "manager fairlead" {
		t.Errorf("the image holds %s", got)
	}
}

// TestRefused: what would not run in an empty image is not packed.
func TestRefused(t *testing.T) {
	good := program(t, "manager", "amd64", "0")
	text := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ ref, platform, program, want string }{
		{"fairlead", "linux/amd64", good, "NAME:TAG"},
		{"fairlead:v1", "darwin/arm64", good, "neither"},
		{"fairlead:v1", "linux/arm64", good, "GOARCH=arm64"},
		{"fairlead:v1", "linux/amd64", text, "no program"},
		{"fairlead:v1", "linux/amd64", filepath.Join(t.TempDir(), "none"), "no such file"},
	} {
		out := filepath.Join(t.TempDir(), "image.tar")
		if err := run(test.ref, test.platform, "", out, []string{test.program}); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v", test, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%+v left a file", test)
		}
	}
	t.Run("dynamic", func(t *testing.T) {
		if err := check(program(t, "manager", "amd64", "1"), "amd64"); err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=0") {
			t.Errorf("%v", err)
		}
	})
}
