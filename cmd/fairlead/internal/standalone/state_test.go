// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead/fairlead/internal/compile"
)

func openState(t *testing.T, path string) *stateDir {
	t.Helper()
	d, err := openStateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return d
}

func TestStateOutlivesItsProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	d := openState(t, path)
	first, damaged, err := d.load()
	if err != nil || damaged != nil || first.epoch == "" || first.revision != 0 {
		t.Fatalf("a new state is %+v, %v, %v", first, damaged, err)
	}
	zoned, err := newInstance("shop/arith", "[::1]:80", map[string]string{"zone": "a"}, false)
	if err != nil {
		t.Fatal(err)
	}
	want := state{epoch: first.epoch, revision: 7, instances: []*compile.Instance{arith(t, "127.0.0.1:1", true), zoned}}
	if err := d.save(want); err != nil {
		t.Fatal(err)
	}
	d.close()
	got, damaged, err := openState(t, path).load()
	if err != nil || damaged != nil {
		t.Fatal(damaged, err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(state{})); diff != "" {
		t.Error(diff)
	}
}

func TestStateFolderBelongsToOneProcess(t *testing.T) {
	path := t.TempDir()
	first := openState(t, path)
	var inUse *InUseError
	if _, err := openStateDir(path); !errors.As(err, &inUse) {
		t.Fatalf("a second one got %v", err)
	}
	if inUse.PID != strconv.Itoa(os.Getpid()) || inUse.Dir != path {
		t.Errorf("the refusal names process %q and folder %q", inUse.PID, inUse.Dir)
	}
	first.close()
	openState(t, path)
}

func TestDamagedStateIsPutAside(t *testing.T) {
	for name, text := range map[string]string{
		"cut":        `{"format": 1, "epo`,
		"empty":      ``,
		"no format":  `{"epoch": "x"}`,
		"no epoch":   `{"format": 1}`,
		"no service": `{"format": 1, "epoch": "x", "leases": [{"service": "arith", "address": "127.0.0.1:1"}]}`,
		"no address": `{"format": 1, "epoch": "x", "leases": [{"service": "a/b", "address": "127.0.0.1"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			file := filepath.Join(path, stateName)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, damaged, err := openState(t, path).load()
			if err != nil || damaged == nil || !strings.Contains(damaged.Error(), file) {
				t.Fatalf("damaged %v, error %v", damaged, err)
			}
			if got.epoch == "" || got.epoch == "x" || len(got.instances) > 0 {
				t.Errorf("goes on with %+v", got)
			}
			if kept, err := os.ReadFile(file + ".damaged"); err != nil || string(kept) != text {
				t.Errorf("put aside as %q, %v", kept, err)
			}
		})
	}
}

func TestStateOfAnotherVersionIsLeftAlone(t *testing.T) {
	path := t.TempDir()
	file, text := filepath.Join(path, stateName), `{"epoch": 5, "format": 2}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var format *formatError
	if _, _, err := openState(t, path).load(); !errors.As(err, &format) {
		t.Errorf("read %s: %v", text, err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestInstancesAreChecked(t *testing.T) {
	many := map[string]string{}
	for i := range maxMetadata + 1 {
		many[strconv.Itoa(i)] = ""
	}
	for name, c := range map[string]struct {
		service, address string
		metadata         map[string]string
		good             bool
	}{
		"good":             {"a/b", "127.0.0.1:80", map[string]string{"zone": "z"}, true},
		"a name":           {"a/b", "host.example:80", nil, true},
		"short service":    {"b", "127.0.0.1:80", nil, false},
		"no port":          {"a/b", "127.0.0.1", nil, false},
		"port 0":           {"a/b", "127.0.0.1:0", nil, false},
		"unspecified":      {"a/b", "0.0.0.0:80", nil, false},
		"long zone":        {"a/b", "127.0.0.1:80", map[string]string{"zone": strings.Repeat("z", 5000)}, false},
		"long metadata":    {"a/b", "127.0.0.1:80", map[string]string{"k": strings.Repeat("z", 5000)}, false},
		"too much of that": {"a/b", "127.0.0.1:80", many, false},
	} {
		if _, err := newInstance(c.service, c.address, c.metadata, true); (err == nil) != c.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDefaultStateFolderIsThatOfTheManifests(t *testing.T) {
	root := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", filepath.Join(root, "cache"))
	t.Setenv("HOME", root)
	a, b := filepath.Join(root, "a"), filepath.Join(root, "b")
	for _, dir := range []string{a, b} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(a, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	at := func(path string) string {
		dir, err := defaultStateDir(path)
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	if at(a) == at(b) || at(a) != at(filepath.Join(root, "link")) || at(a) != at(filepath.Join(a, "..", "a")) {
		t.Errorf("a: %s, b: %s, link to a: %s", at(a), at(b), at(filepath.Join(root, "link")))
	}
}
