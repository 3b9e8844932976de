// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build envtest

package chart

import (
	"os"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// unserved are kinds that the API server here does not know.
var unserved = map[string]bool{"Certificate": true}

// accept has the API server judge objects: strictly, with no warning.
func accept(t *testing.T, what string, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		if unserved[o.GetKind()] {
			continue
		}
		if err := common.try(t.Context(), o); err != nil {
			t.Errorf("%s: %s %s: %v", what, o.GetKind(), o.GetName(), err)
		}
		for _, text := range common.warnings.take() {
			t.Errorf("%s: %s %s: warning: %s", what, o.GetKind(), o.GetName(), text)
		}
	}
}

// TestServerAcceptsDefinitions also makes them known to the tests that follow.
func TestServerAcceptsDefinitions(t *testing.T) {
	needDefinitions(t)
	accept(t, "fairlead-crds", mustRender(t, "fairlead-crds", nil, modern).objects)
}

// needDefinitions applies the chart fairlead-crds to the common server.
func needDefinitions(t *testing.T) {
	t.Helper()
	for _, o := range mustRender(t, "fairlead-crds", nil, modern).objects {
		if err := apply(t.Context(), common.client, o, client.FieldOwner("helm"), client.ForceOwnership); err != nil {
			t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	eventually(t, func() error {
		return common.client.List(t.Context(), listOf("rpc.fairlead.dev/v1alpha1", "RPCServiceList"))
	})
}

func listOf(version, kind string) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(version)
	list.SetKind(kind)
	return list
}

// TestServerAcceptsSwitches: whatever is switched on or off, the API server
// takes the objects, those of helm test included.
func TestServerAcceptsSwitches(t *testing.T) {
	needDefinitions(t)
	c := load(t, "fairlead")
	for _, choice := range choices(4) {
		v, _ := choose(choice)
		r, err := render(c, v, modern)
		if err != nil {
			t.Fatalf("%s: %v", v, err)
		}
		accept(t, v.String(), append(r.objects, r.hooks...))
	}
}

// TestServerAcceptsValues: the same for values that are no switches.
func TestServerAcceptsValues(t *testing.T) {
	needDefinitions(t)
	text, err := os.ReadFile(root("charts", "fairlead", "values-ha.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	ha, err := chartutil.ReadValues(text)
	if err != nil {
		t.Fatal(err)
	}
	flat := values{}
	for key, value := range ha {
		flat[key] = value
	}
	for name, v := range map[string]values{
		"values-ha.yaml": flat,
		"everything": {
			"fullnameOverride": "line", "commonLabels": map[string]any{"team": "rpc"}, "image.digest": "",
			"imagePullSecrets": []any{map[string]any{"name": "pull"}}, "manager.nodeSelector": map[string]any{"kubernetes.io/arch": "arm64"},
			"manager.tolerations":    []any{map[string]any{"key": "infra", "operator": "Exists"}},
			"manager.affinity":       map[string]any{"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{"nodeSelectorTerms": []any{map[string]any{"matchExpressions": []any{map[string]any{"key": "infra", "operator": "Exists"}}}}}}},
			"manager.podAnnotations": map[string]any{"a": "b"}, "manager.podLabels": map[string]any{"a": "b"}, "manager.topologySpread": []any{},
			"manager.extraEnv":                   []any{map[string]any{"name": "GOMEMLIMIT", "value": "400MiB"}},
			"serviceAccount.annotations":         map[string]any{"a": "b"},
			"podDisruptionBudget.maxUnavailable": "50%", "networkPolicy.enabled": true,
			"networkPolicy.registryFrom": []any{}, "networkPolicy.egress": []any{map[string]any{"ports": []any{map[string]any{"port": 6443}, map[string]any{"port": 53, "protocol": "UDP"}}}},
			"metrics.serviceMonitor.enabled": true, "metrics.serviceMonitor.labels": map[string]any{"release": "prometheus"},
			"metrics.prometheusRule.enabled": true, "metrics.prometheusRule.labels": map[string]any{"release": "prometheus"},
		},
	} {
		r := mustRender(t, "fairlead", v, modern)
		accept(t, name, append(r.objects, r.hooks...))
	}
}

// TestServerAcceptsKustomize: config/default, and what can be added to it.
func TestServerAcceptsKustomize(t *testing.T) {
	needDefinitions(t)
	accept(t, "config", build(t, append([]string{"default", "network-policy", "prometheus"}, admissionFolder()...)...))
}

// TestPodIsRestricted: a namespace that enforces the strictest standard takes
// the operator's Pod; and would not, if it ran as root.
func TestPodIsRestricted(t *testing.T) {
	for name, test := range map[string]struct {
		v  values
		ok bool
	}{
		"defaults": {nil, true},
		"root":     {values{"manager.podSecurityContext": map[string]any{"runAsNonRoot": false, "runAsUser": 0}}, false},
	} {
		template := deployment(t, mustRender(t, "fairlead", test.v, modern)).Spec.Template
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "manager-", Namespace: namespace, Labels: template.Labels}, Spec: template.Spec}
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{Object: object}
		u.SetAPIVersion("v1")
		u.SetKind("Pod")
		delete(u.Object, "status")
		if err := common.client.Create(t.Context(), u, client.DryRunAll); test.ok != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		common.warnings.take()
	}
}
