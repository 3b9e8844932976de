// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Workload is one that was looked at.
type Workload struct {
	// Kind, Namespace and Name are the object's; Namespace is empty if it says none.
	Kind, Namespace, Name string
	// Changed: something was missing, and was added.
	Changed bool
}

// Manifests adds what is missing to the workloads in a stream of documents.
func Manifests(in []byte) (out []byte, found []Workload, err error) {
	var b bytes.Buffer
	for i, d := range split(in) {
		text, workloads, err := document(d.body)
		if err != nil {
			return nil, nil, fmt.Errorf("document %d: %w", i+1, err)
		}
		b.WriteString(d.separator)
		b.Write(text)
		found = append(found, workloads...)
	}
	return b.Bytes(), found, nil
}

// part is one document, and the line that stands before it.
type part struct {
	separator string
	body      []byte
}

// split takes a stream apart at lines that begin with three hyphens. Only a
// document's end can be there: what is in a document is indented or has a key.
func split(in []byte) []part {
	parts := []part{{}}
	for line := range bytes.Lines(in) {
		rest, ok := bytes.CutPrefix(line, []byte("---"))
		if ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0]))) {
			if text := bytes.TrimSpace(rest); len(text) == 0 || text[0] == '#' {
				parts = append(parts, part{separator: string(line)})
				continue
			}
		}
		last := &parts[len(parts)-1]
		last.body = append(last.body, line...)
	}
	return parts
}

// document adds what is missing in one document.
func document(text []byte) (_ []byte, found []Workload, err error) {
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	switch err := decoder.Decode(&root); {
	case errors.Is(err, io.EOF):
		return text, nil, nil // nothing, or comments
	case err != nil:
		return nil, nil, err
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, nil, errors.New("documents must be separated by a line with three hyphens and nothing else")
	}
	if found, err = objects(resolve(&root)); err != nil {
		return nil, nil, err
	}
	changed := false
	for _, w := range found {
		changed = changed || w.Changed
	}
	if !changed {
		return text, found, nil
	}
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if !indented(text) {
		encoder.CompactSeqIndent()
	}
	if err := errors.Join(encoder.Encode(&root), encoder.Close()); err != nil {
		return nil, nil, err
	}
	return b.Bytes(), found, nil
}

// indented says whether lists stand further right than their key, in the first
// list of a document.
func indented(text []byte) bool {
	before := -1
	for line := range bytes.Lines(text) {
		content := bytes.TrimLeft(line, " ")
		if len(bytes.TrimSpace(content)) == 0 || content[0] == '#' {
			continue
		}
		column := len(line) - len(content)
		if bytes.HasPrefix(content, []byte("- ")) && before >= 0 {
			return column > before
		}
		before = column
	}
	return false
}

// objects goes through an object, or a list of them.
func objects(object *yaml.Node) (found []Workload, err error) {
	if object == nil || object.Kind != yaml.MappingNode {
		return nil, nil
	}
	if text(get(object, "kind")) == "List" {
		if items := get(object, "items"); items != nil && items.Kind == yaml.SequenceNode {
			for _, item := range items.Content {
				more, err := objects(resolve(item))
				if err != nil {
					return nil, err
				}
				found = append(found, more...)
			}
		}
		return found, nil
	}
	path, ok := templates[text(get(object, "apiVersion"))+" "+text(get(object, "kind"))]
	if !ok {
		return nil, nil
	}
	metadata := get(object, "metadata")
	w := Workload{Kind: text(get(object, "kind")), Namespace: text(get(metadata, "namespace")), Name: text(get(metadata, "name"))}
	spec := object
	for _, key := range path {
		spec = get(spec, key)
	}
	if spec == nil || spec.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s %s: there is no %s", w.Kind, w.Name, strings.Join(path, "."))
	}
	if w.Changed, err = podSpec(spec); err != nil {
		return nil, fmt.Errorf("%s %s: %w", w.Kind, w.Name, err)
	}
	return []Workload{w}, nil
}

// templates are where workloads have the specification of their Pods.
var templates = map[string][]string{ // constant
	"v1 Pod":                   {"spec"},
	"v1 ReplicationController": {"spec", "template", "spec"},
	"apps/v1 Deployment":       {"spec", "template", "spec"},
	"apps/v1 StatefulSet":      {"spec", "template", "spec"},
	"apps/v1 DaemonSet":        {"spec", "template", "spec"},
	"apps/v1 ReplicaSet":       {"spec", "template", "spec"},
	"batch/v1 Job":             {"spec", "template", "spec"},
	"batch/v1 CronJob":         {"spec", "jobTemplate", "spec", "template", "spec"},
}
