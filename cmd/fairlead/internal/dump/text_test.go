// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package dump

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// checkPrintable fails if text could do something to a terminal.
func checkPrintable(t testing.TB, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("it is not UTF-8: %q", text)
	}
	for line := range strings.Lines(text) {
		for _, r := range strings.TrimSuffix(line, "\n") {
			if !strconv.IsPrint(r) {
				t.Fatalf("%q in %q is not printable", r, line)
			}
		}
	}
}
