// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

// TestManualSaysWhatToDo: docs/operations.md has a row for each verdict that is
// not the usual good one, and for no other.
func TestManualSaysWhatToDo(t *testing.T) {
	raw, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(raw), "\n## Conditions, and what to do\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var rows []string
	for _, m := range regexp.MustCompile("(?m)^\\| (`[A-Za-z]+`) \\| ([A-Za-z]+ `[A-Za-z]+`) \\| .+ \\|$").FindAllStringSubmatch(section, -1) {
		rows = append(rows, m[1]+" "+m[2])
	}
	for _, condition := range v1alpha1.Catalogue() {
		for _, reason := range condition.Reasons {
			row := "`" + condition.Type + "` " + string(reason.Status) + " `" + reason.Reason + "`"
			usual := reason.Status == condition.Good && reason.Reason != v1alpha1.ReasonPartiallyProgrammed
			if i := slices.Index(rows, row); usual == (i >= 0) {
				t.Errorf("docs/operations.md: %s has a row: %v, want %v", row, i >= 0, !usual)
			} else if i >= 0 {
				rows = slices.Delete(rows, i, i+1)
			}
		}
	}
	if len(rows) > 0 {
		t.Errorf("docs/operations.md has rows that no verdict has: %q", rows)
	}
}
