// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxExpanded bounds what aliases may make of a file, in bytes of text.
const maxExpanded = 16 << 20

// inspect looks for what the conversion to a value would hide or could not bear: keys that stand twice, keys that are no
// words, and aliases that multiply without bound. It visits each node once and follows no alias twice.
func inspect(root *yaml.Node) []nodeFault {
	in := inspector{size: make(map[*yaml.Node]int)}
	in.keys(root, "")
	if at, message := in.expand(root); message != "" {
		in.faults = append(in.faults, nodeFault{node: at, message: message})
	}
	return in.faults
}

// nodeFault is something wrong at a node. message is about the node, field is its path.
type nodeFault struct {
	node    *yaml.Node
	field   string
	message string
	earlier *yaml.Node // the node that stood there first, if there is one; its line ends the message
}

type inspector struct {
	faults []nodeFault
	// size is the expanded size of each node that was measured. Invariant: growing while a node is being measured.
	size map[*yaml.Node]int
}

const growing = -1

func (in *inspector) keys(n *yaml.Node, path string) {
	switch n.Kind {
	case yaml.MappingNode:
		first := make(map[string]*yaml.Node, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, value := n.Content[i], n.Content[i+1]
			if key.Kind != yaml.ScalarNode {
				in.faults = append(in.faults, nodeFault{node: key, field: path, message: "a key must be a single word"})
				continue
			}
			field := join(path, key.Value)
			if earlier := first[key.Value]; earlier != nil {
				in.faults = append(in.faults, nodeFault{node: key, field: field, message: "stands twice; it is already on line", earlier: earlier})
				continue
			}
			first[key.Value] = key
			in.keys(value, field)
		}
	case yaml.SequenceNode:
		for i, item := range n.Content {
			in.keys(item, path+"["+strconv.Itoa(i)+"]")
		}
	default: // a scalar has no keys, and an alias was looked at where its anchor stands
	}
}

// expand measures a node with its aliases written out. It returns the node at which the bound is crossed, and why.
func (in *inspector) expand(n *yaml.Node) (at *yaml.Node, message string) {
	if size, ok := in.size[n]; ok {
		if size == growing {
			return n, fmt.Sprintf("the anchor %q contains itself", n.Anchor)
		}
		return nil, ""
	}
	in.size[n] = growing
	total := len(n.Value) + 4
	parts := n.Content
	if n.Kind == yaml.AliasNode {
		total, parts = 0, []*yaml.Node{n.Alias}
	}
	for _, part := range parts {
		if at, message := in.expand(part); message != "" {
			return at, message
		}
		if total += in.size[part]; total > maxExpanded {
			return n, fmt.Sprintf("with its aliases written out this would be larger than %d MiB", maxExpanded>>20)
		}
	}
	in.size[n] = total
	return nil, ""
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// find follows a field path as Kubernetes writes it (spec.methods[1].name, metadata.labels[a/b]) as far as it leads. at
// is the key or the list entry that it came to, and value is what stands there.
func find(root *yaml.Node, path string) (at, value *yaml.Node) {
	at, value = root, root
	for path != "" {
		nextAt, nextValue, rest, ok := step(written(value), path)
		if !ok {
			break
		}
		at, value, path = nextAt, nextValue, rest
	}
	return at, value
}

// step takes the first step of a path: the longest key that the path begins with, since keys may contain dots.
func step(n *yaml.Node, path string) (at, value *yaml.Node, rest string, ok bool) {
	switch n.Kind {
	case yaml.MappingNode:
		return stepIntoMapping(n, path, 0)
	case yaml.SequenceNode:
		inside, after, found := strings.Cut(strings.TrimPrefix(path, "["), "]")
		index, err := strconv.Atoi(inside)
		if !found || err != nil || index < 0 || index >= len(n.Content) {
			return nil, nil, "", false
		}
		return n.Content[index], n.Content[index], strings.TrimPrefix(after, "."), true
	default:
		return nil, nil, "", false
	}
}

// maxMerges bounds how deep merge keys (<<) are followed for a position.
const maxMerges = 16

func stepIntoMapping(n *yaml.Node, path string, depth int) (at, value *yaml.Node, rest string, ok bool) {
	longest := -1
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if after, fits := afterKey(path, key.Value); fits && len(key.Value) > longest {
			longest, at, value, rest, ok = len(key.Value), key, n.Content[i+1], after, true
		}
	}
	if ok || depth == maxMerges {
		return at, value, rest, ok
	}
	for _, merged := range mergedInto(n) {
		if at, value, rest, ok = stepIntoMapping(merged, path, depth+1); ok {
			return at, value, rest, ok
		}
	}
	return nil, nil, "", false
}

// afterKey is what remains of a path behind a key, written as name or as [name].
func afterKey(path, key string) (rest string, ok bool) {
	if rest, ok = strings.CutPrefix(path, "["+key+"]"); ok {
		return strings.TrimPrefix(rest, "."), true
	}
	rest, ok = strings.CutPrefix(path, key)
	if !ok || rest != "" && rest[0] != '.' && rest[0] != '[' {
		return "", false
	}
	return strings.TrimPrefix(rest, "."), true
}

// mergedInto lists the mappings that merge keys bring into n.
func mergedInto(n *yaml.Node) (mappings []*yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != "<<" {
			continue
		}
		sources := []*yaml.Node{n.Content[i+1]}
		if list := written(n.Content[i+1]); list.Kind == yaml.SequenceNode {
			sources = list.Content
		}
		for _, source := range sources {
			if source = written(source); source.Kind == yaml.MappingNode {
				mappings = append(mappings, source)
			}
		}
	}
	return mappings
}

// written is the node that an alias stands for.
func written(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// lineTable translates the parser's lines into the file's: the parser also ends a line at a lone carriage return and at
// three characters of Unicode, editors do not. It is nil where both count alike.
func lineTable(text []byte) []int {
	if !bytes.ContainsAny(text, "\r\u0085\u2028\u2029") {
		return nil
	}
	table := []int{1, 1} // table[n] is the file's line of the parser's line n; there is no line 0
	line := 1
	for i, r := range string(text) {
		switch r {
		case '\n':
			line++
		case '\r':
			if i+1 < len(text) && text[i+1] == '\n' {
				continue
			}
		case '\u0085', '\u2028', '\u2029':
		default:
			continue
		}
		table = append(table, line)
	}
	return table
}
