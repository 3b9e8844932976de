// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
)

// manual is docs/operations.md.
func manual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(root("docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestManualHasEveryValue: the table of values has each that there is, by itself
// or as part of what it belongs to, and no other.
func TestManualHasEveryValue(t *testing.T) {
	_, section, found := strings.Cut(manual(t), "\n| Value | Default | Meaning |\n")
	section, _, closed := strings.Cut(section, "\n\n")
	if !found || !closed {
		t.Fatal("docs/operations.md has no table of values")
	}
	documented := valuesOf(section)
	var leaves []string
	collectLeaves("", load(t, "fairlead").Values, &leaves)
	if len(leaves) < 30 || len(documented) < 30 {
		t.Fatalf("%d values and %d documented: is this still the table?", len(leaves), len(documented))
	}
	covers := func(whole, part string) bool { return whole == part || strings.HasPrefix(part, whole+".") }
	for _, leaf := range leaves {
		if !slices.ContainsFunc(documented, func(d string) bool { return covers(d, leaf) }) {
			t.Errorf("docs/operations.md does not have the value %s", leaf)
		}
	}
	for _, d := range documented {
		if !slices.ContainsFunc(leaves, func(leaf string) bool { return covers(d, leaf) }) {
			t.Errorf("docs/operations.md has the value %s, which the chart does not", d)
		}
	}
}

var quoted = regexp.MustCompile("`([^`]+)`")

// valuesOf reads the first cells of a table. A value that begins with a dot is
// beside the one before it.
func valuesOf(table string) (paths []string) {
	for line := range strings.Lines(table) {
		cell, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		parent := ""
		for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
			path := m[1]
			if strings.HasPrefix(path, ".") {
				path = parent + path
			} else if i := strings.LastIndex(path, "."); i >= 0 {
				parent = path[:i]
			}
			paths = append(paths, path)
		}
	}
	return paths
}

// collectLeaves lists the values that are no further values.
func collectLeaves(at string, v map[string]any, into *[]string) {
	for name, value := range v {
		path := strings.TrimPrefix(at+"."+name, ".")
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
			collectLeaves(path, inner, into)
			continue
		}
		*into = append(*into, path)
	}
	slices.Sort(*into)
}

// TestManualHasEveryMetric of the operator; rpcruntime/metrics holds its own.
func TestManualHasEveryMetric(t *testing.T) {
	text, names := manual(t), metrics(t)
	if len(names) < 20 {
		t.Fatalf("only %d metrics were found", len(names))
	}
	for _, name := range names {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/operations.md does not have the metric %s", name)
		}
	}
}

// TestManualHasNoOtherAlert: those that the manual explains are there.
func TestManualHasNoOtherAlert(t *testing.T) {
	rules, err := os.ReadFile(root("charts", "fairlead", "templates", "prometheus.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(root("config", "prometheus", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range more {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		rules = append(rules, text...)
	}
	rows := regexp.MustCompile("(?m)^\\| `(Fairlead[A-Za-z]+)` \\|").FindAllStringSubmatch(manual(t), -1)
	if len(rows) == 0 {
		t.Fatal("the manual has no table of alerts")
	}
	for _, row := range rows {
		if !strings.Contains(string(rules), "alert: "+row[1]) {
			t.Errorf("docs/operations.md explains the alert %s, which there is not", row[1])
		}
	}
}

var valuesBlock = regexp.MustCompile("(?ms)^```yaml values\n(.*?)^```$")

// TestValuesInDocuments: what people copy for Helm is what the chart takes; its
// schema refuses what is misspelt.
func TestValuesInDocuments(t *testing.T) {
	files, err := filepath.Glob(root("docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	count, c := 0, load(t, "fairlead")
	for _, file := range append(files, root("README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range valuesBlock.FindAllSubmatchIndex(text, -1) {
			count++
			line := strings.Count(string(text[:at[2]]), "\n") + 1
			v, err := chartutil.ReadValues(text[at[2]:at[3]])
			if err == nil {
				flat := values{}
				for key, value := range v {
					flat[key] = value
				}
				_, err = render(c, flat, modern)
			}
			if err != nil {
				t.Errorf("%s:%d: %v", filepath.Base(file), line, err)
			}
		}
	}
	if count == 0 {
		t.Error("no values in any document")
	}
}
