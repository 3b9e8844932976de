// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const own = "fairlead-system"

// needed is every right that the operator has, and what for.
var needed = []struct {
	verbs, group, resources, name, namespace, why string
}{
	{"list watch", "rpc.fairlead.dev", "rpcservices rpccallpolicies rpclimitpolicies", "", "", "what is compiled"},
	{"patch", "rpc.fairlead.dev", "rpcservices/status rpccallpolicies/status rpclimitpolicies/status", "", "", "statuses; never the objects themselves"},
	{"list watch", "", "services", "", "", "ports, families and selectors of services"},
	{"list watch", "discovery.k8s.io", "endpointslices", "", "", "endpoints"},
	{"list watch", "", "pods", "", "", "who a subscriber is; cached trimmed"},
	{"list watch", "", "namespaces", "", "", "labels of namespaces; metadata only"},
	{"get", "", "namespaces", "kube-system", "", "its UID is the cluster's epoch"},
	{"get", "apiextensions.k8s.io", "customresourcedefinitions", "rpcservices.rpc.fairlead.dev", "", "whether deletions are meant; whether fields are served"},
	{"get", "apiextensions.k8s.io", "customresourcedefinitions", "rpccallpolicies.rpc.fairlead.dev", "", "the same"},
	{"get", "apiextensions.k8s.io", "customresourcedefinitions", "rpclimitpolicies.rpc.fairlead.dev", "", "the same"},
	{"list watch create patch", "", "configmaps", "fairlead-registry", "", "address and CA bundle, in the namespaces of those who need them"},
	{"create", "authentication.k8s.io", "tokenreviews", "", "", "tokens that cannot be verified locally"},
	{"list watch create patch", "", "secrets", "fairlead-registry-ca", own, "the CA that the operator makes"},
	{"create get update", "coordination.k8s.io", "leases", "", own, "who writes statuses"},
}

// paths are those of no resource.
var paths = []string{"/.well-known/openid-configuration", "/openid/v1/jwks"}

func operator(t *testing.T) []role { return read(t, "role.yaml") }

func allowed(roles []role, q request) bool {
	return slices.ContainsFunc(roles, func(r role) bool { return r.allows(q) })
}

// TestOperatorHasWhatItNeeds: nothing that it does is refused.
func TestOperatorHasWhatItNeeds(t *testing.T) {
	roles := operator(t)
	for _, n := range needed {
		for _, resource := range strings.Fields(n.resources) {
			for _, verb := range strings.Fields(n.verbs) {
				q := request{verb: verb, group: n.group, resource: resource, name: n.name, namespace: n.namespace}
				if !allowed(roles, q) {
					t.Errorf("%+v is refused, but needed: %s", q, n.why)
				}
			}
		}
	}
	for _, path := range paths {
		if !allowed(roles, request{verb: "get", path: path}) {
			t.Errorf("get %s is refused", path)
		}
	}
}

// TestOperatorHasNothingElse: each right stands in needed, and none is a
// wildcard.
func TestOperatorHasNothingElse(t *testing.T) {
	reviewed := map[request]bool{}
	for _, n := range needed {
		for _, resource := range strings.Fields(n.resources) {
			for _, verb := range strings.Fields(n.verbs) {
				reviewed[request{verb: verb, group: n.group, resource: resource, name: n.name, namespace: n.namespace}] = true
			}
		}
	}
	for _, path := range paths {
		reviewed[request{verb: "get", path: path}] = true
	}
	for _, r := range operator(t) {
		r.each(func(q request) {
			if text := fmt.Sprint(q); strings.Contains(text, "*") {
				t.Errorf("%s %s has a wildcard: %+v", r.kind, r.name, q)
			}
			if !reviewed[q] {
				t.Errorf("%s %s gives a right that nobody reviewed: %+v; say in needed what it is for", r.kind, r.name, q)
			}
		})
	}
}

// forbidden is what would make the operator worth stealing, whatever else is
// reviewed.
var forbidden = []request{
	{verb: "get", resource: "secrets", name: "any", namespace: "shop"},
	{verb: "list", resource: "secrets", namespace: "shop"},
	{verb: "list", resource: "secrets"},
	{verb: "watch", resource: "secrets"},
	{verb: "list", resource: "secrets", namespace: own},
	{verb: "get", resource: "secrets", name: "any", namespace: own},
	{verb: "create", resource: "secrets", name: "any", namespace: own},
	{verb: "delete", resource: "secrets", name: "fairlead-registry-ca", namespace: own},
	{verb: "list", resource: "configmaps"},
	{verb: "patch", resource: "configmaps", name: "coredns", namespace: "kube-system"},
	{verb: "create", resource: "configmaps", name: "any", namespace: "shop"},
	{verb: "delete", resource: "configmaps", name: "fairlead-registry", namespace: "shop"},
	{verb: "create", resource: "pods", namespace: own},
	{verb: "create", resource: "pods/exec", name: "any", namespace: "shop"},
	{verb: "get", resource: "pods/exec", name: "any", namespace: "shop"},
	{verb: "create", resource: "pods/attach", name: "any", namespace: "shop"},
	{verb: "create", resource: "pods/portforward", name: "any", namespace: own},
	{verb: "get", resource: "pods/log", name: "any", namespace: "shop"},
	{verb: "update", resource: "pods/ephemeralcontainers", name: "any", namespace: "shop"},
	{verb: "patch", resource: "pods", name: "any", namespace: "shop"},
	{verb: "delete", resource: "pods", name: "any", namespace: "shop"},
	{verb: "create", resource: "pods/eviction", name: "any", namespace: "shop"},
	{verb: "create", resource: "serviceaccounts/token", name: "default", namespace: "shop"},
	{verb: "create", resource: "serviceaccounts/token", name: "fairlead-manager", namespace: own},
	{verb: "impersonate", resource: "users", name: "admin"},
	{verb: "impersonate", resource: "groups", name: "system:masters"},
	{verb: "impersonate", resource: "serviceaccounts", name: "default", namespace: "kube-system"},
	{verb: "patch", resource: "nodes", name: "any"},
	{verb: "get", resource: "nodes/proxy", name: "any"},
	{verb: "create", resource: "namespaces", name: "any"},
	{verb: "patch", resource: "namespaces", name: "shop"},
	{verb: "patch", resource: "services", name: "any", namespace: "shop"},
	{verb: "update", group: "discovery.k8s.io", resource: "endpointslices", name: "any", namespace: "shop"},
	{verb: "create", group: "apps", resource: "deployments", namespace: own},
	{verb: "patch", group: "apps", resource: "deployments", name: "fairlead-manager", namespace: own},
	{verb: "escalate", group: "rbac.authorization.k8s.io", resource: "clusterroles", name: "any"},
	{verb: "bind", group: "rbac.authorization.k8s.io", resource: "clusterroles", name: "cluster-admin"},
	{verb: "create", group: "rbac.authorization.k8s.io", resource: "clusterrolebindings"},
	{verb: "create", group: "rbac.authorization.k8s.io", resource: "rolebindings", namespace: own},
	{verb: "get", group: "apiextensions.k8s.io", resource: "customresourcedefinitions", name: "others.example.com"},
	{verb: "patch", group: "apiextensions.k8s.io", resource: "customresourcedefinitions", name: "rpcservices.rpc.fairlead.dev"},
	{verb: "create", group: "admissionregistration.k8s.io", resource: "mutatingwebhookconfigurations"},
	{verb: "patch", group: "admissionregistration.k8s.io", resource: "mutatingadmissionpolicies", name: "any"},
	{verb: "create", group: "certificates.k8s.io", resource: "certificatesigningrequests"},
	{verb: "approve", group: "certificates.k8s.io", resource: "signers", name: "any"},
	{verb: "create", group: "authorization.k8s.io", resource: "subjectaccessreviews"},
	{verb: "create", group: "rpc.fairlead.dev", resource: "rpcservices", namespace: "shop"},
	{verb: "patch", group: "rpc.fairlead.dev", resource: "rpcservices", name: "any", namespace: "shop"},
	{verb: "update", group: "rpc.fairlead.dev", resource: "rpccallpolicies", name: "any", namespace: "shop"},
	{verb: "delete", group: "rpc.fairlead.dev", resource: "rpclimitpolicies", name: "any", namespace: "shop"},
	{verb: "deletecollection", group: "rpc.fairlead.dev", resource: "rpcservices", namespace: "shop"},
	{verb: "update", group: "coordination.k8s.io", resource: "leases", name: "kube-scheduler", namespace: "kube-system"},
	{verb: "delete", group: "coordination.k8s.io", resource: "leases", name: "fairlead-status", namespace: own},
	{verb: "get", path: "/metrics"},
	{verb: "get", path: "/logs"},
}

func TestOperatorMayNot(t *testing.T) {
	roles := operator(t)
	for _, q := range forbidden {
		if allowed(roles, q) {
			t.Errorf("%+v is allowed", q)
		}
	}
}

// TestBindings: the operator's roles are bound to its account, and to nobody
// else.
func TestBindings(t *testing.T) {
	text := content(t, "role_binding.yaml")
	if got := strings.Count(text, "kind: ServiceAccount\n  name: fairlead-manager\n  namespace: "+own); got != 2 || strings.Count(text, "- kind:") != 2 {
		t.Errorf("not two bindings to the ServiceAccount fairlead-manager and no other subject:\n%s", text)
	}
}

// TestEvaluation holds the evaluator against what the API server does.
func TestEvaluation(t *testing.T) {
	star := role{rules: parse(t, "{apiGroups: [\"*\"], resources: [\"*\"], verbs: [\"*\"]}")}
	named := role{namespace: own, rules: parse(t, "{apiGroups: [\"\"], resources: [secrets], resourceNames: [a], verbs: [get]}")}
	status := role{rules: parse(t, "{apiGroups: [g], resources: [\"*/status\", things], verbs: [patch]}")}
	url := role{rules: parse(t, "{nonResourceURLs: [\"/healthz/*\", /version], verbs: [get]}")}
	for _, test := range []struct {
		r    role
		q    request
		want bool
	}{
		{star, forbidden[0], true},
		{named, request{verb: "get", resource: "secrets", name: "a", namespace: own}, true},
		{named, request{verb: "get", resource: "secrets", name: "b", namespace: own}, false},
		{named, request{verb: "get", resource: "secrets", name: "a", namespace: "other"}, false},
		{named, request{verb: "get", resource: "secrets", name: "a"}, false},
		{named, request{verb: "list", resource: "secrets", namespace: own}, false},
		{status, request{verb: "patch", group: "g", resource: "things/status", name: "x"}, true},
		{status, request{verb: "patch", group: "g", resource: "things/scale", name: "x"}, false},
		{status, request{verb: "patch", group: "h", resource: "things"}, false},
		{url, request{verb: "get", path: "/healthz/ping"}, true},
		{url, request{verb: "get", path: "/versions"}, false},
		{url, request{verb: "post", path: "/version"}, false},
	} {
		if got := test.r.allows(test.q); got != test.want {
			t.Errorf("%+v: %v", test.q, got)
		}
	}
}
