// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package result

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Names of the files in the folder of results.
const (
	JSONFile  = "report.json"
	ChartFile = "chart.svg"
)

// WriteJSON writes JSONFile into the folder, which it makes if need be.
func (r *Report) WriteJSON(dir string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return write(dir, JSONFile, append(text, '\n'))
}

// Read reads what WriteJSON wrote.
func Read(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	r := new(Report)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("report %s: %w", path, err)
	}
	return r, nil
}

func write(dir, name string, text []byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("folder of results: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
		return fmt.Errorf("results: %w", err)
	}
	return nil
}
