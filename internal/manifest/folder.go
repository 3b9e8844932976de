// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of what is read.
const (
	// MaxFileBytes is the size of the largest file that is read. Larger ones are refused.
	MaxFileBytes = 4 << 20
	// MaxFiles is the number of files up to which a folder is read. A folder with more is refused.
	MaxFiles = 10_000
	// maxDepth is how deep folders may lie in each other.
	maxDepth = 32
)

// reading is what a folder held at one moment.
type reading struct {
	// files holds the content of each file by its path. Content that could not be read is a finding instead.
	files map[string]content
	// folders are all folders that were read, for those who watch them.
	folders []string
	// unread are the files and folders that could not be read. Nothing is known of what lies there.
	unread []Finding
}

type content struct {
	data  []byte
	wrong *Finding // why data is not there
}

// readPath reads a folder, or a single file. The error is about path itself.
func readPath(path string) (*reading, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	r := &reading{files: make(map[string]content)}
	if !info.IsDir() {
		if !isManifest(path) {
			return nil, fmt.Errorf("read manifests: %s is neither a folder nor a file that ends in %s", path, strings.Join(extensions(), ", "))
		}
		r.folders = []string{filepath.Dir(path)}
		r.readFile(path)
		return r, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	r.readEntries(path, entries, 0)
	if len(r.files) > MaxFiles {
		return nil, fmt.Errorf("read manifests: %s holds more than %d manifests", path, MaxFiles)
	}
	return r, nil
}

func extensions() []string { return []string{".yaml", ".yml", ".json"} }

func isManifest(name string) bool { return slices.Contains(extensions(), filepath.Ext(name)) }

// readEntries reads the files of a folder and goes down into its folders. It passes over hidden ones: editors keep their
// copies there, and a mounted ConfigMap what it links to. It follows links to files, not to folders.
func (r *reading) readEntries(folder string, entries []fs.DirEntry, depth int) {
	r.folders = append(r.folders, folder)
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		switch {
		case strings.HasPrefix(entry.Name(), "."):
		case len(r.files) > MaxFiles:
			return
		case entry.IsDir():
			r.readFolder(path, depth+1)
		case isManifest(entry.Name()):
			r.readFile(path)
		}
	}
}

func (r *reading) readFolder(path string, depth int) {
	if depth > maxDepth {
		r.unread = append(r.unread, Finding{File: path, Message: fmt.Sprintf("lies more than %d folders deep", maxDepth)})
		return
	}
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // gone since its parent was read
	case err != nil:
		r.unread = append(r.unread, Finding{File: path, Message: "cannot be read: " + reason(err)})
	default:
		r.readEntries(path, entries, depth)
	}
}

func (r *reading) readFile(path string) {
	data, err := readBounded(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // gone since its folder was read, or a link to nothing
	case err != nil:
		r.files[path] = content{wrong: &Finding{File: path, Message: reason(err)}}
	default:
		r.files[path] = content{data: data}
	}
}

// readBounded reads a regular file of at most MaxFileBytes.
func readBounded(path string) ([]byte, error) {
	info, err := os.Stat(path) // before opening: to open a pipe would block
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxFileBytes+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFileBytes {
		return nil, fmt.Errorf("is larger than %d MiB; split it", MaxFileBytes>>20)
	}
	return data, nil
}

// reason is an error without the path, which the finding names.
func reason(err error) string {
	var of *fs.PathError
	if errors.As(err, &of) {
		return "cannot be read: " + of.Err.Error()
	}
	return err.Error()
}
