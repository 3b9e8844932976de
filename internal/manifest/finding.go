// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says what a Finding means for its file.
type Severity uint8

const (
	// Error means that the API server would refuse it. The file gives no objects, or keeps those it gave before.
	Error Severity = iota
	// Warning means that the file is taken, and that something in it will not do what it seems to say.
	Warning
)

// String returns the word that people read.
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// Finding is one thing that is wrong with a manifest.
type Finding struct {
	// File is the path as reached from the path that was given to Load, Lint or Watch.
	File string
	// Line and Column count from 1 and say where the field's name stands, or its list entry, or, if it is missing, what it
	// is missing from. Both are 0 where the finding is about the file as a whole.
	Line, Column int
	// Field is the path of the field inside its object, such as spec.methods[1].name. Empty if no field is meant.
	Field    string
	Severity Severity
	// Message is what is wrong, with the value, and what to do. It does not repeat File, Line and Field.
	Message string
}

// String returns FILE:LINE: FIELD: MESSAGE, as people and editors read it.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	b.WriteString(": ")
	if f.Severity == Warning {
		b.WriteString("warning: ")
	}
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// sortFindings orders findings as people read files, and drops those that say the same twice.
func sortFindings(findings []Finding) []Finding {
	slices.SortStableFunc(findings, func(a, b Finding) int {
		return cmp.Or(
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			strings.Compare(a.Field, b.Field),
			cmp.Compare(a.Severity, b.Severity),
			strings.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(findings)
}

// hasErrors tells whether one of the findings is more than a warning.
func hasErrors(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Error })
}
