// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command image packs static programs as a container image from scratch, and
// writes it as a file that docker load, ctr images import and crane push take.
// It needs no Docker, and what it writes depends on what it reads alone: the
// same programs give the same bytes.
//
//	image -name NAME:TAG -platform linux/arm64 -version V -out image.tar manager fairlead
//
// The programs land in the image's root; the first is what it runs, as an
// unprivileged user. hack/image.sh builds them first.
package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// user is nobody in particular, and has no rights. The manifests name it, too.
const user = "65532:65532"

// made is when everything in the image was made: a time that never changes.
var made = time.Unix(0, 0).UTC()

// machines are the architectures, as ELF names them.
var machines = map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}

func main() {
	ref := flag.String("name", "", "`NAME:TAG` of the image")
	platform := flag.String("platform", "linux/amd64", "linux/amd64 or linux/arm64")
	version := flag.String("version", "", "what the image's label says of its version")
	out := flag.String("out", "", "`file` to write")
	flag.Parse()
	if err := run(*ref, *platform, *version, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ref, platform, version, out string, programs []string) error {
	if ref == "" || out == "" || len(programs) == 0 {
		return errors.New("-name, -out and at least one program are needed")
	}
	tag, err := name.NewTag(ref)
	if err != nil {
		return fmt.Errorf("-name %q: want NAME:TAG: %w", ref, err)
	}
	if !strings.HasSuffix(ref, ":"+tag.TagStr()) {
		return fmt.Errorf("-name %q has no tag: want NAME:TAG", ref)
	}
	arch, ok := strings.CutPrefix(platform, "linux/")
	if machines[arch] == 0 || !ok {
		return fmt.Errorf("-platform %q is neither linux/amd64 nor linux/arm64", platform)
	}
	for _, program := range programs {
		if err := check(program, arch); err != nil {
			return err
		}
	}
	image, err := assemble(arch, version, programs)
	if err != nil {
		return err
	}
	// Half an image is never left behind.
	if err := tarball.WriteToFile(out+".new", tag, image); err != nil {
		return err
	}
	if err := os.Rename(out+".new", out); err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s for %s, %s\n", out, tag, platform, digest)
	return nil
}

// check refuses what an image without anything else in it cannot run.
func check(program, arch string) error {
	file, err := elf.Open(program)
	if err != nil {
		return fmt.Errorf("%s is no program for Linux: %w", program, err)
	}
	defer file.Close()
	if file.Machine != machines[arch] {
		return fmt.Errorf("%s is for %s, not %s: build it with GOARCH=%s", program, file.Machine, machines[arch], arch)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: build it with CGO_ENABLED=0", program)
		}
	}
	return nil
}

// assemble makes the image: one layer, and a configuration.
func assemble(arch, version string, programs []string) (v1.Image, error) {
	content, err := layer(programs)
	if err != nil {
		return nil, err
	}
	packed, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return nil, err
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{Layer: packed, History: v1.History{Created: v1.Time{Time: made}, CreatedBy: "hack/image"}})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", arch, v1.Time{Time: made}
	config.Config = v1.Config{
		Entrypoint: []string{"/" + filepath.Base(programs[0])}, User: user, WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    "Fairlead",
			"org.opencontainers.image.source":   "https://github.com/fairlead/fairlead",
			"org.opencontainers.image.licenses": "Apache-2.0",
			"org.opencontainers.image.version":  version,
		},
	}
	return mutate.ConfigFile(image, config)
}

// layer packs the programs as root's, which nobody may change.
func layer(programs []string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, program := range programs {
		content, err := os.ReadFile(program)
		if err != nil {
			return nil, err
		}
		header := &tar.Header{Name: filepath.Base(program), Mode: 0o555, Size: int64(len(content)), ModTime: made, Format: tar.FormatUSTAR}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(content); err != nil {
			return nil, err
		}
	}
	// Closing writes the archive's end.
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
