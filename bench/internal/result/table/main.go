// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Command table prints a report of the benchmarks as Markdown, or pastes it into
// a document between two comments:
//
//	go -C bench run ./internal/result/table results/report.json
//	go -C bench run ./internal/result/table -into ../docs/benchmarks.md results/report.json
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"

	"github.com/fairlead/fairlead/bench/internal/result"
)

func main() {
	into := flag.String("into", "", "the document to paste into; empty: print")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "want one report, as bench/results/report.json")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *into); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(report, into string) error {
	r, err := result.Read(report)
	if err != nil {
		return err
	}
	if into == "" {
		return r.WriteMarkdown(os.Stdout)
	}
	var tables bytes.Buffer
	if err := r.WriteMarkdown(&tables); err != nil {
		return err
	}
	document, err := os.ReadFile(into)
	if err != nil {
		return fmt.Errorf("document: %w", err)
	}
	if document, err = result.Paste(document, tables.Bytes()); err != nil {
		return fmt.Errorf("%s: %w", into, err)
	}
	if err := os.WriteFile(into, document, 0o644); err != nil {
		return fmt.Errorf("document: %w", err)
	}
	return nil
}
