// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crd carries the generated CustomResourceDefinitions, so that programs can check manifests against them without
// an API server.
package crd

import (
	"embed"
	"fmt"
	"io/fs"
)

//go:embed bases/*.yaml
var bases embed.FS

// Definitions returns the text of every CustomResourceDefinition, one each, in the order of their file names.
func Definitions() ([][]byte, error) {
	names, err := fs.Glob(bases, "bases/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list the embedded definitions: %w", err)
	}
	texts := make([][]byte, 0, len(names))
	for _, name := range names {
		text, err := bases.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the embedded definition %s: %w", name, err)
		}
		texts = append(texts, text)
	}
	return texts, nil
}
