// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fairlead/fairlead/internal/manifest"
)

func good() Result {
	return Result{
		Calls: 23456, Unknown: 3, Refused: 120, P99: 1234 * time.Microsecond,
		Kills: 1, RollingRestarts: 1, PolicyChanges: 6, ControlPlaneRestarts: 1,
	}
}

func TestLastLine(t *testing.T) {
	want := "demo: calls=23456 failed=0 unknown=3 refused=120 duplicates=0 p99=1.23ms kills=1 rolling_restarts=1 policy_changes=6 control_plane_restarts=1"
	if got := good().String(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestComplaints(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Result)
		want   int
	}{
		{"all well", func(*Result) {}, 0},
		{"a failure", func(r *Result) { r.Failed = 1 }, 1},
		{"a duplicate", func(r *Result) { r.Duplicates = 1 }, 1},
		{"too few calls", func(r *Result) { r.Calls = 19_999 }, 1},
		{"no kill", func(r *Result) { r.Kills = 0 }, 1},
		{"no rolling restart", func(r *Result) { r.RollingRestarts = 0 }, 1},
		{"no policy", func(r *Result) { r.PolicyChanges = 0 }, 1},
		{"no restart of the control plane", func(r *Result) { r.ControlPlaneRestarts = 0 }, 1},
		{"nothing at all", func(r *Result) { *r = Result{} }, 5},
	}
	for _, test := range tests {
		r := good()
		test.change(&r)
		if got := append(r.complaints(), r.missing(20_000)...); len(got) != test.want {
			t.Errorf("%s: %q, want %d", test.name, got, test.want)
		}
	}
}

func TestRow(t *testing.T) {
	row := window{
		counts:  counts{calls: 1500, failed: 1, refused: 20},
		took:    []time.Duration{250 * time.Microsecond},
		answers: map[string]int{"a": 500, "b": 250, "c": 750},
	}
	want := "     7   1500      1      20   0.25ms   0.25ms   33%  17%  50%  3fa9c21e"
	if got := formatRow(7, &row, "3fa9c21e"); got != want {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

func TestLedger(t *testing.T) {
	folder := t.TempDir()
	book, err := openLedger(filepath.Join(folder, "a.ledger"))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"add-1", "add-2", "add-1"} {
		if err := book.note(id); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(folder, "b.ledger"), []byte("add-2\nadd-3\nadd-4"), 0o600); err != nil {
		t.Fatal(err)
	}
	ran, err := readLedgers(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(ran) != 3 || ran["add-1"] != 2 || ran["add-2"] != 2 || ran["add-3"] != 1 {
		t.Errorf("%v", ran)
	}
	if ran, err := readLedger(filepath.Join(folder, "none")); err != nil || len(ran) != 0 {
		t.Errorf("no file: %v, %v", ran, err)
	}
}

func TestAudit(t *testing.T) {
	tests := []struct {
		name       string
		ran        map[string]int
		told       map[string]outcome
		duplicates int
		bad        bool
	}{
		{"all once", map[string]int{"x": 1, "y": 1}, map[string]outcome{"x": answered, "y": unknown}, 0, false},
		{"unknown, and did not run", nil, map[string]outcome{"x": unknown}, 0, false},
		{"twice", map[string]int{"x": 2, "y": 3, "z": 1}, map[string]outcome{"x": answered, "y": unknown, "z": answered}, 2, false},
		{"answered, but by nobody", nil, map[string]outcome{"x": answered}, 0, true},
		{"refused, but ran", map[string]int{"x": 1}, map[string]outcome{"x": refused}, 0, true},
	}
	for _, test := range tests {
		duplicates, err := audit(test.ran, test.told)
		if duplicates != test.duplicates || (err != nil) != test.bad {
			t.Errorf("%s: %d, %v", test.name, duplicates, err)
		}
	}
}

// What the demo writes is what `fairlead lint` lets pass.
func TestManifestsAreValid(t *testing.T) {
	m := manifests{filepath.Join(t.TempDir(), "manifests")}
	for _, plan := range []Plan{DefaultPlan(), shortPlan()} {
		for _, err := range []error{m.writeService(), m.writeTimeout(longTimeout), m.writeLimit(plan.limitPerServer())} {
			if err != nil {
				t.Fatal(err)
			}
		}
		report, err := manifest.Lint(m.folder)
		if err != nil || len(report.Findings) > 0 || report.Objects != 4 {
			t.Errorf("%+v, %v", report, err)
		}
	}
	if err := m.removeLimit(); err != nil {
		t.Error(err)
	}
}
