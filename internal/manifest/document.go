// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"math"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"
)

// document is one object as a file writes it: a YAML document, or an entry of a List.
type document struct {
	file  string
	first int        // line of the file on which its chunk begins
	lines []int      // see lineTable
	root  *yaml.Node // a mapping; gives positions, never values
	// value is what the API server would decode: it comes from the same converter, with whole numbers as int64.
	value map[string]any
	// inside is where the document stands in its List, such as items[2], or empty.
	inside string
}

// lineOf is the line of the file on which a node stands.
func (d *document) lineOf(n *yaml.Node) int {
	line := n.Line
	if d.lines != nil && line < len(d.lines) {
		line = d.lines[line]
	}
	return d.first + line - 1
}

// finding makes a Finding of something that is wrong with a field of the document.
func (d *document) finding(severity Severity, path, message string) Finding {
	at, _ := find(d.root, path)
	return d.findingAt(severity, at, path, message)
}

func (d *document) findingAt(severity Severity, at *yaml.Node, path, message string) Finding {
	if d.inside != "" {
		path = join(d.inside, path)
	}
	return Finding{File: d.file, Line: d.lineOf(at), Column: at.Column, Field: path, Severity: severity, Message: message}
}

// read turns the text of a file into documents. What cannot be one becomes a finding.
func read(file string, data []byte) (documents []*document, findings []Finding) {
	if f := notText(data); f != nil {
		return nil, []Finding{{File: file, Line: f.line, Message: f.message}}
	}
	for _, chunk := range cut(data) {
		found, wrong := readChunk(file, chunk)
		documents = append(documents, found...)
		findings = append(findings, wrong...)
	}
	return documents, findings
}

func readChunk(file string, c chunk) (documents []*document, findings []Finding) {
	root, wrong := parse(c.text)
	if wrong != nil {
		return nil, []Finding{{File: file, Line: c.line + wrong.line - 1, Message: wrong.message}}
	}
	if root == nil {
		return nil, nil
	}
	d := &document{file: file, first: c.line, lines: lineTable(c.text), root: root}
	for _, f := range inspect(root) {
		message := f.message
		if f.earlier != nil {
			message = fmt.Sprintf("%s %d", message, d.lineOf(f.earlier))
		}
		findings = append(findings, d.findingAt(Error, f.node, f.field, message))
	}
	if len(findings) > 0 {
		return nil, findings
	}
	if root.Kind != yaml.MappingNode {
		return nil, []Finding{d.finding(Error, "", "not a manifest: apiVersion, kind, metadata and spec are expected")}
	}
	value, err := decode(c.text)
	if err != nil {
		line := wrongLine(c.text, math.MaxInt, err, func(beginning []byte) bool {
			_, err := decode(beginning)
			return err == nil
		})
		message := "not valid YAML: " + parserPrefix.ReplaceAllString(err.Error(), "")
		return nil, []Finding{{File: file, Line: c.line + line - 1, Message: message}}
	}
	d.value = value
	return d.entries()
}

// decode makes of YAML the value that the API server would: by YAML 1.1's rules, by way of JSON, with whole numbers as
// int64.
func decode(text []byte) (map[string]any, error) {
	encoded, err := sigsyaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	var value map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(encoded, &value); err != nil {
		return nil, err
	}
	return value, nil
}
