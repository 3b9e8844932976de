// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	syaml "sigs.k8s.io/yaml"
)

// request is what somebody wants to do. resource may carry a subresource,
// rpcservices/status; name and namespace are empty for all. A path is of no
// resource.
type request struct {
	verb, group, resource, name, namespace, path string
}

// role is a Role, or a ClusterRole if its namespace is empty.
type role struct {
	kind, name, namespace string
	labels                map[string]string
	rules                 []rbacv1.PolicyRule
}

// allows decides as the API server does, for a role that is bound where it
// stands.
func (r role) allows(q request) bool {
	if r.namespace != "" && r.namespace != q.namespace {
		return false
	}
	return slices.ContainsFunc(r.rules, func(rule rbacv1.PolicyRule) bool { return ruleAllows(rule, q) })
}

func ruleAllows(rule rbacv1.PolicyRule, q request) bool {
	if !has(rule.Verbs, q.verb) {
		return false
	}
	if q.path != "" {
		return slices.ContainsFunc(rule.NonResourceURLs, func(url string) bool {
			prefix, all := strings.CutSuffix(url, "*")
			return url == q.path || all && strings.HasPrefix(q.path, prefix)
		})
	}
	_, sub, _ := strings.Cut(q.resource, "/")
	resource := has(rule.Resources, q.resource) || sub != "" && slices.Contains(rule.Resources, "*/"+sub)
	return resource && has(rule.APIGroups, q.group) && (len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, q.name))
}

// has also takes the wildcard.
func has(list []string, what string) bool {
	return slices.Contains(list, what) || slices.Contains(list, "*")
}

// each calls visit for every single right that a role gives.
func (r role) each(visit func(request)) {
	for _, rule := range r.rules {
		names := rule.ResourceNames
		if len(names) == 0 {
			names = []string{""}
		}
		for _, verb := range rule.Verbs {
			for _, path := range rule.NonResourceURLs {
				visit(request{verb: verb, path: path})
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, name := range names {
						visit(request{verb: verb, group: group, resource: resource, name: name, namespace: r.namespace})
					}
				}
			}
		}
	}
}

// read reads the roles in some files of config/rbac.
func read(t *testing.T, pattern string) (roles []role) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "rbac", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var r rbacv1.Role // a ClusterRole has the same fields that count here
			if err := syaml.Unmarshal(document, &r); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if r.Kind == "" {
				continue
			}
			if r.Kind != "Role" && r.Kind != "ClusterRole" {
				t.Fatalf("%s holds a %s", file, r.Kind)
			}
			roles = append(roles, role{r.Kind, r.Name, r.Namespace, r.Labels, r.Rules})
		}
	}
	return roles
}
