// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/internal/manifest"
)

// parityCase is a document of the folder parity. Its first line is a comment that says whether it is taken, and what it
// is about.
type parityCase struct {
	name string
	ok   bool
	text []byte
}

func parityCases(t *testing.T) []parityCase {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "parity", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	var cases []parityCase
	for _, file := range files {
		for text := range strings.SplitSeq(string(readFile(t, file)), "\n---\n") {
			first, _, _ := strings.Cut(text, "\n")
			verdict, about, found := strings.Cut(strings.TrimPrefix(first, "# "), ": ")
			if !found || verdict != "ok" && verdict != "bad" {
				t.Fatalf("%s: %q says neither ok nor bad", file, first)
			}
			name := strings.TrimSuffix(filepath.Base(file), ".yaml") + "/" + about
			cases = append(cases, parityCase{name: name, ok: verdict == "ok", text: []byte(text + "\n")})
		}
	}
	return cases
}

// TestLintVerdicts holds lint to what stands at the top of each document. The API server is held to the same elsewhere.
func TestLintVerdicts(t *testing.T) {
	for _, c := range parityCases(t) {
		t.Run(c.name, func(t *testing.T) {
			refused := false
			for _, p := range lint(t, c.text) {
				refused = refused || p.Severity == manifest.Error
				if p.Line == 0 {
					t.Errorf("finding without a line: %v", p)
				}
			}
			if refused == c.ok {
				t.Errorf("refused %v, want %v", refused, !c.ok)
			}
		})
	}
}
