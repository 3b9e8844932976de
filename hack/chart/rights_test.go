// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package chart

import (
	"errors"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const account = "system:serviceaccount:" + namespace + ":fairlead-manager"

// grant applies the chart's roles and bindings.
func grant(t *testing.T) {
	t.Helper()
	for _, o := range mustRender(t, "fairlead", nil, modern).objects {
		if strings.HasPrefix(o.GetAPIVersion(), "rbac.authorization.k8s.io/") {
			if err := apply(t.Context(), common.client, o, client.FieldOwner("helm"), client.ForceOwnership); err != nil {
				t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
			}
		}
	}
}

// may asks the API server.
func may(t *testing.T, a authorizationv1.ResourceAttributes) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: account, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"}, ResourceAttributes: &a,
	}}
	if err := common.client.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// TestRights has the API server decide what test/rbac reviews on paper.
func TestRights(t *testing.T) {
	grant(t)
	type a = authorizationv1.ResourceAttributes
	const ours = "rpc.fairlead.dev"
	eventually(t, func() error { // the authorizer learns of roles by watching
		if !may(t, a{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: "fairlead-status", Namespace: namespace}) {
			return errors.New("the operator has no rights yet")
		}
		return nil
	})
	for _, q := range []a{
		{Verb: "list", Group: ours, Resource: "rpcservices"}, {Verb: "watch", Group: ours, Resource: "rpccallpolicies"},
		{Verb: "patch", Group: ours, Resource: "rpcservices", Subresource: "status", Name: "x", Namespace: "shop"},
		{Verb: "watch", Resource: "services"}, {Verb: "list", Group: "discovery.k8s.io", Resource: "endpointslices"},
		{Verb: "get", Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions", Name: "rpcservices.rpc.fairlead.dev"},
		{Verb: "patch", Resource: "configmaps", Name: "fairlead-registry", Namespace: "shop"},
		{Verb: "patch", Resource: "secrets", Name: "fairlead-registry-ca", Namespace: namespace},
		{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"},
	} {
		if !may(t, q) {
			t.Errorf("%+v is refused", q)
		}
	}
	for _, q := range []a{
		{Verb: "list", Resource: "secrets"}, {Verb: "list", Resource: "secrets", Namespace: namespace},
		{Verb: "get", Resource: "secrets", Name: "other", Namespace: namespace},
		{Verb: "patch", Resource: "secrets", Name: "fairlead-registry-ca", Namespace: "shop"},
		{Verb: "create", Resource: "configmaps", Namespace: "shop"}, {Verb: "patch", Resource: "configmaps", Name: "other", Namespace: "shop"},
		{Verb: "create", Resource: "pods", Subresource: "exec", Name: "x", Namespace: "shop"}, {Verb: "create", Resource: "pods", Namespace: namespace},
		{Verb: "create", Resource: "serviceaccounts", Subresource: "token", Name: "default", Namespace: "shop"},
		{Verb: "impersonate", Resource: "users", Name: "admin"},
		{Verb: "escalate", Group: "rbac.authorization.k8s.io", Resource: "clusterroles", Name: "x"},
		{Verb: "bind", Group: "rbac.authorization.k8s.io", Resource: "clusterroles", Name: "cluster-admin"},
		{Verb: "patch", Group: ours, Resource: "rpcservices", Name: "x", Namespace: "shop"}, {Verb: "delete", Group: ours, Resource: "rpcservices", Name: "x", Namespace: "shop"},
		{Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Name: "x", Namespace: "kube-system"},
		{Verb: "patch", Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions", Name: "rpcservices.rpc.fairlead.dev"},
		{Verb: "*", Group: "*", Resource: "*"},
	} {
		if may(t, q) {
			t.Errorf("%+v is allowed", q)
		}
	}
}

// TestAppliesByName: the operator may create its ConfigMap anywhere and its
// Secret at home by applying them, which is the one way of creating that can
// be bound to a name; and no others.
func TestAppliesByName(t *testing.T) {
	grant(t)
	config := rest.CopyConfig(common.config)
	config.Impersonate = rest.ImpersonationConfig{UserName: account, Groups: []string{"system:serviceaccounts", "system:authenticated"}}
	operator, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	try := func(kind, name, in string) error {
		o := &unstructured.Unstructured{Object: map[string]any{"data": map[string]any{}}}
		o.SetAPIVersion("v1")
		o.SetKind(kind)
		o.SetName(name)
		o.SetNamespace(in)
		return apply(t.Context(), operator, o, client.FieldOwner("fairlead"), client.DryRunAll)
	}
	eventually(t, func() error { return try("ConfigMap", "fairlead-registry", "default") })
	eventually(t, func() error { return try("Secret", "fairlead-registry-ca", namespace) })
	for _, o := range [][3]string{
		{"ConfigMap", "other", "default"}, {"Secret", "other", namespace}, {"Secret", "fairlead-registry-ca", "default"},
	} {
		if err := try(o[0], o[1], o[2]); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", o, err)
		}
	}
}
