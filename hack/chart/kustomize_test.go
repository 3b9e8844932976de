// Copyright The Fairlead Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// build makes the objects of kustomizations, given as folders of config.
func build(t *testing.T, folders ...string) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for _, folder := range folders {
		resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), root("config", folder))
		if err != nil {
			t.Fatalf("config/%s: %v", folder, err)
		}
		text, err := resources.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		objects, err := parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, objects...)
	}
	return out
}

// helmsOwn are labels and annotations that only Helm has.
var helmsOwn = []string{
	"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart", "helm.sh/resource-policy",
	"rpc.fairlead.dev/definitions",
}

// plain gives objects as text by kind and name, without what is Helm's own.
// Definitions and admission policies lose all labels of the app: nothing selects
// by them, and config has none.
func plain(t *testing.T, objects []*unstructured.Unstructured) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, o := range objects {
		o := o.DeepCopy()
		drop := helmsOwn
		if o.GetKind() == "CustomResourceDefinition" || strings.HasPrefix(o.GetKind(), "MutatingAdmissionPolicy") {
			drop = append(slices.Clone(drop), "app.kubernetes.io/name", "app.kubernetes.io/instance")
		}
		for _, kind := range []string{"labels", "annotations"} {
			marks, _, err := unstructured.NestedStringMap(o.Object, "metadata", kind)
			if err != nil {
				t.Fatal(err)
			}
			maps.DeleteFunc(marks, func(key, _ string) bool { return slices.Contains(drop, key) })
			unstructured.RemoveNestedField(o.Object, "metadata", kind)
			if len(marks) > 0 {
				if err := unstructured.SetNestedStringMap(o.Object, marks, "metadata", kind); err != nil {
					t.Fatal(err)
				}
			}
		}
		text, err := json.Marshal(folded(o.Object))
		if err != nil {
			t.Fatal(err)
		}
		pretty, err := yaml.JSONToYAML(text)
		if err != nil {
			t.Fatal(err)
		}
		key := o.GetKind() + "/" + o.GetName()
		if _, twice := out[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		out[key] = string(pretty)
	}
	return out
}

// folded makes line breaks within texts one space each: kustomize adds some to
// texts that are folded in YAML, which neither CEL nor a reader minds.
func folded(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = folded(v[key])
		}
	case []any:
		for i := range v {
			v[i] = folded(v[i])
		}
	case string:
		if strings.Contains(v, "\n") {
			return strings.Join(strings.Fields(v), " ")
		}
	}
	return value
}

// difference shows where two texts part.
func difference(a, b string) string {
	one, two := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(one), len(two)) {
		if one[i] != two[i] {
			from := max(0, i-3)
			return fmt.Sprintf("line %d\n--- config\n%s\n--- charts\n%s", i+1,
				strings.Join(one[from:min(i+4, len(one))], "\n"), strings.Join(two[from:min(i+4, len(two))], "\n"))
		}
	}
	return fmt.Sprintf("%d lines and %d", len(one), len(two))
}

// TestChartsAndKustomizeAgree: both ways of installing make the same objects,
// Helm's own marks aside.
func TestChartsAndKustomizeAgree(t *testing.T) {
	definitions := mustRender(t, "fairlead-crds", values{"forwardOnly": false}, modern).objects
	for _, test := range []struct {
		name    string
		v       values
		in      cluster
		folders []string
	}{
		{"default", nil, oldest, []string{"default"}},
		{"everything", values{"networkPolicy.enabled": true, "metrics.serviceMonitor.enabled": true, "metrics.prometheusRule.enabled": true},
			modern, append([]string{"default", "network-policy", "prometheus"}, admissionFolder()...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			helm := plain(t, append(mustRender(t, "fairlead", test.v, test.in).objects, definitions...))
			kustomize := plain(t, build(t, test.folders...))
			// helm install --create-namespace makes it.
			if _, ok := kustomize["Namespace/"+namespace]; !ok {
				t.Error("config/default makes no namespace")
			}
			delete(kustomize, "Namespace/"+namespace)
			for _, key := range slices.Sorted(maps.Keys(kustomize)) {
				if helm[key] != kustomize[key] {
					t.Errorf("%s differs between config and charts (hack/chart.sh sync copies what is generated): %s", key, difference(kustomize[key], helm[key]))
				}
				delete(helm, key)
			}
			if len(helm) > 0 {
				t.Errorf("only the charts make %v", slices.Sorted(maps.Keys(helm)))
			}
		})
	}
}

// TestVersionsAgree: the charts, the image that they name, and that of
// config/manager are of one version.
func TestVersionsAgree(t *testing.T) {
	main, definitions := load(t, "fairlead").Metadata, load(t, "fairlead-crds").Metadata
	for what, got := range map[string]string{
		"appVersion of fairlead": main.AppVersion, "version of fairlead-crds": definitions.Version,
		"appVersion of fairlead-crds": definitions.AppVersion,
	} {
		if got != main.Version {
			t.Errorf("%s is %s, version of fairlead %s", what, got, main.Version)
		}
	}
	if main.KubeVersion != definitions.KubeVersion {
		t.Errorf("kubeVersion %s and %s", main.KubeVersion, definitions.KubeVersion)
	}
	text, err := filesys.MakeFsOnDisk().ReadFile(root("config", "manager", "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var k types.Kustomization
	if err := yaml.Unmarshal(text, &k); err != nil {
		t.Fatal(err)
	}
	if len(k.Images) != 1 || k.Images[0].NewTag != main.AppVersion {
		t.Errorf("config/manager has the images %v, the charts are %s", k.Images, main.AppVersion)
	}
}
