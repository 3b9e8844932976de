// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import "errors"

// Load reads a folder of manifests, or a single file, once. A file with an error gives no objects at all. The error is
// about the path itself; what is wrong with files are findings.
func Load(path string) (Set, []Finding, error) {
	t := newTracker(0)
	if err := t.load(path); err != nil {
		return Set{}, nil, err
	}
	return t.set, t.findings, nil
}

// load fills a new tracker.
func (t *tracker) load(path string) error {
	r, err := readPath(path)
	if err != nil {
		return err
	}
	if _, settled, err := t.observe(r, true); err != nil {
		return err
	} else if !settled {
		return errors.New("a first reading was not believed")
	}
	return nil
}
