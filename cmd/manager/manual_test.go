// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestManualHasEveryFlag: docs/operations.md names each flag, and no other as one
// of the operator's.
func TestManualHasEveryFlag(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	if err := run(t.Context(), []string{"--help"}, &help, &help); !errors.Is(err, flag.ErrHelp) {
		t.Fatal(err)
	}
	var flags []string
	for _, m := range regexp.MustCompile(`(?m)^  -([a-z-]+)`).FindAllStringSubmatch(help.String(), -1) {
		flags = append(flags, m[1])
		if !regexp.MustCompile("`--" + m[1] + "[`=]").Match(text) {
			t.Errorf("docs/operations.md does not have --%s", m[1])
		}
	}
	if len(flags) < 20 {
		t.Fatalf("only %d flags were found: %s", len(flags), help.String())
	}
	_, section, _ := strings.Cut(string(text), "\n| Flag | Default | Meaning |\n")
	section, _, _ = strings.Cut(section, "\n\n")
	rows := regexp.MustCompile("`--([a-z-]+)`").FindAllStringSubmatch(section, -1)
	if len(rows) < 10 {
		t.Fatal("docs/operations.md has no table of flags")
	}
	for _, m := range rows {
		if !slices.Contains(flags, m[1]) {
			t.Errorf("docs/operations.md has --%s, which there is not", m[1])
		}
	}
}
