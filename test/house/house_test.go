// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package house

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rules are all that are held over source text.
var rules = map[string]func(*tree) []breach{
	"directions":    directions,
	"purity":        purity,
	"noState":       noState,
	"goroutines":    goroutines,
	"names":         names,
	"globals":       globals,
	"headers":       headers,
	"sleeps":        sleeps,
	"selfContained": selfContained,
}

func TestHouse(t *testing.T) {
	root := filepath.Join("..", "..")
	repository, err := readTree(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(repository.files) < 10 {
		t.Fatalf("only %d Go files found below %s", len(repository.files), root)
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) { report(t, rule(repository)) })
	}
	t.Run("runtimeReach", func(t *testing.T) {
		packages, err := listRuntime(root)
		if err != nil {
			t.Fatal(err)
		}
		report(t, runtimeReach(packages))
	})
}

func report(t *testing.T, found []breach) {
	t.Helper()
	slices.SortFunc(found, func(a, b breach) int { return strings.Compare(a.where, b.where) })
	for _, b := range found {
		t.Error(b)
	}
}
