// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/fairlead/fairlead/internal/manifest"
)

func newLintCommand() *cobra.Command {
	var strict bool
	var output string
	cmd := &cobra.Command{
		Use:   "lint DIR|FILE... [flags]",
		Short: "Checks manifests as the API server would, and more, offline",
		Long: `Lint says what the API server would refuse, with the line it is in: syntax,
unknown kinds and fields, types, patterns, ranges, CEL rules, keys and entries
that stand twice. It also warns of what is valid and does nothing, such as a
policy whose target does not exist.

What the manifests of one DIR name is looked for in that DIR. A FILE is checked
by itself: to check files together, name their folder.

It reads nothing but the files. Exit code 0 means that the API server would take
them, 1 that it would not (with --strict, that there are warnings), 2 that there
was nothing to check.`,
		Example: `  fairlead lint config/samples
  fairlead lint --strict -o json ./manifests`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageErrorf("what is to be checked? name folders or files: %s", cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", output, "text", "json"); err != nil {
				return err
			}
			report, err := lintAll(args)
			if err != nil {
				return err
			}
			write := report.writeText
			if output == "json" {
				write = report.writeJSON
			}
			if err := write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if report.Errors > 0 || strict && report.Warnings > 0 {
				return errSilent
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on warnings, too")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// lintReport is what lint has to say, as JSON.
type lintReport struct {
	Findings []lintFinding `json:"findings"`
	Files    int           `json:"files"`
	Objects  int           `json:"objects"`
	Errors   int           `json:"errors"`
	Warnings int           `json:"warnings"`

	texts []string
}

type lintFinding struct {
	File     string `json:"file"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Field    string `json:"field,omitempty"`
	Severity string `json:"severity"`
	Message  string `json:"message"`
}

func lintAll(paths []string) (*lintReport, error) {
	report := &lintReport{Findings: []lintFinding{}}
	var all []manifest.Finding
	for _, path := range paths {
		r, err := manifest.Lint(path)
		if err != nil {
			return nil, &usageError{err}
		}
		if r.Files == 0 && len(r.Findings) == 0 {
			return nil, usageErrorf("%s: no *.yaml, *.yml or *.json file in it", path)
		}
		report.Files, report.Objects, report.Errors = report.Files+r.Files, report.Objects+r.Objects, report.Errors+r.Errors()
		all = append(all, r.Findings...)
	}
	slices.SortStableFunc(all, func(a, b manifest.Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	report.Warnings = len(all) - report.Errors
	for _, f := range slices.Compact(all) { // a file may be named twice
		report.texts = append(report.texts, f.String())
		report.Findings = append(report.Findings, lintFinding{
			File: f.File, Line: f.Line, Column: f.Column, Field: f.Field, Severity: f.Severity.String(), Message: f.Message,
		})
	}
	return report, nil
}

func (r *lintReport) writeText(w io.Writer) error {
	for _, text := range r.texts {
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%s, %s: %s, %s\n", counted(r.Files, "file"), counted(r.Objects, "object"),
		counted(r.Errors, "error"), counted(r.Warnings, "warning"))
	return err
}

func (r *lintReport) writeJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
