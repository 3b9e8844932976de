// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/google/go-cmp/cmp"
)

// update is what a Watch reported.
type update struct {
	set      Set
	findings []Finding
}

// watched is a Watch in progress.
type watched struct {
	t       *testing.T
	updates chan update
	last    update
}

// startWatch begins a Watch and ends it, for good, with the test.
func startWatch(t *testing.T, path string, o Options) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{t: t, updates: make(chan update)}
	done := make(chan error, 1)
	go func() {
		done <- Watch(ctx, path, o, func(s Set, f []Finding) {
			select {
			case w.updates <- update{s, f}:
			case <-ctx.Done():
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch ended with %v", err)
		}
	})
	return w
}

// await reads updates until one has these services, and this many findings.
func (w *watched) await(what string, findings int, services ...string) update {
	w.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case w.last = <-w.updates:
		case <-deadline.C:
			w.t.Fatalf("%s: waited for %v and %d findings; the last is %v, %v", what, services, findings, names(w.last.set), w.last.findings)
		}
		if slices.Equal(names(w.last.set), services) && len(w.last.findings) == findings {
			return w.last
		}
	}
}

func names(s Set) (all []string) {
	for _, service := range s.RPCServices {
		all = append(all, service.Name)
	}
	return all
}

func write(t *testing.T, text string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace is write at once: who looks meanwhile sees no file that is still empty.
func replace(t *testing.T, text string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	next := filepath.Join(filepath.Dir(file), ".next")
	write(t, text, next)
	must(t, os.Rename(next, file))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// heard watches by notifications alone; the next rescan is far away.
var heard = Options{Settle: 2 * time.Millisecond, Rescan: time.Hour}

func TestWatchHears(t *testing.T) {
	dir := t.TempDir()
	write(t, service("a"), dir, "a.yaml")
	w := startWatch(t, dir, heard)
	first := w.await("the start", 0, "a")
	if first.set.Revision != 1 {
		t.Errorf("revision %d at the start", first.set.Revision)
	}

	write(t, service("b"), dir, "b.yml")
	second := w.await("a new file", 0, "a", "b")
	if second.set.RPCServices[0] != first.set.RPCServices[0] {
		t.Error("an object that did not change is another one now")
	}
	write(t, service("c"), dir, "deep", "deeper", "c.json")
	w.await("a new folder in a new folder", 0, "a", "b", "c")
	replace(t, service("c", "A.B"), dir, "deep", "deeper", "c.json")
	third := w.await("a change in it", 0, "a", "b", "c")
	if third.set.RPCServices[2].Generation != 2 {
		t.Errorf("generation %d after a change", third.set.RPCServices[2].Generation)
	}

	replace(t, service("b2"), dir, "b.yml")
	w.await("an editor's rename", 0, "a", "b2", "c")

	replace(t, broken, dir, "b.yml")
	kept := w.await("a file that breaks", 1, "a", "b2", "c")
	if f := kept.findings[0]; f.File != filepath.Join(dir, "b.yml") || f.Line != 4 || f.Field != "spec.source" {
		t.Errorf("finding %+v", f)
	}
	write(t, service("b3"), dir, "b.yml")
	w.await("and is mended", 0, "a", "b3", "c")

	must(t, os.RemoveAll(filepath.Join(dir, "deep")))
	w.await("a folder that goes", 0, "a", "b3")
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	w.await("a file that goes", 0, "b3")
}

// TestWatchConfigMap does what the kubelet does to a mounted ConfigMap.
func TestWatchConfigMap(t *testing.T) {
	dir := t.TempDir()
	write(t, service("a"), dir, "..1", "m.yaml")
	must(t, os.Symlink("..1", filepath.Join(dir, "..data")))
	must(t, os.Symlink(filepath.Join("..data", "m.yaml"), filepath.Join(dir, "m.yaml")))
	w := startWatch(t, dir, heard)
	w.await("the start", 0, "a")

	write(t, service("b"), dir, "..2", "m.yaml")
	must(t, os.Symlink("..2", filepath.Join(dir, "..data_tmp")))
	must(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	must(t, os.RemoveAll(filepath.Join(dir, "..1")))
	w.await("the swap", 0, "b")
}

// TestWatchLooks changes what no notification tells of: the folder is a link, which then leads elsewhere.
func TestWatchLooks(t *testing.T) {
	dir := t.TempDir()
	write(t, service("a"), dir, "1", "m.yaml")
	write(t, service("b"), dir, "2", "m.yaml")
	current := filepath.Join(dir, "current")
	must(t, os.Symlink("1", current))
	w := startWatch(t, current, Options{Settle: 2 * time.Millisecond, Rescan: 5 * time.Millisecond})
	w.await("the start", 0, "a")
	must(t, os.Remove(current))
	lost := w.await("no folder", 1, "a")
	if lost.findings[0].File != current || lost.findings[0].Severity != Error {
		t.Errorf("finding %+v", lost.findings[0])
	}
	must(t, os.Symlink("2", current))
	w.await("another folder", 0, "b")
}

// TestListenThenLook: a folder is read once more after it has been listened to, or what happened in between goes unheard.
func TestListenThenLook(t *testing.T) {
	dir := t.TempDir()
	notifier, err := fsnotify.NewWatcher()
	must(t, err)
	defer notifier.Close()
	w := &watch{path: dir, tracker: newTracker(0), notifier: notifier, onChange: func(Set, []Finding) {}}
	look := func(what string, want bool) {
		t.Helper()
		if settled, err := w.look(); err != nil || settled != want {
			t.Errorf("%s: settled %v (%v), want %v", what, settled, err, want)
		}
	}
	look("the folder for the first time", false)
	look("again", true)
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	look("a folder in it", false)
	look("again", true)
	must(t, os.Remove(filepath.Join(dir, "sub")))
	look("without it", true)
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	look("it is back", false)
	look("again", true)
}

func TestWatchOneFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, service("a"), file)
	write(t, service("b"), dir, "b.yaml")
	w := startWatch(t, file, heard)
	w.await("the start", 0, "a")
	write(t, service("c"), file)
	w.await("a change", 0, "c")
}

func TestWatchEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	dir := t.TempDir()
	for range 10 {
		ctx, cancel := context.WithCancel(t.Context())
		if err := Watch(ctx, dir, heard, func(Set, []Finding) { cancel() }); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
	if err := Watch(t.Context(), filepath.Join(dir, "none"), heard, nil); err == nil {
		t.Error("a folder that is not there is watched")
	}
}

// TestLoad reads what a folder may hold beside good manifests.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write(t, documents(service("a"), service("b")), dir, "a.yaml")
	write(t, "not a manifest", dir, "README.md")
	write(t, broken, dir, ".hidden.yaml")
	write(t, broken, dir, ".git", "x.yaml")
	write(t, broken, dir, "a.yaml~")
	write(t, "# nothing\n---\n---\n", dir, "empty.yaml")
	write(t, documents(service("c"), broken), dir, "half.yaml")
	write(t, strings.Repeat("#", MaxFileBytes+1), dir, "large.yaml")
	write(t, service("a"), dir, "sub", "a.yaml")
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")))
	must(t, os.Mkdir(filepath.Join(dir, "folder.yaml"), 0o700))
	must(t, os.Symlink(dir, filepath.Join(dir, "sub", "loop")))
	set, findings, err := Load(dir)
	must(t, err)
	if diff := cmp.Diff([]string{"a", "b"}, names(set)); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	var got []string
	for _, f := range findings {
		f.Message = ""
		got = append(got, strings.TrimPrefix(f.String(), dir))
	}
	want := []string{"/half.yaml:10: spec.source: ", "/large.yaml: ", "/sub/a.yaml:3: metadata.name: "}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if set, findings, err := Load(filepath.Join(dir, "sub", "a.yaml")); err != nil || len(findings) > 0 || len(set.RPCServices) != 1 {
		t.Errorf("one file: %v, %v, %v", names(set), findings, err)
	}
	for _, path := range []string{"none", "README.md"} {
		if _, _, err := Load(filepath.Join(dir, path)); err == nil {
			t.Errorf("%s is read", path)
		}
	}
}
