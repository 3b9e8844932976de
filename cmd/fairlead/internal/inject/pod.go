// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package inject

import (
	"fmt"

	"go.yaml.in/yaml/v3"
)

// Volumes are what a Pod gets, and Mounts where each of its containers has them.
// docs/operations.md shows them, and config/admission adds the same.
const (
	Volumes = `- name: fairlead-config
  projected:
    sources:
    - configMap:
        name: fairlead-registry
        optional: true
        items:
        - {key: address, path: address}
        - {key: ca.crt, path: ca.crt}
    - serviceAccountToken:
        audience: fairlead
        expirationSeconds: 3600
        path: token
    - downwardAPI:
        items:
        - {path: namespace, fieldRef: {fieldPath: metadata.namespace}}
        - {path: pod-name, fieldRef: {fieldPath: metadata.name}}
        - {path: pod-uid, fieldRef: {fieldPath: metadata.uid}}
        - {path: app, fieldRef: {fieldPath: "metadata.labels['app.kubernetes.io/name']"}}
- name: fairlead-cache
  emptyDir:
    sizeLimit: 64Mi
`
	Mounts = `- name: fairlead-config
  mountPath: /var/run/fairlead
  readOnly: true
- name: fairlead-cache
  mountPath: /var/cache/fairlead
`
)

// podSpec adds what is missing to the specification of a Pod.
func podSpec(spec *yaml.Node) (changed bool, err error) {
	if changed, err = add(spec, "volumes", "name", Volumes); err != nil {
		return false, err
	}
	some := false
	for _, key := range []string{"initContainers", "containers"} {
		list := get(spec, key)
		if list == nil || list.Kind != yaml.SequenceNode {
			continue
		}
		for _, item := range list.Content {
			container := resolve(item)
			if container.Kind != yaml.MappingNode {
				return false, fmt.Errorf("line %d: an entry of %s is no container", item.Line, key)
			}
			more, err := add(container, "volumeMounts", "mountPath", Mounts)
			if err != nil {
				return false, err
			}
			some, changed = true, changed || more
		}
	}
	if !some {
		return false, fmt.Errorf("line %d: there are no containers", spec.Line)
	}
	return changed, nil
}

// add appends the entries of a list that it does not have yet, as their key says.
func add(to *yaml.Node, name, key, entries string) (changed bool, err error) {
	var wanted yaml.Node
	if err := yaml.Unmarshal([]byte(entries), &wanted); err != nil {
		return false, err
	}
	list := get(to, name)
	if list == nil || list.Kind == yaml.ScalarNode && list.Tag == "!!null" {
		fresh := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		if list == nil {
			to.Content = append(to.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, fresh)
		} else {
			*list = *fresh
			fresh = list
		}
		list = fresh
	}
	if list.Kind != yaml.SequenceNode {
		return false, fmt.Errorf("line %d: %s is no list", list.Line, name)
	}
	there := map[string]bool{}
	for _, item := range list.Content {
		there[text(get(resolve(item), key))] = true
	}
	for _, entry := range resolve(&wanted).Content {
		if !there[text(get(entry, key))] {
			list.Content = append(list.Content, entry)
			list.Style &^= yaml.FlowStyle // an empty list is most often written as []
			changed = true
		}
	}
	return changed, nil
}

// resolve gives what a node stands for.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch {
		case n.Kind == yaml.DocumentNode && len(n.Content) == 1:
			n = n.Content[0]
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		default:
			return n
		}
	}
	return nil
}

// get gives the value of a key; nil if there is none.
func get(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil || mapping.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return resolve(mapping.Content[i+1])
		}
	}
	return nil
}

// text gives the text of a scalar; empty for all else.
func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}
