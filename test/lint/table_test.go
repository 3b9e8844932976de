// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/fairlead/fairlead/internal/manifest"
)

// brokenCase is a line of testdata/broken.txt with the file that it is about.
type brokenCase struct {
	name     string
	severity manifest.Severity
	line     int
	field    string
	server   string // what the server says; empty if it says nothing to hold it to
	text     []byte
}

func brokenCases(t *testing.T) []brokenCase {
	t.Helper()
	var cases []brokenCase
	for line := range strings.Lines(string(readFile(t, "testdata", "broken.txt"))) {
		columns := strings.Fields(line)
		if len(columns) == 0 || columns[0] == "#" {
			continue
		}
		if len(columns) != 5 {
			t.Fatalf("broken.txt: %d columns in %q, want 5", len(columns), line)
		}
		number, err := strconv.Atoi(columns[2])
		if err != nil {
			t.Fatalf("broken.txt: %v", err)
		}
		c := brokenCase{name: columns[0], line: number, text: readFile(t, "testdata", "broken", columns[0])}
		switch columns[1] {
		case manifest.Error.String():
		case manifest.Warning.String():
			c.severity = manifest.Warning
		default:
			t.Fatalf("broken.txt: %q is no severity", columns[1])
		}
		c.field, c.server = strings.Trim(columns[3], "-"), strings.ReplaceAll(strings.Trim(columns[4], "-"), "_", " ")
		cases = append(cases, c)
	}
	return cases
}

func readFile(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// place is where a finding is, and how bad: what the table is about. Messages have tests of their own.
type place struct {
	File     string
	Line     int
	Field    string
	Severity manifest.Severity
}

func lint(t *testing.T, text []byte) []place {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "case.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := manifest.Lint(dir)
	if err != nil {
		t.Fatal(err)
	}
	var places []place
	for _, f := range report.Findings {
		places = append(places, place{filepath.Base(f.File), f.Line, f.Field, f.Severity})
	}
	return places
}

// TestLintNamesTheLine puts each broken document first and second in its file.
func TestLintNamesTheLine(t *testing.T) {
	good := readFile(t, "testdata", "good.yaml")
	separator := []byte("---\n")
	if found := lint(t, good); found != nil {
		t.Fatalf("the good document has findings: %v", found)
	}
	for _, c := range brokenCases(t) {
		files := []struct {
			where string
			text  []byte
			line  int
		}{
			{"first", slices.Concat(c.text, separator, good), c.line},
			{"second", slices.Concat(good, separator, c.text), c.line + bytes.Count(good, []byte("\n")) + 1},
		}
		for _, file := range files {
			t.Run(fmt.Sprintf("%s/%s", c.name, file.where), func(t *testing.T) {
				want := []place{{"case.yaml", file.line, c.field, c.severity}}
				if diff := cmp.Diff(want, lint(t, file.text)); diff != "" {
					t.Errorf("findings differ (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// TestTableIsComplete holds the table to the twelve kinds of mistakes, and the folder to the table.
func TestTableIsComplete(t *testing.T) {
	var names []string
	for _, c := range brokenCases(t) {
		names = append(names, c.name)
	}
	entries, err := os.ReadDir(filepath.Join("testdata", "broken"))
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, entry := range entries {
		files = append(files, entry.Name())
	}
	slices.Sort(names)
	if diff := cmp.Diff(files, names); diff != "" || len(names) != 12 {
		t.Errorf("%d cases, want 12; folder and table differ (-folder +table):\n%s", len(names), diff)
	}
}
