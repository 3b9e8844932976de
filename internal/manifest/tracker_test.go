// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// folder is what a test says a folder holds: text by path.
type folder map[string]string

func (f folder) reading(unread ...Finding) *reading {
	r := &reading{files: make(map[string]content), unread: unread}
	for path, text := range f {
		r.files[path] = content{data: []byte(text)}
	}
	return r
}

func service(name string, methods ...string) string {
	text := "apiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCService\nmetadata: {name: " + name + "}\nspec:\n  source: {type: Registered}\n"
	if len(methods) > 0 {
		text += "  methods: [{name: " + strings.Join(methods, "}, {name: ") + "}]\n"
	}
	return text
}

const broken = "apiVersion: rpc.fairlead.dev/v1alpha1\nkind: RPCService\nmetadata: {name: a}\nspec: {}\n"

func documents(texts ...string) string { return strings.Join(texts, "---\n") }

// state is what a test sees of a tracker: NAME/GENERATION/RESOURCEVERSION/METHODS of each service, and findings.
func state(t *tracker) (services, findings []string) {
	for _, s := range t.set.RPCServices {
		services = append(services, fmt.Sprintf("%s/%d/%s/%d", s.Name, s.Generation, s.ResourceVersion, len(s.Spec.Methods)))
	}
	for _, f := range t.findings {
		findings = append(findings, fmt.Sprintf("%s:%d", f.File, f.Line))
	}
	return services, findings
}

// TestTracker goes through the life of a folder. Each step is read until it has settled, and says what must be there.
func TestTracker(t *testing.T) {
	type step struct {
		what     string
		folder   folder
		unread   []Finding
		services []string
		findings []string
	}
	steps := []step{
		{what: "two files", folder: folder{"1": service("a"), "2": documents(service("b"), service("c"))},
			services: []string{"a/1/1/0", "b/1/1/0", "c/1/1/0"}},
		{what: "nothing new", folder: folder{"1": service("a"), "2": documents(service("b"), service("c"))},
			services: []string{"a/1/1/0", "b/1/1/0", "c/1/1/0"}},
		{what: "comments change nothing", folder: folder{"1": "# new\n" + service("a"), "2": documents(service("b"), service("c"))},
			services: []string{"a/1/1/0", "b/1/1/0", "c/1/1/0"}},
		{what: "a spec changes", folder: folder{"1": service("a", "A.B"), "2": documents(service("b"), service("c"))},
			services: []string{"a/2/2/1", "b/1/1/0", "c/1/1/0"}},
		{what: "a label changes", folder: folder{"1": strings.Replace(service("a", "A.B"), "{name: a}", "{name: a, labels: {x: z}}", 1), "2": documents(service("b"), service("c"))},
			services: []string{"a/2/3/1", "b/1/1/0", "c/1/1/0"}},
		{what: "one of two documents breaks, the other changes: neither is taken",
			folder:   folder{"1": service("a"), "2": documents(service("b", "B.B"), broken)},
			services: []string{"a/3/4/0", "b/1/1/0", "c/1/1/0"}, findings: []string{"2:11"}},
		{what: "it is mended", folder: folder{"1": service("a"), "2": documents(service("b", "B.B"))},
			services: []string{"a/3/4/0", "b/2/5/1"}},
		{what: "a file goes", folder: folder{"2": documents(service("b", "B.B"))},
			services: []string{"b/2/5/1"}},
		{what: "and comes back", folder: folder{"1": service("a"), "2": documents(service("b", "B.B"))},
			services: []string{"a/1/7/0", "b/2/5/1"}},
		{what: "an object in two files stays with the one that had it, though the other's path is first",
			folder:   folder{"0": service("b"), "1": service("a"), "2": documents(service("b", "B.B"))},
			services: []string{"a/1/7/0", "b/2/5/1"}, findings: []string{"0:3"}},
		{what: "it moves when that one lets go", folder: folder{"0": service("b"), "1": service("a"), "2": service("d")},
			services: []string{"a/1/7/0", "b/3/8/0", "d/1/8/0"}},
		{what: "a file is renamed", folder: folder{"0": service("b"), "3": service("a"), "2": service("d")},
			services: []string{"a/1/7/0", "b/3/8/0", "d/1/8/0"}},
		{what: "a new file that is broken has nothing to keep", folder: folder{"0": service("b"), "3": service("a"), "2": service("d"), "4": broken},
			services: []string{"a/1/7/0", "b/3/8/0", "d/1/8/0"}, findings: []string{"4:4"}},
		{what: "a folder cannot be read: what lies in it stays", folder: folder{"0": service("b")},
			unread:   []Finding{{File: "2", Message: "x"}, {File: "3", Message: "x"}, {File: "4", Message: "x"}},
			services: []string{"a/1/7/0", "b/3/8/0", "d/1/8/0"}, findings: []string{"2:0", "3:0", "4:0", "4:4"}},
		{what: "everything goes", folder: folder{}},
	}
	tr := newTracker(0)
	for i, s := range steps {
		if _, settled, err := tr.observe(s.folder.reading(s.unread...), i == 0); err != nil {
			t.Fatal(err)
		} else if !settled {
			if _, settled, err = tr.observe(s.folder.reading(s.unread...), false); err != nil || !settled {
				t.Fatalf("%s: not settled by two readings (%v)", s.what, err)
			}
		}
		services, findings := state(tr)
		if diff := cmp.Diff(s.services, services); diff != "" {
			t.Errorf("%s: services (-want +got):\n%s", s.what, diff)
		}
		if diff := cmp.Diff(s.findings, findings); diff != "" {
			t.Errorf("%s: findings (-want +got):\n%s", s.what, diff)
		}
	}
}

// TestHalfWritten says that one reading alone changes nothing.
func TestHalfWritten(t *testing.T) {
	tr := newTracker(0)
	whole := folder{"1": documents(service("a"), service("b"))}
	observe := func(f folder, wantChanged, wantSettled bool) {
		t.Helper()
		changed, settled, err := tr.observe(f.reading(), tr.set.Revision == 0)
		if err != nil || changed != wantChanged || settled != wantSettled {
			t.Fatalf("changed %v, settled %v (%v), want %v, %v", changed, settled, err, wantChanged, wantSettled)
		}
	}
	observe(whole, true, true)
	observe(folder{"1": ""}, false, false)           // truncated
	observe(folder{"1": service("a")}, false, false) // the first part written
	observe(whole, false, true)                      // as it was
	observe(folder{}, false, false)                  // between unlink and link
	observe(whole, false, true)
	observe(folder{"1": service("a")}, false, false)
	observe(folder{"1": service("a")}, true, true) // this is meant
	observe(folder{}, false, false)
	observe(folder{}, true, true)
}

// TestCollisionsGoRound has files that collide only because another file had to keep what it had.
func TestCollisionsGoRound(t *testing.T) {
	tr := newTracker(0)
	settle := func(f folder) {
		for range 2 {
			if _, _, err := tr.observe(f.reading(), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	settle(folder{"1": service("a"), "2": service("b"), "3": service("c")})
	// 2 wants a, which 1 has; so it keeps b, which 3 wants; so 3 keeps c.
	settle(folder{"1": service("a"), "2": service("a"), "3": service("b")})
	services, findings := state(tr)
	if diff := cmp.Diff([]string{"a/1/1/0", "b/1/1/0", "c/1/1/0"}, services); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"2:3", "3:3"}, findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	for _, f := range tr.findings {
		if !strings.Contains(f.Message, "is already in ") {
			t.Errorf("the finding does not say where: %s", f)
		}
	}
	// 1 lets go, and all three get what they want.
	settle(folder{"1": service("d"), "2": service("a"), "3": service("b")})
	if services, findings = state(tr); len(findings) > 0 || len(services) != 3 {
		t.Errorf("services %v, findings %v", services, findings)
	}
}

// TestRandomFolders changes a folder at random and holds the invariants of a Set after each reading.
func TestRandomFolders(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		tr := newTracker(7)
		f := folder{}
		var before Set
		for range 60 {
			change(f, random)
			for range 1 + random.IntN(2) {
				if _, _, err := tr.observe(f.reading(), false); err != nil {
					t.Fatal(err)
				}
				checkSet(t, before, tr.set)
				before = tr.set
			}
		}
		for range 2 {
			if _, _, err := tr.observe(f.reading(), false); err != nil {
				t.Fatal(err)
			}
		}
		if changed, settled, err := tr.observe(f.reading(), false); changed || !settled || err != nil {
			t.Errorf("changed %v, settled %v, error %v after three equal readings", changed, settled, err)
		}
		checkAgainstFiles(t, tr, f)
	}
}

// change writes, breaks, shares or removes something.
func change(f folder, random *rand.Rand) {
	path, name := strconv.Itoa(random.IntN(4)), string(rune('a'+random.IntN(4)))
	switch random.IntN(5) {
	case 0:
		delete(f, path)
	case 1:
		f[path] = broken
	case 2:
		f[path] = documents(service(name), service(name+"x"))
	default:
		f[path] = service(name, slices.Repeat([]string{"A.B"}, random.IntN(2))...)
	}
}

func checkSet(t *testing.T, before, now Set) {
	t.Helper()
	changed, deleted := now.Since(before)
	if (len(changed)+len(deleted) > 0) != (now.Revision > before.Revision) && before.Revision > 0 {
		t.Errorf("revision %d after %d with %d changes and %d deletions", now.Revision, before.Revision, len(changed), len(deleted))
	}
	old := before.all()
	for _, o := range changed {
		if o.GetResourceVersion() != strconv.FormatUint(now.Revision, 10) {
			t.Errorf("%s changed in revision %d and has %s", o.GetName(), now.Revision, o.GetResourceVersion())
		}
		was := old[identity{"RPCService", o.GetNamespace(), o.GetName()}]
		if was == nil && o.GetGeneration() != 1 || was != nil && o.GetGeneration() < was.GetGeneration() {
			t.Errorf("%s has generation %d after %v", o.GetName(), o.GetGeneration(), was)
		}
	}
	seen := make(map[string]metav1.Object)
	for _, o := range now.RPCServices {
		if seen[o.Name] != nil {
			t.Errorf("%s stands twice in the set", o.Name)
		}
		seen[o.Name] = o
	}
}

// checkAgainstFiles: a file without a finding is in the set as it is; a name that no file has had is not.
func checkAgainstFiles(t *testing.T, tr *tracker, f folder) {
	t.Helper()
	refused := make(map[string]bool)
	for _, finding := range tr.findings {
		refused[finding.File] = true
	}
	want := make(map[string]int)
	for path, text := range f {
		if refused[path] {
			continue
		}
		p, err := parseFile(path, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range p.objects {
			want[o.id.name]++
		}
	}
	got := make(map[string]bool)
	for _, o := range tr.set.RPCServices {
		got[o.Name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if want[name] > 1 || !got[name] {
			t.Errorf("%s: in %d accepted files, in the set %v; folder %v", name, want[name], got[name], f)
		}
	}
}
