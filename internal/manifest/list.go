// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// listFields are the fields of a List. Its metadata says nothing that a file needs.
var listFields = []string{"apiVersion", "kind", "metadata", "items"}

// entries returns the documents in a document: itself, or those of a List (v1 List, or the list kind of a kind that is
// read).
func (d *document) entries() ([]*document, []Finding) {
	apiVersion, _ := d.value["apiVersion"].(string)
	kind, _ := d.value["kind"].(string)
	itemKind, isList := strings.CutSuffix(kind, "List")
	if !isList || apiVersion != "v1" && kindOf(apiVersion, itemKind) == nil {
		return []*document{d}, nil
	}
	if itemKind != "" && kindOf(apiVersion, itemKind) == nil {
		return []*document{d}, nil // such as a PodList: its kind is not read, and says so like any other
	}
	var findings []Finding
	for name := range d.value {
		if !slices.Contains(listFields, name) {
			findings = append(findings, d.finding(Error, name, unknownField(name, listFields)))
		}
	}
	items, isSlice := d.value["items"].([]any)
	if d.value["items"] != nil && !isSlice {
		findings = append(findings, d.finding(Error, "items", wrongType(d.value["items"], "a list")))
	}
	_, list := find(d.root, "items")
	list = written(list)
	var documents []*document
	for i, item := range items {
		path := "items[" + strconv.Itoa(i) + "]"
		value, isMapping := item.(map[string]any)
		if !isMapping || i >= len(list.Content) || written(list.Content[i]).Kind != yaml.MappingNode {
			findings = append(findings, d.finding(Error, path, wrongType(item, "a manifest")))
			continue
		}
		if itemKind != "" {
			setAbsent(value, "apiVersion", apiVersion)
			setAbsent(value, "kind", itemKind)
		}
		documents = append(documents, &document{
			file: d.file, first: d.first, lines: d.lines, root: written(list.Content[i]), value: value, inside: path,
		})
	}
	return documents, findings
}

// setAbsent fills in what a list kind says for its entries.
func setAbsent(object map[string]any, name, value string) {
	if object[name] == nil {
		object[name] = value
	}
}
