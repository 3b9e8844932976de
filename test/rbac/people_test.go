// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	syaml "sigs.k8s.io/yaml"

	"github.com/fairlead/fairlead/api/v1alpha1"
)

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "config", "rbac", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parse reads one rule.
func parse(t *testing.T, text string) []rbacv1.PolicyRule {
	t.Helper()
	var rule rbacv1.PolicyRule
	if err := syaml.Unmarshal([]byte(text), &rule); err != nil {
		t.Fatal(err)
	}
	return []rbacv1.PolicyRule{rule}
}

// TestRolesForPeople: each kind has three roles, which are parts of the built-in
// ones, say something of that kind alone, and let nobody write statuses.
func TestRolesForPeople(t *testing.T) {
	verbs := map[string][]string{
		"viewer": {"get", "list", "watch"},
		"editor": {"create", "delete", "get", "list", "patch", "update", "watch"},
		"admin":  {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
	}
	builtin := map[string]string{"viewer": "view", "editor": "edit", "admin": "admin"}
	roles := map[string]role{}
	for _, r := range read(t, "*_roles.yaml") {
		roles[r.name] = r
	}
	if len(roles) != 9 {
		t.Errorf("%d roles, want 9", len(roles))
	}
	for kind, resource := range map[string]string{
		"rpcservice": v1alpha1.ResourceRPCServices, "rpccallpolicy": v1alpha1.ResourceRPCCallPolicies, "rpclimitpolicy": v1alpha1.ResourceRPCLimitPolicies,
	} {
		for name, want := range verbs {
			r, ok := roles["fairlead-"+kind+"-"+name]
			if !ok {
				t.Errorf("%s has no role for %s", kind, name)
				continue
			}
			if r.kind != "ClusterRole" || len(r.labels) != 1 || r.labels["rbac.authorization.k8s.io/aggregate-to-"+builtin[name]] != "true" {
				t.Errorf("%s %s has the labels %v", r.kind, r.name, r.labels)
			}
			var got []string
			r.each(func(q request) {
				switch {
				case q.group != v1alpha1.GroupName || q.name != "":
					t.Errorf("%s: %+v", r.name, q)
				case q.resource == resource:
					got = append(got, q.verb)
				case q.resource != resource+"/status" || q.verb != "get":
					t.Errorf("%s: %+v", r.name, q)
				}
			})
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s may %v, want %v", r.name, got, want)
			}
		}
	}
}

// TestExplainRole: whoever asks the replicas lists Pods and forwards ports in
// the operator's namespace, and has no other right. It is part of no other role:
// forwarding ports into these Pods is for whom it is given to.
func TestExplainRole(t *testing.T) {
	roles := read(t, "explain_role.yaml")
	if len(roles) != 1 || roles[0].kind != "Role" || roles[0].name != "fairlead-explain" || roles[0].namespace != own || len(roles[0].labels) != 0 {
		t.Fatalf("%+v", roles)
	}
	want := map[request]bool{
		{verb: "list", resource: "pods", namespace: own}:               true, // which replicas there are
		{verb: "create", resource: "pods/portforward", namespace: own}: true, // over SPDY, and from 1.35 over a WebSocket, too
		{verb: "get", resource: "pods/portforward", namespace: own}:    true, // over a WebSocket
	}
	roles[0].each(func(q request) {
		if !want[q] {
			t.Errorf("%+v is in nobody's list", q)
		}
		delete(want, q)
	})
	for q := range want {
		t.Errorf("%+v is not allowed", q)
	}
	for _, q := range []request{
		{verb: "get", resource: "pods/portforward", name: "any", namespace: "shop"},
		{verb: "create", resource: "pods/exec", name: "any", namespace: own},
		{verb: "get", resource: "secrets", name: "fairlead-registry-ca", namespace: own},
		{verb: "get", resource: "pods/log", name: "any", namespace: own},
		{verb: "list", resource: "pods"},
	} {
		if allowed(roles, q) {
			t.Errorf("%+v is allowed", q)
		}
	}
}
