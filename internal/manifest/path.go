// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"strconv"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// pathStep is one step of a field path of a custom resource: a name or an index.
type pathStep struct {
	name  string
	index int // of a list, if name is empty
}

// pathSteps takes a field path of a custom resource apart. Our schemas have no maps with free keys, so that no name there
// contains a dot; metadata, which does have them, is checked by its Go type.
func pathSteps(path string) (steps []pathStep, ok bool) {
	for part := range strings.SplitSeq(path, ".") {
		name, indexes, _ := strings.Cut(part, "[")
		if name != "" {
			steps = append(steps, pathStep{name: name})
		}
		if indexes == "" {
			continue
		}
		for inside := range strings.SplitSeq(strings.TrimSuffix(indexes, "]"), "][") {
			index, err := strconv.Atoi(inside)
			if err != nil || index < 0 {
				return nil, false
			}
			steps = append(steps, pathStep{index: index})
		}
	}
	return steps, true
}

// lookup returns what stands at a path.
func lookup(value any, path string) (at any, found bool) {
	steps, ok := pathSteps(path)
	if !ok {
		return nil, false
	}
	for _, step := range steps {
		switch v := value.(type) {
		case map[string]any:
			if value, found = v[step.name]; !found || step.name == "" {
				return nil, false
			}
		case []any:
			if step.name != "" || step.index >= len(v) {
				return nil, false
			}
			value = v[step.index]
		default:
			return nil, false
		}
	}
	return value, true
}

// at returns the schema of a path, or nil.
func (d *definition) at(path string) *schema.Structural {
	steps, ok := pathSteps(path)
	if !ok {
		return nil
	}
	s := d.structural
	for _, step := range steps {
		if step.name == "" {
			if s = s.Items; s == nil {
				return nil
			}
			continue
		}
		property, ok := s.Properties[step.name]
		if !ok {
			return nil
		}
		s = &property
	}
	return s
}
